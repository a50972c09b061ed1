"""Which PFC method a line or cell type uses, with the factor set's coefficients.

Factor ids, by technology (``cwpb``, ``swpb``, ``vss``, ``hss``, ``pfpb_l``, ``pfpb_m``):

    pfc.slope.T                 S [kg CF4/t Al/(min/(cell.d))]
    pfc.overvoltage.T           OVC [(kg CF4/t Al)/mV]
    pfc.c2f6_ratio.T            F [kg C2F6/kg CF4]
    pfc.default.cf4, .c2f6      [kg/t Al], without any measurement
    pfc.per_effect.scale.T, .exponent.T, .ratio.T, .ratio_exponent.T     (the last one optional)
    pfc.low_voltage.cf4.T       measured below 8 V [kg CF4/t Al]; optional, on its own line

A method whose coefficients the set lacks is refused. Low-voltage emissions cannot be computed
from pot voltages; without a factor they are None, "not estimated", and never zero. Each cell
type is computed with its own coefficients, then masses are added; so are months
(40 CFR 98 eq. F-1). Every result passes Faraday's bound.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import assert_never

from edge_agent.calc import pfc
from edge_agent.calc.effect_rates import EffectSums
from edge_agent.calc.factors import FactorSet
from edge_agent.calc.pfc import EffectLaw, Pfc, Plausibility
from edge_agent.errors import CalculationError


class Method(StrEnum):
    """How CF4 is found."""

    SLOPE = "slope"
    OVERVOLTAGE = "overvoltage"
    DEFAULT = "default"
    PER_EFFECT = "per_effect"


class Overvoltage(StrEnum):
    """Which overvoltage the coefficient belongs to: it and the data must share one definition."""

    POSITIVE = "positive"
    ALGEBRAIC = "algebraic"


@dataclass(frozen=True, slots=True)
class Activity:
    """What one pot, line or cell type did in a period.

    ``current_ka`` is the largest line current it ran at, for Faraday's bound;
    ``net_minutes`` has one entry per effect, for the method effect by effect.
    """

    sums: EffectSums
    metal_t: float
    current_ka: float
    current_efficiency_percent: float | None = None
    net_minutes: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Method and options of a technology.

    ``collection_efficiency_percent`` belongs to coefficients that were measured in the fume
    ducts only; the emission is then the ducts' divided by it.
    """

    technology: str
    method: Method = Method.SLOPE
    overvoltage: Overvoltage = Overvoltage.POSITIVE
    collection_efficiency_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Emission:
    """PFC of a period [t]: from effects, and below 8 V where a factor was given."""

    metal_t: float
    high_voltage: Pfc
    low_voltage: Pfc | None
    plausibility: Plausibility

    @property
    def cf4_t(self) -> float:
        """All CF4 that is estimated [t]."""
        return self.high_voltage.cf4_t + (self.low_voltage.cf4_t if self.low_voltage else 0.0)

    @property
    def c2f6_t(self) -> float:
        """All C2F6 that is estimated [t]."""
        return self.high_voltage.c2f6_t + (self.low_voltage.c2f6_t if self.low_voltage else 0.0)


def emission(
    activity: Activity, choice: Choice, factors: FactorSet, day: date | None = None
) -> Emission:
    """PFC of an activity by the chosen method.

    Args:
        activity: of one pot, line or cell type, of one technology.
        choice: technology, method and options.
        factors: the coefficients.
        day: on which they must be valid; any day when None.

    Raises:
        CalculationError: a coefficient or input is missing or out of range, or the result
            exceeds what the current can make.
    """
    high = _high_voltage(activity, choice, factors, day)
    low = _low_voltage(activity, choice.technology, factors, day)
    if choice.collection_efficiency_percent is not None:
        high = _whole(high, choice.collection_efficiency_percent)
    if choice.method is Method.DEFAULT:
        pfc.check_bound_of_metal(high.cf4_t * 1000, activity.metal_t)
    else:
        pfc.check_bound(high.cf4_t * 1000, activity.current_ka, activity.sums.minutes)
    if low is not None:
        pfc.check_bound_of_metal(low.cf4_t * 1000, activity.metal_t)
    return Emission(activity.metal_t, high, low, pfc.plausibility(high.ef_cf4_kg_per_t))


def add(emissions: Iterable[Emission]) -> Emission:
    """Cell types, lines or months together: masses add, the factor is that of the whole.

    Low-voltage emissions are None only when no part estimated them.
    """
    items = list(emissions)
    metal_t = math.fsum(item.metal_t for item in items)
    high = _sum([item.high_voltage for item in items], metal_t)
    lows = [item.low_voltage for item in items if item.low_voltage is not None]
    low = _sum(lows, metal_t) if lows else None
    return Emission(metal_t, high, low, pfc.plausibility(high.ef_cf4_kg_per_t))


def effect_law(factors: FactorSet, technology: str, day: date | None = None) -> EffectLaw:
    """The law of single effects of a technology.

    Raises:
        CalculationError: the set has no such coefficients: there is no default for them.
    """
    names = ("scale", "exponent", "ratio")
    scale, exponent, ratio = (
        factors.get(f"pfc.per_effect.{name}.{technology}", day).value for name in names
    )
    falling = f"pfc.per_effect.ratio_exponent.{technology}"
    return EffectLaw(
        scale, exponent, ratio, factors.get(falling, day).value if falling in factors else 0.0
    )


def _high_voltage(activity: Activity, choice: Choice, factors: FactorSet, day: date | None) -> Pfc:
    technology, metal_t = choice.technology, activity.metal_t
    match choice.method:
        case Method.SLOPE:
            slope = factors.get(f"pfc.slope.{technology}", day).value
            aem = _defined(activity.sums.aem_min, "AEM")
            return pfc.by_slope(aem, metal_t, slope, _ratio(factors, technology, day))
        case Method.OVERVOLTAGE:
            return _by_overvoltage(activity, choice, factors, day)
        case Method.DEFAULT:
            cf4 = factors.get("pfc.default.cf4", day).value
            c2f6 = factors.get("pfc.default.c2f6", day).value
            gases = pfc.by_factor(cf4, metal_t, 0.0)
            return replace(gases, c2f6_t=c2f6 * metal_t / 1000)
        case Method.PER_EFFECT:
            law = effect_law(factors, technology, day)
            return pfc.by_effects(activity.net_minutes, metal_t, activity.sums.cell_days, law)
        case _:
            assert_never(choice.method)


def _by_overvoltage(
    activity: Activity, choice: Choice, factors: FactorSet, day: date | None
) -> Pfc:
    sums, efficiency = activity.sums, activity.current_efficiency_percent
    if efficiency is None:
        message = "the overvoltage method needs the current efficiency [%]"
        raise CalculationError(message)
    positive = choice.overvoltage is Overvoltage.POSITIVE
    aeo = _defined(sums.aeo_positive_mv if positive else sums.aeo_algebraic_mv, "AEO")
    coefficient = factors.get(f"pfc.overvoltage.{choice.technology}", day).value
    ratio = _ratio(factors, choice.technology, day)
    return pfc.by_overvoltage(aeo, efficiency, activity.metal_t, coefficient, ratio)


def _low_voltage(
    activity: Activity, technology: str, factors: FactorSet, day: date | None
) -> Pfc | None:
    """CF4 below 8 V; C2F6 is usually not detected there, so none is estimated."""
    name = f"pfc.low_voltage.cf4.{technology}"
    if name not in factors:
        return None
    return pfc.by_factor(factors.get(name, day).value, activity.metal_t, 0.0)


def _ratio(factors: FactorSet, technology: str, day: date | None) -> float:
    return factors.get(f"pfc.c2f6_ratio.{technology}", day).value


def _whole(duct: Pfc, efficiency_percent: float) -> Pfc:
    share = pfc.total_from_duct(1.0, efficiency_percent)
    return Pfc(duct.ef_cf4_kg_per_t * share, duct.cf4_t * share, duct.c2f6_t * share)


def _sum(gases: Sequence[Pfc], metal_t: float) -> Pfc:
    cf4_t = math.fsum(gas.cf4_t for gas in gases)
    c2f6_t = math.fsum(gas.c2f6_t for gas in gases)
    return Pfc(cf4_t * 1000 / metal_t if metal_t else 0.0, cf4_t, c2f6_t)


def _defined(rate: float | None, name: str) -> float:
    if rate is None:
        message = f"no cell time was observed: {name} is not defined"
        raise CalculationError(message)
    return rate

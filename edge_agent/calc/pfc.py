"""CF4 and C2F6 of anode effects: slope, overvoltage, factor, effect by effect; CO2 equivalents.

Masses stay unrounded; coefficients come from a factor set. Source of the equations:
IPCC 2006 vol. 3 ch. 4 (Tier 2), (EU) 2025/2547 annex II B.7 eq. 20 to 26, 40 CFR 98 subpart F
eq. F-1 to F-4, GB/T 32151.4. ``pfc_methods`` chooses the method and adds up lines and months.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.calc.aluminium import (
    ALUMINIUM_G_PER_MOL,
    ELECTRONS_PER_AL,
    FARADAY_C_PER_MOL,
    check_current_efficiency,
)
from edge_agent.errors import CalculationError

CF4_G_PER_MOL = 88.0043
"""Molar mass of CF4 [g/mol], from IUPAC atomic masses."""
ELECTRONS_PER_CF4 = 4
MINUTES_PER_DAY = 1440


@dataclass(frozen=True, slots=True)
class Pfc:
    """Perfluorocarbons of a period: CF4 and C2F6 [t] and CF4 per metal [kg/t]."""

    ef_cf4_kg_per_t: float
    cf4_t: float
    c2f6_t: float


class Plausibility(StrEnum):
    """Whether CF4 per metal lies where modern lines lie; a flag, never a refusal."""

    USUAL = "usual"
    LOW = "cf4_below_0.01_kg_per_t"
    HIGH = "cf4_above_0.1_kg_per_t"


USUAL_CF4_KG_PER_T = (0.01, 0.1)
"""High-voltage CF4 per metal [kg/t] outside which a unit error is likely (domain-china.md 3.2)."""


@dataclass(frozen=True, slots=True)
class EffectLaw:
    """CF4 of a single effect as a power of its net duration (Dion et al. 2017, 2018).

        m = scale x P x d**exponent,   C2F6/CF4 = ratio x d**ratio_exponent

    with d in minutes and P the metal of a cell-day [t]. ``exponent`` 1 with ``scale`` S is the
    slope method exactly. Coefficients come from a factor set; without them nothing is computed.

    Raises:
        CalculationError: scale or ratio negative, or the exponent not above zero.
    """

    scale: float
    exponent: float
    ratio: float
    ratio_exponent: float = 0.0

    def __post_init__(self) -> None:
        if not (self.scale >= 0 and self.ratio >= 0 and self.exponent > 0):
            message = (
                f"law of single effects: scale {self.scale}, exponent {self.exponent}, ratio "
                f"{self.ratio}; scale and ratio of at least 0 and an exponent above 0 are right"
            )
            raise CalculationError(message)

    def cf4_kg(self, net_min: float, metal_t_per_cell_day: float) -> float:
        """CF4 [kg] of an effect of some net minutes."""
        return self.scale * metal_t_per_cell_day * math.pow(net_min, self.exponent)

    def c2f6_kg(self, net_min: float, metal_t_per_cell_day: float) -> float:
        """C2F6 [kg] of an effect of some net minutes."""
        if not net_min:
            return 0.0
        share = self.ratio * math.pow(net_min, self.ratio_exponent)
        return share * self.cf4_kg(net_min, metal_t_per_cell_day)


def by_slope(aem_min_per_cell_day: float, metal_t: float, slope: float, c2f6_per_cf4: float) -> Pfc:
    """Slope method.

        m_CF4 = S x AEM x P,  m_C2F6 = F x m_CF4

    Args:
        aem_min_per_cell_day: anode-effect minutes per cell-day [min/(cell.d)].
        metal_t: metal produced in the period [t].
        slope: slope coefficient S [kg CF4 / t Al / (min/(cell.d))].
        c2f6_per_cf4: weight fraction F of C2F6 to CF4.

    Raises:
        CalculationError: metal or minutes negative, or minutes above 1440.
    """
    if not 0 <= aem_min_per_cell_day <= MINUTES_PER_DAY:
        message = f"{aem_min_per_cell_day} anode-effect minutes a cell-day; 0 to 1440 is possible"
        raise CalculationError(message)
    return by_factor(slope * aem_min_per_cell_day, metal_t, c2f6_per_cf4)


def by_overvoltage(
    aeo_mv: float,
    current_efficiency_percent: float,
    metal_t: float,
    overvoltage_coefficient: float,
    c2f6_per_cf4: float,
) -> Pfc:
    """Overvoltage method; the current efficiency enters as a percent number.

        EF_CF4 = OVC x AEO / CE

    Args:
        aeo_mv: mean anode-effect overvoltage [mV per cell-day].
        current_efficiency_percent: current efficiency [%], 50 to 100.
        metal_t: metal produced in the period [t].
        overvoltage_coefficient: OVC [(kg CF4/t Al)/mV].
        c2f6_per_cf4: weight fraction of C2F6 to CF4.

    Raises:
        CalculationError: an input is out of its range.
    """
    check_current_efficiency(current_efficiency_percent)
    if not aeo_mv >= 0:
        message = f"overvoltage is {aeo_mv} mV; zero or more is possible"
        raise CalculationError(message)
    ef = overvoltage_coefficient * aeo_mv / current_efficiency_percent
    return by_factor(ef, metal_t, c2f6_per_cf4)


def by_factor(ef_cf4_kg_per_t: float, metal_t: float, c2f6_per_cf4: float) -> Pfc:
    """Masses from an emission factor of CF4 [kg/t Al] and metal [t].

    Raises:
        CalculationError: metal is negative.
    """
    if not metal_t >= 0:
        message = f"metal is {metal_t} t; zero or more is possible"
        raise CalculationError(message)
    cf4_t = ef_cf4_kg_per_t * metal_t / 1000
    return Pfc(ef_cf4_kg_per_t, cf4_t, cf4_t * c2f6_per_cf4)


def by_effects(
    net_minutes: Sequence[float], metal_t: float, cell_days: float, law: EffectLaw
) -> Pfc:
    """Effect by effect, for laws that are not linear in the duration.

        m_CF4 = sum of a x P x d_i**b,   P = metal / cell-days

    Args:
        net_minutes: net duration of each effect of the period [min].
        metal_t: metal produced in the period [t].
        cell_days: cell-days of the period.
        law: coefficients.

    Raises:
        CalculationError: a duration or the metal is negative, or there is no cell time.
    """
    if not (metal_t >= 0 and cell_days > 0 and all(net >= 0 for net in net_minutes)):
        message = (
            f"{metal_t} t over {cell_days} cell-days and durations from "
            f"{min(net_minutes, default=0)} min: none may be negative, cell-days above zero"
        )
        raise CalculationError(message)
    per_cell_day = metal_t / cell_days
    cf4_t = math.fsum(law.cf4_kg(net, per_cell_day) for net in net_minutes) / 1000
    c2f6_t = math.fsum(law.c2f6_kg(net, per_cell_day) for net in net_minutes) / 1000
    return Pfc(cf4_t * 1000 / metal_t if metal_t else 0.0, cf4_t, c2f6_t)


def plausibility(ef_cf4_kg_per_t: float) -> Plausibility:
    """Where CF4 per metal [kg/t] lies; none at all is usual, for a month without an effect."""
    low, high = USUAL_CF4_KG_PER_T
    if ef_cf4_kg_per_t > high:
        return Plausibility.HIGH
    return Plausibility.LOW if 0 < ef_cf4_kg_per_t < low else Plausibility.USUAL


def co2e(cf4_t: float, c2f6_t: float, gwp_cf4: float, gwp_c2f6: float) -> float:
    """CO2 equivalent [t] of CF4 and C2F6 [t] with 100-year warming potentials."""
    return cf4_t * gwp_cf4 + c2f6_t * gwp_c2f6


def cf4_bound_kg(current_ka: float, effect_min: float) -> float:
    """Most CF4 [kg] that a current [kA] can make in some minutes of effect (Faraday's law).

    m <= I x t / (4 F) x M_CF4
    """
    charge_c = current_ka * 1000 * effect_min * 60
    return charge_c / (ELECTRONS_PER_CF4 * FARADAY_C_PER_MOL) * CF4_G_PER_MOL / 1000


def check_bound(cf4_kg: float, current_ka: float, effect_min: float) -> None:
    """Refuse a CF4 mass that no current could have made: a unit error somewhere.

    Raises:
        CalculationError: the mass exceeds Faraday's bound.
    """
    bound = cf4_bound_kg(current_ka, effect_min)
    if cf4_kg > bound:
        message = (
            f"{cf4_kg:.6g} kg CF4 is above the {bound:.6g} kg that {current_ka} kA can make in "
            f"{effect_min:.6g} min of anode effect"
        )
        raise CalculationError(message)


def check_bound_of_metal(cf4_kg: float, metal_t: float) -> None:
    """Refuse a CF4 mass that the current which made some metal [t] could not have made.

        m <= P / M_Al x 3/4 x M_CF4 x 100/50

    3 electrons make an aluminium atom and 4 a CF4; 50 % is the lowest current efficiency that
    is accepted anywhere. For results without effect minutes: default and low-voltage factors.

    Raises:
        CalculationError: the mass exceeds the bound.
    """
    per_metal = ELECTRONS_PER_AL / ELECTRONS_PER_CF4 * CF4_G_PER_MOL / ALUMINIUM_G_PER_MOL
    bound = 2 * per_metal * metal_t * 1000
    if cf4_kg > bound:
        message = f"{cf4_kg:.6g} kg CF4 is above the {bound:.6g} kg that the current for {metal_t} t of metal can make"
        raise CalculationError(message)


def total_from_duct(duct_t: float, collection_efficiency_percent: float) -> float:
    """Whole emission [t] from what the fume ducts carry.

        E = E_duct / collection efficiency        ((EU) 2025/2547 annex II B.7 eq. 20)

    Raises:
        CalculationError: the efficiency is not above 0 and at most 100 %.
    """
    if not 0 < collection_efficiency_percent <= 100:
        message = f"collection efficiency {collection_efficiency_percent} %; 0 to 100 is possible"
        raise CalculationError(message)
    return duct_t / (collection_efficiency_percent / 100)

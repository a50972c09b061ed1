"""Cement clinker: process CO2 of a kiln line.

Two routes:

    factor   E = max(0, sum Q x EF_type - sum AD_m x D_m) a line    (CETS-AG-02.01-V01-2024)
    oxides   EF = (CaO - CaO_nc) x 44/56 + (MgO - MgO_nc) x 44/40
             E = Q EF + Q_dust EF + Q_bypass EF d + Q_meal FR0 44/12      (GB/T 32151.8-2015)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent.calc.checks import fraction, not_negative
from edge_agent.calc.combustion import CO2_PER_C
from edge_agent.errors import CalculationError

CO2_PER_CAO = 44 / 56
CO2_PER_MGO = 44 / 40


def clinker_factor(
    cao: float, mgo: float, cao_noncarbonate: float, mgo_noncarbonate: float
) -> float:
    """Process emission factor of clinker [tCO2/t] from its oxides, all as fractions.

        EF = (CaO - CaO_nc) x 44/56 + (MgO - MgO_nc) x 44/40

    Raises:
        CalculationError: a fraction is outside 0 to 1, or a part exceeds its whole.
    """
    if not (0 <= cao_noncarbonate <= cao <= 1 and 0 <= mgo_noncarbonate <= mgo <= 1):
        message = (
            f"CaO {cao} (non-carbonate {cao_noncarbonate}), MgO {mgo} "
            f"(non-carbonate {mgo_noncarbonate}): fractions with part <= whole are right"
        )
        raise CalculationError(message)
    return (cao - cao_noncarbonate) * CO2_PER_CAO + (mgo - mgo_noncarbonate) * CO2_PER_MGO


def clinker_co2(clinker_t: float, factor_t_per_t: float) -> float:
    """Process CO2 [t] of clinker [t] by an emission factor [tCO2/t].

    Raises:
        CalculationError: an input is negative.
    """
    if not (clinker_t >= 0 and factor_t_per_t >= 0):
        message = f"clinker {clinker_t} t, factor {factor_t_per_t}: both must be at least 0"
        raise CalculationError(message)
    return clinker_t * factor_t_per_t


@dataclass(frozen=True, slots=True)
class Clinker:
    """Clinker of one type: mass [t] and process factor of the type [tCO2/t]."""

    kind: str
    mass_t: float
    factor_t_per_t: float


@dataclass(frozen=True, slots=True)
class Substitute:
    """A non-carbonate raw material (非碳酸盐替代原料): mass [t] and deduction [tCO2/t]."""

    material: str
    mass_t: float
    deduction_t_per_t: float


@dataclass(frozen=True, slots=True)
class LineProcess:
    """A line's process CO2 [t]: before and after the deduction; ``floored`` when zero stopped it."""

    gross_t: float
    deduction_t: float
    co2_t: float
    floored: bool


def line_process_co2(clinkers: Sequence[Clinker], substitutes: Sequence[Substitute]) -> LineProcess:
    """Process CO2 [t] of one line in one month by the factor route.

        E = max(0, sum Q x EF - sum AD x D)

    Args:
        clinkers: what the line made, by type.
        substitutes: what replaced carbonates in its raw meal.

    Raises:
        CalculationError: an input is negative.
    """
    gross_t = math.fsum(clinker_co2(item.mass_t, item.factor_t_per_t) for item in clinkers)
    for item in substitutes:
        not_negative(
            **{f"mass of {item.material}": item.mass_t, "deduction factor": item.deduction_t_per_t}
        )
    deduction_t = math.fsum(item.mass_t * item.deduction_t_per_t for item in substitutes)
    return LineProcess(gross_t, deduction_t, max(0.0, gross_t - deduction_t), deduction_t > gross_t)


def carbide_slag_rate(carbide_slag_t: float, calcareous_t: float) -> float:
    """Carbide slag substitution rate (电石渣替代率) [%].

    Share of the carbide slag in all calcareous raw materials of a line, by mass. The allocation
    plan of November 2025 uses the rate (lines above 15 %); its definition was not at hand, so this
    one is **unverified** and the report says so.

    Args:
        carbide_slag_t: carbide slag used [t].
        calcareous_t: limestone, carbide slag and other calcareous materials together [t].

    Raises:
        CalculationError: an input is negative, or a part exceeds the whole.
    """
    not_negative(carbide_slag_t=carbide_slag_t, calcareous_t=calcareous_t)
    if calcareous_t == 0 or carbide_slag_t > calcareous_t:
        message = (
            f"{carbide_slag_t} t carbide slag of {calcareous_t} t calcareous materials; "
            "a part of a whole above zero is right"
        )
        raise CalculationError(message)
    return 100 * carbide_slag_t / calcareous_t


@dataclass(frozen=True, slots=True)
class Dust:
    """Dust that left a kiln system, and the carbon of its raw meal.

    Attributes:
        kiln_dust_t: kiln exhaust dust, fully calcined [t].
        bypass_dust_t: bypass dust [t].
        bypass_decomposition: calcined fraction d of the bypass dust.
        raw_meal_t: raw meal [t].
        raw_meal_carbon: non-fuel carbon FR0 of the raw meal, fraction (0.001 to 0.003).
    """

    kiln_dust_t: float = 0.0
    bypass_dust_t: float = 0.0
    bypass_decomposition: float = 1.0
    raw_meal_t: float = 0.0
    raw_meal_carbon: float = 0.0


@dataclass(frozen=True, slots=True)
class OxideProcess:
    """Process CO2 [t] of a line by the oxide route, term by term."""

    clinker_t: float
    kiln_dust_t: float
    bypass_dust_t: float
    raw_meal_carbon_t: float
    co2_t: float


def oxide_process_co2(clinker_t: float, factor_t_per_t: float, dust: Dust) -> OxideProcess:
    """Process CO2 [t] of one line by clinker, dusts and raw-meal carbon.

    Args:
        clinker_t: clinker made [t].
        factor_t_per_t: factor from the clinker's oxides [tCO2/t], see ``clinker_factor``.
        dust: dusts and raw meal of the same line.

    Raises:
        CalculationError: an input is out of range.
    """
    not_negative(
        kiln_dust_t=dust.kiln_dust_t, bypass_dust_t=dust.bypass_dust_t, raw_meal_t=dust.raw_meal_t
    )
    clinker = clinker_co2(clinker_t, factor_t_per_t)
    kiln_dust = dust.kiln_dust_t * factor_t_per_t
    decomposition = fraction("bypass_decomposition", dust.bypass_decomposition)
    bypass = dust.bypass_dust_t * factor_t_per_t * decomposition
    meal = dust.raw_meal_t * fraction("raw_meal_carbon", dust.raw_meal_carbon) * CO2_PER_C
    return OxideProcess(
        clinker, kiln_dust, bypass, meal, math.fsum((clinker, kiln_dust, bypass, meal))
    )


@dataclass(frozen=True, slots=True)
class ClinkerStock:
    """Clinker of a plant's store in a month [t]."""

    used_in_grinding_t: float
    sold_t: float
    opening_t: float
    closing_t: float
    bought_t: float = 0.0


def clinker_by_stock(stock: ClinkerStock) -> float:
    """Clinker made [t] by the balance of its store.

        Q = used in grinding + sold - bought + closing - opening

    Raises:
        CalculationError: a part is negative, or so is the result.
    """
    not_negative(
        used_in_grinding_t=stock.used_in_grinding_t,
        sold_t=stock.sold_t,
        opening_t=stock.opening_t,
        closing_t=stock.closing_t,
        bought_t=stock.bought_t,
    )
    made_t = math.fsum(
        (stock.used_in_grinding_t, stock.sold_t, -stock.bought_t, stock.closing_t, -stock.opening_t)
    )
    not_negative(clinker_by_stock=made_t)
    return made_t


@dataclass(frozen=True, slots=True)
class ClinkerComparison:
    """Clinker by belt weigher and by stock balance [t], and their difference."""

    weighed_t: float
    balanced_t: float
    difference_t: float
    difference_percent: float | None


def compare_clinker(weighed_t: float, balanced_t: float) -> ClinkerComparison:
    """Both ways to a month's clinker [t] side by side; the percentage is of the balance.

    Raises:
        CalculationError: an input is negative.
    """
    not_negative(weighed_t=weighed_t, balanced_t=balanced_t)
    difference = weighed_t - balanced_t
    share = 100 * difference / balanced_t if balanced_t else None
    return ClinkerComparison(weighed_t, balanced_t, difference, share)


@dataclass(frozen=True, slots=True)
class LineTotal:
    """A line's month: combustion, alternative fuels and process CO2 [t] and clinker [t]."""

    combustion_t: float
    process_t: float
    clinker_t: float
    alternative_fuel_t: float = 0.0

    @property
    def co2_t(self) -> float:
        """Direct CO2 of the line [t]."""
        return math.fsum((self.combustion_t, self.alternative_fuel_t, self.process_t))

    @property
    def intensity_t_per_t(self) -> float | None:
        """CO2 per clinker [tCO2/t]; None when the line stood still."""
        return self.co2_t / self.clinker_t if self.clinker_t else None


def plant_total(lines: Mapping[str, LineTotal]) -> LineTotal:
    """All kilns of a plant together; each line has had its own floor at zero before."""
    items = lines.values()
    return LineTotal(
        math.fsum(item.combustion_t for item in items),
        math.fsum(item.process_t for item in items),
        math.fsum(item.clinker_t for item in items),
        math.fsum(item.alternative_fuel_t for item in items),
    )

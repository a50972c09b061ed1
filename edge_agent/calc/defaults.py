"""A fuel's default heating value, carbon and oxidation out of a factor set.

Solid fuels oxidise differently in a cement kiln, a power boiler and an industrial boiler; a set
that says so has ``oxidation.solid.<equipment>`` instead of ``fuel.<name>.oxidation``.
"""

from dataclasses import dataclass
from datetime import date

from edge_agent.calc.combustion import FuelUse, Origin
from edge_agent.calc.factors import Factor, FactorSet
from edge_agent.calc.vocabulary import EQUIPMENT, FUELS, SOLID_FUELS
from edge_agent.errors import CalculationError


@dataclass(frozen=True, slots=True)
class Measured:
    """What a plant knows of a fuel in a month; what is None takes the set's default.

    Attributes:
        amount: net consumption [t or 10^4 Nm3].
        ncv_gj: measured net calorific value, as received [GJ a unit].
        carbon_t_per_unit: measured carbon, as received [tC a unit]; wins over heating value.
        origin: bought, or made inside.
        reason: why the amount is negative.
    """

    amount: float
    ncv_gj: float | None = None
    carbon_t_per_unit: float | None = None
    origin: Origin = Origin.BOUGHT
    reason: str = ""


def oxidation(
    factors: FactorSet, fuel: str, equipment: str = "", day: date | None = None
) -> Factor:
    """The oxidation of a fuel: its own, or that of solid fuels in the equipment.

    Raises:
        CalculationError: the set has neither, or the equipment is needed and not one of those.
    """
    own = f"fuel.{fuel}.oxidation"
    if own in factors:
        return factors.get(own, day)
    if fuel not in SOLID_FUELS:
        return factors.get(own, day)  # its error names what is missing
    if equipment not in EQUIPMENT:
        message = (
            f"the oxidation of {fuel} depends on where it burns in factor set {factors.id}; "
            f"equipment is {equipment!r}, one of {', '.join(EQUIPMENT)} is right"
        )
        raise CalculationError(message)
    return factors.get(f"oxidation.solid.{equipment}", day)


def fuel_use(
    factors: FactorSet, fuel: str, measured: Measured, equipment: str = "", day: date | None = None
) -> tuple[FuelUse, tuple[Factor, ...]]:
    """A fuel's use with defaults where nothing was measured, and the defaults it took.

    Raises:
        CalculationError: the fuel is unknown, or the set lacks a default that is needed.
    """
    if fuel not in FUELS:
        message = f"there is no fuel {fuel!r}; known: {', '.join(FUELS)}"
        raise CalculationError(message)
    taken = [oxidation(factors, fuel, equipment, day)]
    ncv_gj, carbon = measured.ncv_gj, None
    if measured.carbon_t_per_unit is None:
        taken.append(factors.get(f"fuel.{fuel}.carbon", day))
        carbon = taken[-1].value
        if ncv_gj is None:
            taken.append(factors.get(f"fuel.{fuel}.ncv", day))
            ncv_gj = taken[-1].value
    use = FuelUse(
        fuel,
        measured.amount,
        taken[0].value,
        unit=FUELS[fuel].unit,
        ncv_gj=ncv_gj,
        carbon_t_per_gj=carbon,
        carbon_t_per_unit=measured.carbon_t_per_unit,
        origin=measured.origin,
        reason=measured.reason,
    )
    return use, tuple(taken)

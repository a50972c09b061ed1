"""Fossil fuels of any sector: amount, heating value or carbon content, oxidation, CO2."""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.calc import combustion
from edge_agent.calc.combustion import FuelUse
from gateway.month.amounts import amount
from gateway.month.formula import Formula
from gateway.month.model import MonthValue, Work
from gateway.month.properties import content

_CLAUSE = "GB/T 32151 series; CETS-AG-02/03/04.01 chapter on fossil fuel combustion"


@dataclass(frozen=True, slots=True)
class Fuel:
    """A fuel of the plant.

    Args:
        scope: what its values belong to.
        name: as the factor sets call it.
        unit: ``t`` or ``10^4Nm3``.
        oxidation: factor id of the oxidised fraction.
        by_content: whether measured carbon content is the planned route.
        signed: why the net amount may be negative; empty where it may not.
        meters: the meters of the fuel, where the plan has no line for it.
    """

    scope: str
    name: str
    unit: str
    oxidation: str
    by_content: bool = False
    signed: str = ""
    meters: Sequence[str] = ()


def _by_heat(signed: str, FC: float, NCV: float, CC: float, OF: float) -> float:
    use = FuelUse(
        "fuel", FC, OF / 100, ncv_gj=NCV, carbon_t_per_gj=CC, unit=combustion.NM3_10K, reason=signed
    )
    return combustion.burn(use).co2_t


def _by_content(signed: str, FC: float, C: float, OF: float) -> float:
    use = FuelUse("fuel", FC, OF / 100, carbon_t_per_unit=C, unit=combustion.NM3_10K, reason=signed)
    return combustion.burn(use).co2_t


def by_heat(signed: str = "") -> Formula:
    """Combustion by heating value and carbon per heat; ``OF`` in percent."""
    return Formula(
        "FC × NCV × CC × OF/100 × 44/12",
        _CLAUSE,
        lambda FC, NCV, CC, OF: _by_heat(signed, FC, NCV, CC, OF),
    )


def by_content(signed: str = "") -> Formula:
    """Combustion by measured carbon content; ``OF`` in percent."""
    return Formula(
        "FC × C × OF/100 × 44/12",
        _CLAUSE,
        lambda FC, C, OF: _by_content(signed, FC, C, OF),
    )


def co2(work: Work, fuel: Fuel) -> MonthValue:
    """Amount, factors and CO2 of a fuel; gives the CO2 [t]."""
    scope = fuel.scope
    burnt = amount(work, "fuel_amount", scope, fuel.meters, fuel.unit)
    if fuel.by_content:
        carbon = content(work, "fuel_carbon_content", scope, None)
        terms = {"FC": burnt, "C": carbon, "OF": _oxidation(work, fuel)}
        return work.compute("fuel_co2_t", scope, by_content(fuel.signed), terms)
    ncv = content(work, "fuel_ncv", scope, f"fuel.{fuel.name}.ncv")
    carbon = content(work, "fuel_carbon", scope, f"fuel.{fuel.name}.carbon")
    terms = {"FC": burnt, "NCV": ncv, "CC": carbon, "OF": _oxidation(work, fuel)}
    return work.compute("fuel_co2_t", scope, by_heat(fuel.signed), terms)


def oxidation_of(work: Work, fuel: str, equipment: str) -> str:
    """Factor id of a fuel's oxidation: by equipment for solids where the set says so."""
    by_fuel, by_equipment = f"fuel.{fuel}.oxidation", f"oxidation.solid.{equipment}"
    if by_fuel in work.factors or by_equipment not in work.factors:
        return by_fuel
    return by_equipment


def _oxidation(work: Work, fuel: Fuel) -> MonthValue:
    factor = work.factor(fuel.oxidation)
    return work.add_factor("fuel_oxidation", fuel.scope, factor, scale=100, unit="%")

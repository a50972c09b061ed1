"""Fossil fuel combustion (GB/T 32151 series; CETS-AG-02/03/04.01 chapter on combustion).

A fuel's carbon comes from a measured carbon content where there is one, else from heating value
times carbon per heat; the measured one wins. Amounts are net consumptions, t or 10^4 Nm3.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.calc import basis
from edge_agent.calc.checks import fraction, not_negative, signed
from edge_agent.errors import CalculationError

CO2_PER_C = 44 / 12
"""Mass of CO2 per mass of carbon, the ratio 44/12 that every guideline prints."""
TONNE = "t"
NM3_10K = "10^4Nm3"
"""The accounting unit of gases: ten thousand cubic metres at 0 C and 101.325 kPa."""


class Route(StrEnum):
    """Where a fuel's carbon comes from."""

    MEASURED_CARBON = "measured_carbon"
    HEATING_VALUE = "heating_value"


class Origin(StrEnum):
    """Whether a fuel came through the gate or was made inside it."""

    BOUGHT = "bought"
    OWN = "own"


def co2_by_heating_value(
    amount: float, ncv_gj: float, carbon_t_per_gj: float, oxidation: float
) -> float:
    """CO2 in t from a fuel's amount, heating value and carbon content per heat.

        E = FC x NCV x CC x OF x 44/12

    Args:
        amount: fuel burnt [t, or 10^4 Nm3 for gases].
        ncv_gj: net calorific value [GJ/t or GJ/10^4 Nm3].
        carbon_t_per_gj: carbon content per heat [tC/GJ].
        oxidation: oxidised fraction of the carbon, 0 to 1.

    Raises:
        CalculationError: an input is negative or the fraction is above 1.
    """
    not_negative(amount=amount, ncv_gj=ncv_gj, carbon_t_per_gj=carbon_t_per_gj)
    return amount * ncv_gj * carbon_t_per_gj * fraction("oxidation", oxidation) * CO2_PER_C


def co2_by_carbon_content(amount: float, carbon_t_per_t: float, oxidation: float) -> float:
    """CO2 in t from a fuel's amount and measured carbon, as received.

        E = FC x C_ar x OF x 44/12

    Raises:
        CalculationError: an input is negative or a fraction is above 1.
    """
    not_negative(amount=amount)
    carbon_t = amount * fraction("carbon_t_per_t", carbon_t_per_t)
    return carbon_t * fraction("oxidation", oxidation) * CO2_PER_C


def as_received_from_air_dried(
    content_ad_percent: float, moisture_ad_percent: float, moisture_ar_percent: float
) -> float:
    """A content [%] converted from the air-dried to the as-received basis.

        X_ar = X_ad x (100 - M_ar) / (100 - M_ad)

    Raises:
        CalculationError: a percentage is outside 0 to 100, or M_ad is 100.
    """
    moisture = basis.Moisture(moisture_ar_percent, moisture_ad_percent)
    return basis.convert(
        content_ad_percent, basis.Basis.AIR_DRIED, basis.Basis.AS_RECEIVED, moisture
    )


@dataclass(frozen=True, slots=True)
class FuelUse:
    """A fuel's net consumption and the numbers that make it carbon.

    Attributes:
        fuel: its name in the factor sets.
        amount: net consumption [t, or 10^4 Nm3]; negative only with ``reason``.
        oxidation: oxidised fraction, 1 where the guideline applies none.
        unit: ``t`` or ``10^4Nm3``.
        ncv_gj: net calorific value [GJ a unit].
        carbon_t_per_gj: carbon per heat [tC/GJ].
        carbon_t_per_unit: measured carbon [tC a unit], as received; wins when given.
        origin: bought, or made inside the plant.
        reason: why the amount is negative (steel: more left than entered).
    """

    fuel: str
    amount: float
    oxidation: float
    unit: str = TONNE
    ncv_gj: float | None = None
    carbon_t_per_gj: float | None = None
    carbon_t_per_unit: float | None = None
    origin: Origin = Origin.BOUGHT
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Burnt:
    """What a fuel's use comes to: carbon [tC], CO2 [t], heat [GJ] where it is known."""

    use: FuelUse
    route: Route
    carbon_t: float
    co2_t: float
    heat_gj: float | None


def burn(use: FuelUse) -> Burnt:
    """Carbon and CO2 of one fuel by the route its data allow.

    Raises:
        CalculationError: an input is out of range, a needed one is missing, or a negative amount
            has no reason.
    """
    amount = signed(f"amount of {use.fuel}", use.amount, use.reason)
    oxidised = fraction(f"oxidation of {use.fuel}", use.oxidation)
    not_negative(ncv_gj=use.ncv_gj or 0.0)
    heat_gj = None if use.ncv_gj is None else amount * use.ncv_gj
    if use.unit not in {TONNE, NM3_10K}:
        message = f"unit of {use.fuel} is {use.unit!r}; {TONNE} or {NM3_10K} is right"
        raise CalculationError(message)
    if use.carbon_t_per_unit is not None:
        carbon_t = amount * _measured_carbon(use, use.carbon_t_per_unit)
        route = Route.MEASURED_CARBON
    else:
        carbon_t = _carbon_by_heat(use, amount)
        route = Route.HEATING_VALUE
    return Burnt(use, route, carbon_t, carbon_t * oxidised * CO2_PER_C, heat_gj)


def total_co2(burnt: Iterable[Burnt]) -> float:
    """CO2 [t] of all fuels; the order does not matter."""
    return math.fsum(item.co2_t for item in burnt)


def alternative_fuel_co2(
    amount: float, ncv_gj: float, ef_tco2_per_gj: float, fossil_fraction: float
) -> float:
    """CO2 [t] of the fossil share of an alternative fuel.

        E = FC x NCV x EF x alpha        (GB/T 32151.8-2015)

    Args:
        amount: waste burnt [t].
        ncv_gj: net calorific value [GJ/t].
        ef_tco2_per_gj: CO2 per heat of the whole fuel [tCO2/GJ].
        fossil_fraction: fossil share of the carbon, 0 to 1; the rest is biomass and counts zero.

    Raises:
        CalculationError: an input is out of range.
    """
    not_negative(amount=amount, ncv_gj=ncv_gj, ef_tco2_per_gj=ef_tco2_per_gj)
    return amount * ncv_gj * ef_tco2_per_gj * fraction("fossil_fraction", fossil_fraction)


def _measured_carbon(use: FuelUse, carbon: float) -> float:
    not_negative(**{f"carbon of {use.fuel}": carbon})
    return fraction(f"carbon of {use.fuel} [tC/t]", carbon) if use.unit == TONNE else carbon


def _carbon_by_heat(use: FuelUse, amount: float) -> float:
    if use.ncv_gj is None or use.carbon_t_per_gj is None:
        message = (
            f"{use.fuel} has neither a measured carbon content nor both heating value and "
            "carbon per heat"
        )
        raise CalculationError(message)
    not_negative(carbon_t_per_gj=use.carbon_t_per_gj)
    return amount * use.ncv_gj * use.carbon_t_per_gj

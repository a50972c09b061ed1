"""Purchased electricity and heat: auxiliary items, reported beside the direct emissions.

Net amounts (净购入) = bought minus sold; a plant that sells more than it buys has a negative net
amount, which stands with a reason.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.calc.checks import finite, not_negative, signed
from edge_agent.errors import CalculationError

KG_PER_T = 1000


@dataclass(frozen=True, slots=True)
class PowerSource:
    """Electricity of one source in a month.

    Attributes:
        source: the grid, a market contract, a direct line.
        bought_mwh: electricity bought [MWh].
        ef_tco2_per_mwh: its emission factor [tCO2/MWh]; zero only where a rule says so.
        sold_mwh: electricity passed on [MWh].
        reason: why more was sold than bought, when it was.
    """

    source: str
    bought_mwh: float
    ef_tco2_per_mwh: float
    sold_mwh: float = 0.0
    reason: str = ""

    @property
    def net_mwh(self) -> float:
        """Bought minus sold [MWh].

        Raises:
            CalculationError: a part is negative, or the net amount is and has no reason.
        """
        not_negative(bought_mwh=self.bought_mwh, sold_mwh=self.sold_mwh)
        return signed(f"net MWh of {self.source}", self.bought_mwh - self.sold_mwh, self.reason)


def electricity_co2(sources: Sequence[PowerSource]) -> dict[str, float]:
    """Indirect CO2 [t] of net purchased electricity, by source.

        E = sum (MWh_bought - MWh_sold) x EF

    Raises:
        CalculationError: a source stands twice, or an input is out of range.
    """
    result: dict[str, float] = {}
    for item in sources:
        if item.source in result:
            message = f"the electricity source {item.source!r} stands twice"
            raise CalculationError(message)
        not_negative(ef_tco2_per_mwh=item.ef_tco2_per_mwh)
        result[item.source] = item.net_mwh * item.ef_tco2_per_mwh
    return result


def steam_heat_gj(steam_t: float, enthalpy_kj_per_kg: float, base_kj_per_kg: float) -> float:
    """Heat [GJ] of steam above the feed water it was made of.

        Q = t x (h - h0)/1000

    Args:
        steam_t: steam [t].
        enthalpy_kj_per_kg: enthalpy h at its pressure and temperature [kJ/kg].
        base_kj_per_kg: enthalpy h0 of the feed water [kJ/kg] (83.74 at 20 C).

    Raises:
        CalculationError: an input is negative, or the steam holds less than its feed water.
    """
    not_negative(
        steam_t=steam_t, enthalpy_kj_per_kg=enthalpy_kj_per_kg, base_kj_per_kg=base_kj_per_kg
    )
    if enthalpy_kj_per_kg < base_kj_per_kg:
        message = f"steam of {enthalpy_kj_per_kg} kJ/kg holds less than feed water {base_kj_per_kg}"
        raise CalculationError(message)
    return steam_t * (enthalpy_kj_per_kg - base_kj_per_kg) / KG_PER_T


def hot_water_heat_gj(
    water_t: float, temperature_c: float, base_c: float, capacity_kj_per_kg_k: float
) -> float:
    """Heat [GJ] of hot water above a base temperature.

        Q = t x (T - T0) x c/1000

    Args:
        water_t: water [t].
        temperature_c: its temperature [C].
        base_c: base temperature [C] (20).
        capacity_kj_per_kg_k: heat capacity [kJ/(kg K)] (4.1868).

    Raises:
        CalculationError: an input is out of range, or the water is colder than the base.
    """
    not_negative(water_t=water_t, capacity_kj_per_kg_k=capacity_kj_per_kg_k)
    finite(temperature_c=temperature_c, base_c=base_c)
    if temperature_c < base_c:
        message = f"water of {temperature_c} C is colder than the base of {base_c} C"
        raise CalculationError(message)
    return water_t * (temperature_c - base_c) * capacity_kj_per_kg_k / KG_PER_T


def heat_co2(heat_gj: float, ef_tco2_per_gj: float, reason: str = "") -> float:
    """Indirect CO2 [t] of net purchased heat [GJ].

    Raises:
        CalculationError: the factor is negative, or the heat is and has no reason.
    """
    not_negative(ef_tco2_per_gj=ef_tco2_per_gj)
    return signed("net heat", heat_gj, reason) * ef_tco2_per_gj


def indirect_co2(electricity_t: Sequence[float], heat_t: Sequence[float]) -> float:
    """All indirect CO2 [t]; never part of the direct total."""
    return math.fsum((*electricity_t, *heat_t))

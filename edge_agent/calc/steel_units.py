"""Steel: one process unit and line at a time, by-product gases, and how units are netted.

    E_unit = sum in FC x NCV x CC (x OF) x 44/12 - sum out        (gross in and out are kept)

Closure: the carbon that entered in any stream, less what left in any stream, less what the
form counts as emitted; a unit whose streams are all known and analysed closes to zero.

By-product gases move between units; ``gas_accounts`` sees to it that what is made is used,
flared, sold or stored, once each.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from edge_agent.calc.checks import finite, fraction, not_negative
from edge_agent.calc.combustion import CO2_PER_C, NM3_10K, Burnt, FuelUse, burn, total_co2
from edge_agent.errors import CalculationError


class Unit(StrEnum):
    """Process units (工序) of the forms."""

    COKING = "coking"
    SINTERING = "sintering"
    PELLETISING = "pelletising"
    BLAST_FURNACE = "blast_furnace"
    CONVERTER = "converter"
    ELECTRIC_ARC_FURNACE = "electric_arc_furnace"
    REFINING = "refining"
    CASTING = "casting"
    ROLLING = "rolling"
    LIME = "lime"
    POWER = "power"


class Netting(StrEnum):
    """How units are summed (option ``netting_rule_steel``; the official rule is not known)."""

    NET = "net"
    """Sum of in minus out."""
    NET_FLOORED = "net_floored"
    """Sum of in minus out, each unit at least zero."""
    GROSS_IN = "gross_in"
    """Sum of what went in; nothing is deducted."""


@dataclass(frozen=True, slots=True)
class Material:
    """A stream that is no fuel: mass [t] and carbon fraction."""

    name: str
    mass_t: float
    carbon: float

    @property
    def carbon_t(self) -> float:
        """Carbon [t].

        Raises:
            CalculationError: the mass is negative or the fraction outside 0 to 1.
        """
        not_negative(**{f"mass of {self.name}": self.mass_t})
        return self.mass_t * fraction(f"carbon of {self.name}", self.carbon)


@dataclass(frozen=True, slots=True)
class UnitMonth:
    """What one line of a unit took in and gave out in a month.

    Attributes:
        unit: which process.
        line: the production line's name.
        fuels_in: fuels, reductants and gases used.
        fuels_out: coke, tar and gases made.
        materials_in: other carbon-bearing inputs; they count in the carbon balance only.
        materials_out: other carbon-bearing outputs; the same.
        product_t: the unit's product [t].
    """

    unit: Unit
    line: str
    fuels_in: tuple[FuelUse, ...] = ()
    fuels_out: tuple[FuelUse, ...] = ()
    materials_in: tuple[Material, ...] = ()
    materials_out: tuple[Material, ...] = ()
    product_t: float = 0.0


@dataclass(frozen=True, slots=True)
class UnitResult:
    """One line of a unit: CO2 by the form [t] and its carbon balance [tC]."""

    month: UnitMonth
    entered: tuple[Burnt, ...]
    left: tuple[Burnt, ...]
    gross_in_t: float
    gross_out_t: float
    co2_t: float
    carbon_in_t: float
    carbon_out_t: float

    @property
    def balance_co2_t(self) -> float:
        """CO2 [t] by the mass balance over every known stream."""
        return (self.carbon_in_t - self.carbon_out_t) * CO2_PER_C

    @property
    def closure_carbon_t(self) -> float:
        """Carbon [t] that neither left in a known stream nor was counted as emitted."""
        return math.fsum((self.carbon_in_t, -self.carbon_out_t, -self.co2_t / CO2_PER_C))

    @property
    def closure_percent(self) -> float | None:
        """The same in percent of the carbon that entered; None when none did."""
        return 100 * self.closure_carbon_t / self.carbon_in_t if self.carbon_in_t else None


def unit_co2(month: UnitMonth) -> UnitResult:
    """CO2 of one line of a unit, and its carbon balance.

    Raises:
        CalculationError: an input is out of range.
    """
    not_negative(product_t=month.product_t)
    entered = tuple(burn(use) for use in month.fuels_in)
    left = tuple(burn(use) for use in month.fuels_out)
    gross_in_t, gross_out_t = total_co2(entered), total_co2(left)
    carbon_in_t = math.fsum(
        (*(item.carbon_t for item in entered), *(item.carbon_t for item in month.materials_in))
    )
    carbon_out_t = math.fsum(
        (*(item.carbon_t for item in left), *(item.carbon_t for item in month.materials_out))
    )
    return UnitResult(
        month,
        entered,
        left,
        gross_in_t,
        gross_out_t,
        gross_in_t - gross_out_t,
        carbon_in_t,
        carbon_out_t,
    )


def net_units(results: Sequence[UnitResult], rule: Netting) -> float:
    """CO2 [t] of all process units (工序层级排放总量); power units are left out.

    Raises:
        CalculationError: a line of a unit stands twice.
    """
    units = [result for result in results if result.month.unit is not Unit.POWER]
    places = [(result.month.unit, result.month.line) for result in results]
    for place in places:
        if places.count(place) > 1:
            message = f"{place[0]} line {place[1]!r} stands {places.count(place)} times"
            raise CalculationError(message)
    match rule:
        case Netting.NET:
            return math.fsum(result.co2_t for result in units)
        case Netting.NET_FLOORED:
            return math.fsum(max(0.0, result.co2_t) for result in units)
        case Netting.GROSS_IN:
            return math.fsum(result.gross_in_t for result in units)
        case _:
            assert_never(rule)


def power_co2(results: Sequence[UnitResult]) -> float:
    """CO2 [t] of power units that burn own gas."""
    return math.fsum(result.co2_t for result in results if result.month.unit is Unit.POWER)


@dataclass(frozen=True, slots=True)
class GasOutside:
    """A gas's movements outside the units [10^4 Nm3]; ``stock_change`` is closing minus opening."""

    flared: float = 0.0
    sold: float = 0.0
    bought: float = 0.0
    stock_change: float = 0.0


@dataclass(frozen=True, slots=True)
class GasAccount:
    """One gas of the works in a month [10^4 Nm3].

    made + bought = used + flared + sold + stock change, up to ``difference``.
    """

    gas: str
    made: float
    used: float
    outside: GasOutside

    @property
    def difference(self) -> float:
        """What was made or bought and is accounted for nowhere; negative: more went than came."""
        item = self.outside
        return math.fsum(
            (self.made, item.bought, -self.used, -item.flared, -item.sold, -item.stock_change)
        )

    @property
    def difference_percent(self) -> float | None:
        """The difference in percent of what was made and bought; None when nothing was."""
        came = self.made + self.outside.bought
        return 100 * self.difference / came if came else None

    def closes(self, tolerance_percent: float) -> bool:
        """Whether the difference is at most the tolerance [%]."""
        share = self.difference_percent
        if share is None:
            return self.difference == 0
        return abs(share) <= tolerance_percent


def gas_accounts(
    months: Sequence[UnitMonth], outside: Mapping[str, GasOutside]
) -> tuple[GasAccount, ...]:
    """The account of every gas that a unit made or used, or that moved outside the units.

    Args:
        months: every unit of the works, the power units among them.
        outside: flared, sold, bought and stored amounts by gas.

    Raises:
        CalculationError: an amount is no number, or a flared, sold or bought one negative.
    """
    made, used = _by_gas(months, "fuels_out"), _by_gas(months, "fuels_in")
    for gas, item in outside.items():
        finite(stock_change=item.stock_change)
        not_negative(
            **{
                f"{gas} flared": item.flared,
                f"{gas} sold": item.sold,
                f"{gas} bought": item.bought,
            }
        )
    names = sorted({*made, *used, *outside})
    return tuple(
        GasAccount(
            name,
            math.fsum(made.get(name, ())),
            math.fsum(used.get(name, ())),
            outside.get(name, GasOutside()),
        )
        for name in names
    )


def _by_gas(months: Sequence[UnitMonth], side: str) -> dict[str, list[float]]:
    amounts: dict[str, list[float]] = {}
    for month in months:
        uses: tuple[FuelUse, ...] = getattr(month, side)
        for use in uses:
            if use.unit == NM3_10K:
                amounts.setdefault(use.fuel, []).append(use.amount)
    return amounts

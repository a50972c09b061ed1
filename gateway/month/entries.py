"""Lab values, weighings and stocks that people entered, as a month's computation takes them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from edge_agent.calc import stock
from edge_agent.calc.uncertainty import Uncertain, with_standard
from edge_agent.errors import CalculationError

ANALYSIS, WEIGHING, STOCK = "analysis", "weighing", "stock"
STOCK_QUANTITIES = ("opening", "bought", "closing", "passed_on", "used")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entered value.

    Args:
        kind: ``analysis`` (a property of a lot), ``weighing`` (an amount) or ``stock``.
        item: what it is about, as the control plan names it.
        quantity: the parameter's id for an analysis; for a stock one of ``STOCK_QUANTITIES``.
        value: the number as it was written.
        unit: its unit.
        time_ns: when it was sampled, weighed or counted [ns UTC].
        mass_t: mass of the lot [t], by which analyses are blended.
        relative_uncertainty: 95 % half width as a fraction, if the lab states one.
        document: SHA-256 of the signed document, hex.
        author: who signed it.
    """

    kind: str
    item: str
    quantity: str
    value: Decimal
    unit: str
    time_ns: int
    mass_t: Decimal | None = None
    relative_uncertainty: float | None = None
    document: str = ""
    author: str = ""


class Entries:
    """All entries in force, asked by kind, item and month."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Put them in order of time; equal times keep the order of their values."""
        self._all = sorted(
            entries, key=lambda one: (one.time_ns, one.item, one.quantity, one.value, one.document)
        )

    def of(
        self, kind: str, items: Sequence[str], quantity: str, start_ns: int, end_ns: int
    ) -> list[Entry]:
        """Entries of some items in [start, end), by time."""
        return [
            one
            for one in self._all
            if one.kind == kind
            and one.item in items
            and one.quantity == quantity
            and start_ns <= one.time_ns < end_ns
        ]


def check_unit(entries: Sequence[Entry], unit: str) -> None:
    """Refuse entries in another unit than the parameter's.

    Raises:
        CalculationError: names the document, item and units.
    """
    for one in entries:
        if one.unit != unit:
            message = (
                f"document {one.document[:16]}: {one.quantity} of {one.item} is in {one.unit!r}; "
                f"{unit!r} is right"
            )
            raise CalculationError(message)


def blended(entries: Sequence[Entry], name: str) -> tuple[float, Uncertain]:
    """Mass-weighted mean of analyses, and its uncertainty.

        x = sum(x_k m_k) / sum(m_k);  u = s / sqrt(n), and the lab's own share beside it

    Analyses without a mass count equally; either all have one or none.

    Raises:
        CalculationError: some have a mass and some have not.
    """
    if len({one.mass_t is None for one in entries}) > 1:
        message = f"{name}: some analyses have a mass and some have none"
        raise CalculationError(message)
    lots = [
        stock.Lot(1.0 if one.mass_t is None else float(one.mass_t), float(one.value))
        for one in entries
    ]
    mean = stock.blend(lots).mean
    stated = [one.relative_uncertainty for one in entries if one.relative_uncertainty is not None]
    if len(lots) == 1 and not stated:
        return mean, Uncertain(mean, {}, frozenset({name}))
    variance = 0.0
    if len(lots) > 1:
        spread = math.fsum((lot.value - mean) ** 2 for lot in lots) / (len(lots) - 1)
        variance += spread / len(lots)
    if stated:
        variance += (max(stated) / 2 * mean) ** 2
    return mean, with_standard(name, mean, math.sqrt(variance))


def stock_balance(
    entries: Entries, item: str, bounds: tuple[int, int], reason: str
) -> tuple[Decimal, list[Entry]] | None:
    """Net consumption of an item from its stock entries; None when there are none.

        FC = opening + bought - closing - passed on

    Opening and closing are the last counts of the month's edges: exactly one each.
    """
    found, parts = _stock_parts(entries, item, bounds)
    if not found:
        return None
    net = parts["opening"] + parts["bought"] - parts["closing"] - parts["passed_on"]
    balance = stock.StockBalance(
        *(float(parts[name]) for name in ("opening", "bought", "closing", "passed_on"))
    )
    stock.net_consumption(balance, reason)
    return net, found


def stock_production(
    entries: Entries, item: str, bounds: tuple[int, int]
) -> tuple[dict[str, Decimal], list[Entry]] | None:
    """Stocks and movements of something the plant makes; None when there are no entries."""
    found, parts = _stock_parts(entries, item, bounds)
    return (parts, found) if found else None


def _stock_parts(
    entries: Entries, item: str, bounds: tuple[int, int]
) -> tuple[list[Entry], dict[str, Decimal]]:
    found: list[Entry] = []
    parts = dict.fromkeys(STOCK_QUANTITIES, Decimal(0))
    for name in STOCK_QUANTITIES:
        some = entries.of(STOCK, [item], name, *bounds)
        found += some
        parts[name] = sum((one.value for one in some), Decimal(0))
        if name in ("opening", "closing") and found and len(some) > 1:
            message = f"the stock of {item} has {len(some)} {name} counts in the month; 1 is right"
            raise CalculationError(message)
    for name in ("opening", "closing") if found else ():
        if not any(one.quantity == name for one in found):
            message = f"the stock of {item} has no {name} count in the month"
            raise CalculationError(message)
    return found, parts

"""A meter's month by hours: totalisers by difference, rates by their hourly integrals."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from edge_agent.calc import gas
from edge_agent.calc.integration import TotaliserRule, step
from edge_agent.calc.rounding import exact
from edge_agent.calc.substitution import HOUR_S, Hour
from edge_agent.calc.uncertainty import Uncertain, of_accuracy_class
from edge_agent.calc.windows import HOUR_NS, NS_PER_S, to_local
from edge_agent.errors import CalculationError
from gateway.month.model import Work

LOOKBACK_NS = 2 * HOUR_NS
"""A totaliser's opening reading may be this much older than the month's first moment."""
EDGE_NS = 300 * NS_PER_S
"""A reading this close to an hour's edge tells the count at the edge."""
_DIVISORS = {
    ("kWh", "MWh"): Decimal(1_000),
    ("Nm3", "10^4Nm3"): Decimal(10_000),
    ("kg", "t"): Decimal(1_000),
    ("MJ", "GJ"): Decimal(1_000),
}
_SALES_TO_NORMAL = exact(gas.SALES_K) / exact(gas.NORMAL_K)
"""m3 at 20 C that make one Nm3 at the same pressure (ideal gas)."""


@dataclass(frozen=True, slots=True)
class Metered:
    """A meter's month in the parameter's unit.

    ``total`` is exact where counts are; ``hours`` say what each hour had and lacks;
    ``cumulative`` holds reading times and running totals of a totaliser.
    """

    meter: Mapping[str, Any]
    total: Decimal
    hours: tuple[Hour, ...]
    completeness: float
    note: str
    series: tuple[str, ...]
    cumulative: tuple[Sequence[int], Sequence[float]] = ((), ())

    @property
    def uncertain(self) -> Uncertain:
        """The total with the uncertainty of the meter's accuracy class."""
        value, name = float(self.total), f"meter {self.meter['id']}"
        percent = self.meter.get("mpe_percent") or accuracy_percent(self.meter["accuracy_class"])
        if percent is None:
            return Uncertain(value, {}, frozenset({name}))
        return of_accuracy_class(name, value, percent)


def accuracy_percent(accuracy_class: str) -> float | None:
    """Maximum permissible error [%] of a class such as ``0.5S``, ``1.0`` or ``B``; None if unknown.

    Letters follow the active energy meters of EN 50470 (A 2, B 1, C 0.5 %).
    """
    letters = {"A": 2.0, "B": 1.0, "C": 0.5}
    text = accuracy_class.strip().removesuffix("%").removesuffix("S").removesuffix("s").strip()
    if text in letters:
        return letters[text]
    try:
        percent = float(text)
    except ValueError:
        return None
    return percent if 0 < percent < 100 else None


def read_meter(work: Work, meter_id: str, unit: str) -> Metered | None:
    """A meter's month in a unit; None when the month has no reading of it.

    Raises:
        CalculationError: there is no such meter, or its unit is another quantity.
    """
    meter = work.meters.get(meter_id)
    if meter is None:
        message = f"the control plan names the meter {meter_id!r}, which no agent has"
        raise CalculationError(message)
    _tell_calibration(work, meter)
    if f"{meter_id}.count" in work.series:
        return _totaliser(work, meter, unit)
    return _rate(work, meter, unit)


def _tell_calibration(work: Work, meter: Mapping[str, Any]) -> None:
    until = meter.get("calibrated_until")
    last = to_local(work.result.end_ns - 1, work.zone).date().isoformat()
    if until and until < last:
        work.reserve(
            f"meter {meter['id']}: its calibration ended on {until}, before the month did "
            "检定有效期已过"
        )


def divisor_to(
    series: Mapping[str, Any], unit: str, meter: Mapping[str, Any] | None = None
) -> Decimal:
    """How many of a series' units make one of another; gas sold at 20 C comes to 0 C.

    Raises:
        CalculationError: they are different quantities.
    """
    if series["unit"] == unit:
        return Decimal(1)
    divisor = _DIVISORS.get((series["unit"], unit))
    if series["unit"] == "m3" and (meter or {}).get("gas_at") == "sales_20c":
        whole = Decimal(1) if unit == "Nm3" else _DIVISORS.get(("Nm3", unit))
        divisor = whole and whole * _SALES_TO_NORMAL
    if divisor is None:
        message = f"series {series['name']} counts {series['unit']}, which is no {unit}"
        raise CalculationError(message)
    return divisor


def edges(work: Work) -> range:
    """Starts of the month's hours [ns]."""
    start_ns, end_ns = work.bounds
    return range(start_ns, end_ns, HOUR_NS)


def _totaliser(work: Work, meter: Mapping[str, Any], unit: str) -> Metered | None:
    """Last reading minus first, corrected for roll-over and reset, times the scale."""
    name = f"{meter['id']}.count"
    meta = work.series[name]
    start_ns, end_ns = work.bounds
    points = work.reader.points(name, start_ns - LOOKBACK_NS, end_ns + 1)
    first = max((i for i, t in enumerate(points.times) if t <= start_ns), default=0)
    times, counts = points.times[first:], points.values[first:]
    if not times:
        return None
    scale, divisor = Decimal(meta["scale"]), divisor_to(meta, unit, meter)
    sums, kinds = _running(counts, times, TotaliserRule(meta["modulus"], meta["max_rate_per_h"]))
    notes = [
        f"{kind} at {to_local(at, work.zone).isoformat(timespec='seconds')}" for at, kind in kinds
    ]
    covered = max(0, min(times[-1], end_ns) - max(times[0], start_ns))
    totals = [float(exact(item) * scale / divisor) for item in sums]
    return Metered(
        meter,
        exact(sums[-1]) * scale / divisor,
        tuple(_counted_hour(start, times, totals) for start in edges(work)),
        covered / (end_ns - start_ns),
        "; ".join(notes),
        (name,),
        (times, totals),
    )


def _running(
    counts: Sequence[int | float], times: Sequence[int], rule: TotaliserRule
) -> tuple[list[int | float], list[tuple[int, str]]]:
    """Sum of increments up to each reading, and what happened on the way."""
    sums: list[int | float] = [0]
    kinds: list[tuple[int, str]] = []
    for place in range(1, len(counts)):
        change = step(counts[place - 1], counts[place], rule, times[place] - times[place - 1])
        sums.append(sums[-1] + change.increment)
        if change.kind:
            kinds.append((times[place], change.kind))
    return sums, kinds


def _counted_hour(start: int, times: Sequence[int], totals: Sequence[float]) -> Hour:
    """An hour of a totaliser: missing is what lies before its first or after its last reading."""
    end = start + HOUR_NS
    uncovered = max(0, min(end, times[0]) - start) + max(0, end - max(start, times[-1]))
    missing_s = uncovered / NS_PER_S if uncovered > EDGE_NS else 0.0
    low, high = bisect_right(times, start) - 1, bisect_right(times, end) - 1
    if missing_s:
        inside = totals[high] - totals[max(low, 0)] if high >= 0 else 0.0
        return Hour(start, inside, min(missing_s, HOUR_S))
    fresh = low >= 0 and start - times[low] <= EDGE_NS and end - times[high] <= EDGE_NS
    return Hour(start, totals[high] - totals[low] if fresh else None)


def _rate(work: Work, meter: Mapping[str, Any], unit: str) -> Metered | None:
    """The sum of a rate's hourly integrals; what an hour does not cover is missing."""
    name, cover = f"{meter['id']}.amount", f"{meter['id']}.covered_s"
    if name not in work.series:
        message = f"the meter {meter['id']} has neither a totaliser nor a rate"
        raise CalculationError(message)
    divisor = divisor_to(work.series[name], unit, meter)
    amounts, covered = work.month_points(name), work.month_points(cover)
    if not amounts.times:
        return None
    amount_of = {t: exact(x) / divisor for t, x in zip(amounts.times, amounts.values, strict=True)}
    covered_of = dict(zip(covered.times, covered.values, strict=True))
    hours = tuple(
        Hour(
            start,
            float(amount_of.get(start, 0)),
            max(0.0, HOUR_S - float(covered_of.get(start, 0.0))),
        )
        for start in edges(work)
    )
    missing_s = sum(hour.missing_s for hour in hours)
    return Metered(
        meter,
        sum(amount_of.values(), Decimal(0)),
        hours,
        1 - missing_s / (HOUR_S * len(hours)),
        "integrated from a rate 由流量积分",
        (name, cover),
    )

"""Amounts from rates: trapezoidal integration by plant-local hours, with a longest gap.

Between two good samples the rate is taken as linear; a distance above ``max_gap_s`` is missing
time, never interpolated. Every sample's share is added in order of time, so any split of the
samples into pieces gives bit for bit the same sums (the agent streams, a check recomputes).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from edge_agent.calc.windows import HOUR_NS, NS_PER_S, window_start
from edge_agent.errors import CalculationError

S_PER_H = 3600.0
_ENERGY_RATES = {"kW": "kWh", "MW": "MWh"}
_THOUSANDS = {("MWh", "kWh"), ("t", "kg"), ("GJ", "MJ")}


def is_rate(unit: str) -> bool:
    """Whether a unit is a rate, whose integral over hours is an amount."""
    return unit.endswith("/h") or unit in _ENERGY_RATES


def amount_unit(unit: str) -> str:
    """The unit of a rate's integral over hours."""
    return _ENERGY_RATES.get(unit) or unit.removesuffix("/h")


def per_hour(rate_unit: str, unit: str) -> float:
    """How much of an amount's unit one unit of a rate gives in an hour: 0.001 for kW and MWh.

    Raises:
        CalculationError: the rate is of another quantity.
    """
    given = amount_unit(rate_unit) if is_rate(rate_unit) else None
    if given == unit:
        return 1.0
    if (given, unit) in _THOUSANDS:
        return 1_000.0
    if (unit, given) in _THOUSANDS:
        return 0.001
    message = f"a rate in {rate_unit!r} gives no {unit!r}"
    raise CalculationError(message)


@dataclass(slots=True)
class HourSum:
    """An hour's integral [rate unit x h] and the time it covers [s]."""

    amount: float = 0.0
    covered_s: float = 0.0


@dataclass(slots=True)
class RateIntegrator:
    """Integrates a rate given per hour; ``hours`` holds the sums by hour's start [ns].

    Args:
        max_gap_s: longest distance of two samples that is bridged [s].
        offset_ns: the zone's part beyond whole hours, see ``windows.hour_offset_ns``.
    """

    max_gap_s: float
    offset_ns: int = 0
    hours: dict[int, HourSum] = field(default_factory=dict)
    last: tuple[int, float] | None = None

    def feed(self, samples: Iterable[tuple[int, float]]) -> None:
        """Take good samples (time [ns], rate per hour) in rising order of time."""
        limit_ns = self.max_gap_s * NS_PER_S
        for time_ns, rate in samples:
            if self.last is not None and time_ns - self.last[0] <= limit_ns:
                self._segment(*self.last, time_ns, rate)
            self.last = (time_ns, rate)

    def _segment(self, from_ns: int, before: float, to_ns: int, after: float) -> None:
        """Add a trapezoid, cut at the hours' edges."""
        slope = (after - before) / (to_ns - from_ns)
        at, rate = from_ns, before
        while at < to_ns:
            start = window_start(at, HOUR_NS, self.offset_ns)
            until = min(to_ns, start + HOUR_NS)
            end_rate = after if until == to_ns else before + slope * (until - from_ns)
            seconds = (until - at) / NS_PER_S
            hour = self.hours.setdefault(start, HourSum())
            hour.amount += (rate + end_rate) / 2 * seconds / S_PER_H
            hour.covered_s += seconds
            at, rate = until, end_rate

    def closed(self, until_ns: int) -> list[tuple[int, HourSum]]:
        """Remove and give the hours to which nothing can be added any more, by time.

        Args:
            until_ns: samples before this moment have been fed, none of them will come again.
        """
        reached_ns = self.last[0] if self.last else until_ns
        beyond_ns = until_ns - round(self.max_gap_s * NS_PER_S)
        end_ns = max(min(reached_ns, until_ns), beyond_ns)
        due = sorted(start for start in self.hours if start + HOUR_NS <= end_ns)
        return [(start, self.hours.pop(start)) for start in due]

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "hours": [[start, item.amount, item.covered_s] for start, item in self.hours.items()],
            "last": list(self.last) if self.last else None,
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave."""
        self.hours = {start: HourSum(amount, covered) for start, amount, covered in plain["hours"]}
        self.last = tuple(plain["last"]) if plain["last"] else None

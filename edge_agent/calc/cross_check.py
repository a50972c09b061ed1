"""A totaliser held against the integral of its rate, and a signal against its own past.

Neither changes a value: they say where a person should look.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge_agent.calc.integration import TotaliserRule, step
from edge_agent.calc.windows import HOUR_NS, MINUTE_NS

LONGEST_PAIR_NS = HOUR_NS
"""Two readings of a totaliser further apart are not compared."""
WINDOW = 30
"""So many minutes in a row have to be the same before they count as repeated."""
DISTINCT = 15
"""So many of them have to differ from each other: a signal that rests repeats itself rightly."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Values with their times [ns], in order of time."""

    times: Sequence[int]
    values: Sequence[float]


@dataclass(slots=True)
class Compared:
    """The same span twice, in the totaliser's counts: ``by_count`` and ``by_rate``."""

    by_count: float = 0.0
    by_rate: float = 0.0
    covered_ns: int = 0

    @property
    def apart_percent(self) -> float:
        """The difference [% of the larger]; 0 where nothing flowed."""
        larger = max(abs(self.by_count), abs(self.by_rate))
        return 100 * abs(self.by_count - self.by_rate) / larger if larger else 0.0


@dataclass(slots=True)
class CrossCheck:
    """A month's comparison, whole and by day."""

    whole: Compared = field(default_factory=Compared)
    by_day: dict[str, Compared] = field(default_factory=dict)


def cross_check(
    counts: Signal,
    rate: Signal,
    rule: TotaliserRule,
    counts_per_hour: float,
    day_of: Callable[[int], str],
) -> CrossCheck:
    """Compare a totaliser with its rate wherever both are known.

    Args:
        counts: readings of the totaliser [counts].
        rate: means by minute [rate unit], each at its minute's start.
        rule: how the counter wraps; a reset's step is left out.
        counts_per_hour: counts that one unit of the rate gives in an hour.
        day_of: names the day of a time [ns].
    """
    result = CrossCheck()
    means = dict(zip(rate.times, rate.values, strict=True))
    pairs = zip(counts.times, counts.times[1:], counts.values, counts.values[1:], strict=False)
    for from_ns, to_ns, before, after in pairs:
        change = step(before, after, rule, to_ns - from_ns)
        if to_ns - from_ns > LONGEST_PAIR_NS or change.kind == "reset":
            continue
        integral = _integral(means, from_ns, to_ns)
        if integral is None:
            continue
        for part in (result.whole, result.by_day.setdefault(day_of(to_ns), Compared())):
            part.by_count += change.increment
            part.by_rate += integral * counts_per_hour
            part.covered_ns += to_ns - from_ns
    return result


def _integral(means: dict[int, float], from_ns: int, to_ns: int) -> float | None:
    """Rate unit x h over a span; None where a minute of it is unknown."""
    total = 0.0
    for minute in range(from_ns // MINUTE_NS * MINUTE_NS, to_ns, MINUTE_NS):
        mean = means.get(minute)
        if mean is None:
            return None
        total += mean * (min(to_ns, minute + MINUTE_NS) - max(from_ns, minute))
    return total / HOUR_NS


def repeats(minutes: Signal) -> list[tuple[int, int, int]]:
    """Where a signal says again exactly what it said before: a recording played back, perhaps.

    Measured noise does not repeat itself; only runs of whole minutes are found.

    Args:
        minutes: means by minute, each at its minute's start.

    Returns:
        Start of the first saying [ns], of the second [ns], and how many minutes they last.
    """
    times, values = minutes.times, minutes.values
    seen: dict[tuple[float, ...], int] = {}
    found: list[tuple[int, int, int]] = []
    unbroken = _unbroken(times)
    place = 0
    while place + WINDOW <= len(values):
        window = tuple(values[place : place + WINDOW])
        if unbroken[place] < WINDOW or len(set(window)) < DISTINCT:
            place += 1
            continue
        first = seen.setdefault(window, place)
        if first + WINDOW > place:
            place += 1
            continue
        length = _same(values, first, place, min(unbroken[first], unbroken[place]))
        found.append((times[first], times[place], length))
        place += length
    return found


def _unbroken(times: Sequence[int]) -> list[int]:
    """For each minute how many follow each other from it on, itself included."""
    runs = [1] * len(times)
    for place in range(len(times) - 2, -1, -1):
        if times[place + 1] - times[place] == MINUTE_NS:
            runs[place] = runs[place + 1] + 1
    return runs


def _same(values: Sequence[float], first: int, second: int, most: int) -> int:
    length = WINDOW
    while length < most and first + length < second and second + length < len(values):
        if values[first + length] != values[second + length]:
            break
        length += 1
    return length

"""Filling missing hours in the order that a control plan lists; nothing is filled silently.

Methods: a redundant meter; the difference of a totaliser over the missing run; the mean of the
neighbouring valid hours; the cautious bound (emissions the higher, output and deductions the
lower); a default. What is filled is the missing part of an hour; what was measured stays.
Source of the order: domain rule of the control plan; 40 CFR 98.64 uses neighbouring values too.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from edge_agent.calc.windows import HOUR_NS, NS_PER_S

HOUR_S = 3600.0
TOLERANCE_S = 1.0
"""An hour that lacks less than this counts as whole."""


class Method(StrEnum):
    """How a missing hour may be filled."""

    REDUNDANT_METER = "redundant_meter"
    TOTALISER_DIFFERENCE = "totaliser_difference"
    NEIGHBOUR_MEAN = "neighbour_mean"
    CONSERVATIVE_BOUND = "conservative_bound"
    GUIDE_DEFAULT = "guide_default"


class Caution(StrEnum):
    """Which side is the cautious one: ``HIGHER`` for emissions, ``LOWER`` for output."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour's amount as far as it was measured, and how much of the hour is missing [s].

    ``amount`` is None when the hour's own share is not known although nothing is missing (a
    totaliser that bridges it). Where several meters are added, ``meanwhile`` is what the others
    did measure in the missing time; it stands in ``amount`` already.
    """

    start_ns: int
    amount: float | None
    missing_s: float = 0.0
    meanwhile: float = 0.0

    @property
    def valid(self) -> bool:
        """Whether the hour's amount is whole."""
        return self.amount is not None and self.missing_s < TOLERANCE_S


@dataclass(frozen=True, slots=True)
class Alternatives:
    """What missing hours may be filled from, in the amount's unit.

    Args:
        redundant: whole hours of other meters, by name, then by hour's start.
        totaliser: name, reading times and running totals of a counter of the same quantity.
        bound: highest (cautious side higher) or lowest possible amount of an hour.
        default: default amount of an hour.
        default_name: where the default comes from.
    """

    redundant: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    totaliser: tuple[str, Sequence[int], Sequence[float]] = ("", (), ())
    bound: float | None = None
    default: float | None = None
    default_name: str = ""


@dataclass(frozen=True, slots=True)
class Substituted:
    """One filled hour: the amount that was put in, for how many missing seconds, and from what."""

    start_ns: int
    method: Method
    amount: float
    missing_s: float
    source: str


@dataclass(frozen=True, slots=True)
class Filled:
    """What was filled, and the hours that no method could fill."""

    substituted: tuple[Substituted, ...]
    left: tuple[Hour, ...]

    @property
    def amount(self) -> float:
        """Sum of what was put in."""
        return sum(item.amount for item in self.substituted)


def fill(
    hours: Sequence[Hour], order: Sequence[Method], given: Alternatives, caution: Caution
) -> Filled:
    """Fill each missing hour by the first method of the order that can.

    Args:
        hours: all hours of the period, by time.
        order: methods in the order of the control plan.
        given: what they may use.
        caution: which side the cautious bound takes.
    """
    valid = [
        (hour.start_ns, hour.amount) for hour in hours if hour.valid and hour.amount is not None
    ]
    known = _Known([start for start, _ in valid], [amount for _, amount in valid])
    done: list[Substituted] = []
    left: list[Hour] = []
    runs = _runs(hours)
    for hour in hours:
        if hour.missing_s < TOLERANCE_S:
            continue
        for method in order:
            found = _hourly(method, hour, (known, runs[hour.start_ns]), given, caution)
            if found is not None:
                rate, source = found
                part = rate * hour.missing_s / HOUR_S
                if method is not Method.TOTALISER_DIFFERENCE:
                    part = max(0.0, part - hour.meanwhile)
                done.append(Substituted(hour.start_ns, method, part, hour.missing_s, source))
                break
        else:
            left.append(hour)
    return Filled(tuple(done), tuple(left))


@dataclass(frozen=True, slots=True)
class _Known:
    starts: Sequence[int]
    amounts: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring hours that all miss something: bounds, measured amount, missing time."""

    start_ns: int
    end_ns: int
    measured: float
    missing_s: float


def _runs(hours: Sequence[Hour]) -> dict[int, _Run]:
    runs: dict[int, _Run] = {}
    together: list[Hour] = []
    for hour in (*hours, Hour(0, 0.0)):
        if hour.missing_s >= TOLERANCE_S:
            together.append(hour)
        elif together:
            run = _Run(
                together[0].start_ns,
                together[-1].start_ns + HOUR_NS,
                sum(item.amount or 0.0 for item in together),
                sum(item.missing_s for item in together),
            )
            runs |= {item.start_ns: run for item in together}
            together = []
    return runs


def _hourly(
    method: Method,
    hour: Hour,
    around: tuple[_Known, _Run],
    given: Alternatives,
    caution: Caution,
) -> tuple[float, str] | None:
    """Amount of a whole such hour by a method, and its source; None when it cannot."""
    known, run = around
    match method:
        case Method.REDUNDANT_METER:
            return next(
                (
                    (by[hour.start_ns], name)
                    for name, by in given.redundant.items()
                    if hour.start_ns in by
                ),
                None,
            )
        case Method.TOTALISER_DIFFERENCE:
            return _by_totaliser(run, given)
        case Method.NEIGHBOUR_MEAN:
            return _by_neighbours(hour, known)
        case Method.CONSERVATIVE_BOUND:
            return _by_bound(known, given, caution)
        case Method.GUIDE_DEFAULT:
            return None if given.default is None else (given.default, given.default_name)


def _by_totaliser(run: _Run, given: Alternatives) -> tuple[float, str] | None:
    name, times, totals = given.totaliser
    first = bisect_left(times, run.start_ns + 1) - 1
    last = bisect_left(times, run.end_ns)
    if first < 0 or last >= len(times):
        return None
    if run.start_ns - times[first] > HOUR_NS // 12 or times[last] - run.end_ns > HOUR_NS // 12:
        return None
    missing = max(0.0, totals[last] - totals[first] - run.measured)
    return missing / run.missing_s * HOUR_S, f"{name}: difference over {_hours(run)} h"


def _hours(run: _Run) -> int:
    return (run.end_ns - run.start_ns) // HOUR_NS


def _by_neighbours(hour: Hour, known: _Known) -> tuple[float, str] | None:
    place = bisect_left(known.starts, hour.start_ns)
    near = [at for at in (place - 1, place) if 0 <= at < len(known.starts)]
    if not near:
        return None
    mean = sum(known.amounts[at] for at in near) / len(near)
    return mean, "hours at " + ", ".join(str(known.starts[at] // NS_PER_S) for at in near)


def _by_bound(known: _Known, given: Alternatives, caution: Caution) -> tuple[float, str] | None:
    values = list(known.amounts)
    if given.bound is not None:
        values.append(given.bound)
    if not values:
        return None
    bound = max(values) if caution is Caution.HIGHER else min(values)
    return bound, "plan's bound" if bound == given.bound else f"{caution.value} end of valid hours"

"""Rows and events on their way into batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.windows import MINUTE_NS
from edge_agent.readings import GOOD, UNCERTAIN_PARTIAL, Columns, Event, Quality

NS_PER_MS = 10**6
FULL_SHARE = 0.9
"""Share of a minute's samples from which on its mean is good."""
MAX_SPAN_NS = 12 * 3600 * 10**9
"""Longest time from the first to the last row of a batch; the wire allows 24 h."""


@dataclass(slots=True)
class Rows:
    """Collects rows of any series in any order; ``columns`` puts them in order of time."""

    names: dict[str, int] = field(default_factory=dict)
    index: list[int] = field(default_factory=list)
    time_ns: list[int] = field(default_factory=list)
    value: list[int | float | None] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)

    def add(self, name: str, time_ns: int, value: float | None, quality: Quality = GOOD) -> None:
        """One row; the time keeps milliseconds."""
        self.index.append(self.names.setdefault(name, len(self.names)))
        self.time_ns.append(time_ns // NS_PER_MS * NS_PER_MS)
        self.value.append(value)
        self.quality.append(quality)

    def extend(
        self, name: str, times: list[int], values: Sequence[float], quality: list[int]
    ) -> None:
        """Several rows of one series."""
        index = self.names.setdefault(name, len(self.names))
        self.index.extend([index] * len(times))
        self.time_ns.extend(times)
        self.value.extend(values)
        self.quality.extend(quality)

    def __len__(self) -> int:
        return len(self.index)

    def pieces(self, most: int) -> list[Columns]:
        """Columns of at most ``most`` rows each, all rows in order of time and series."""
        names = tuple(self.names)
        order = np.lexsort((np.array(self.index), np.array(self.time_ns))).tolist()
        pieces: list[Columns] = []
        start = 0
        for place, row in enumerate(order):
            too_long = self.time_ns[row] - self.time_ns[order[start]] > MAX_SPAN_NS
            if place - start >= most or too_long:
                pieces.append(_piece(self, names, order[start:place]))
                start = place
        if order:
            pieces.append(_piece(self, names, order[start:]))
        return pieces


def _piece(rows: Rows, names: tuple[str, ...], places: list[int]) -> Columns:
    used = sorted({rows.index[place] for place in places})
    position = {index: at for at, index in enumerate(used)}
    return Columns(
        tuple(names[index] for index in used),
        [position[rows.index[place]] for place in places],
        [rows.time_ns[place] for place in places],
        [rows.value[place] for place in places],
        [rows.quality[place] for place in places],
    )


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time that is being accounted: whole minutes [start, end) in ns."""

    start_ns: int
    end_ns: int


def minute_means(
    times: NDArray[np.int64], values: NDArray[np.float64], span: Span, period_s: float
) -> Iterable[tuple[list[int], list[float], list[int]]]:
    """Minute starts, means (to float32) and qualities of the minutes that hold samples.

    A minute with less than nine tenths of its samples is uncertain (partial).
    """
    if len(times) == 0:
        return
    place = (times - span.start_ns) // MINUTE_NS
    counts = np.bincount(place)
    sums = np.bincount(place, weights=values)
    full = np.flatnonzero(counts)
    means = (sums[full] / counts[full]).astype(np.float32).astype(np.float64)
    yield (
        (span.start_ns + full * MINUTE_NS).tolist(),
        means.tolist(),
        partial(counts[full], period_s),
    )


def partial(counts: NDArray[np.int64], period_s: float) -> list[int]:
    """Qualities of minutes that hold so many samples."""
    enough = counts * period_s >= FULL_SHARE * 60
    codes: list[int] = np.where(enough, int(GOOD), int(UNCERTAIN_PARTIAL)).tolist()
    return codes


def worst_by_minute(
    times: NDArray[np.int64], quality: NDArray[np.int64], span: Span
) -> dict[int, int]:
    """The largest quality of each minute that holds samples, by the minute's start [ns]."""
    if len(times) == 0:
        return {}
    place = (times - span.start_ns) // MINUTE_NS
    worst = np.full(int(place.max()) + 1, -1, dtype=np.int64)
    np.maximum.at(worst, place, quality)
    full = np.flatnonzero(worst >= 0)
    starts = (span.start_ns + full * MINUTE_NS).tolist()
    return dict(zip(starts, worst[full].tolist(), strict=True))


@dataclass(slots=True)
class Sink:
    """Where the workers of a pipeline put what they produce."""

    rows: Rows = field(default_factory=Rows)
    events: list[Event] = field(default_factory=list)

    def event(self, time_ns: int, kind: str, **fields: object) -> None:
        """One event at a time [ns]."""
        self.events.append({"t": time_ns, "type": kind, **fields})

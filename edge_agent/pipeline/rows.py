"""Rows and events on their way into batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
        places = range(len(self.index))
        order = [row for *_, row in sorted(zip(self.time_ns, self.index, places, strict=True))]
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


def partial(counts: Iterable[int], period_s: float) -> list[int]:
    """Qualities of minutes that hold so many samples: with too few of them uncertain."""
    least = FULL_SHARE * 60
    good, few = int(GOOD), int(UNCERTAIN_PARTIAL)
    return [good if count * period_s >= least else few for count in counts]


@dataclass(slots=True)
class Sink:
    """Where the workers of a pipeline put what they produce."""

    rows: Rows = field(default_factory=Rows)
    events: list[Event] = field(default_factory=list)

    def event(self, time_ns: int, kind: str, **fields: object) -> None:
        """One event at a time [ns]."""
        self.events.append({"t": time_ns, "type": kind, **fields})

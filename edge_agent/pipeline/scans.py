"""Scans on their way to the buffers of their tags: kept as they came, turned over once a minute.

A scan costs the same few steps however many tags it has. Tags that somebody must see at once (pot
voltages, counts, statuses) are given on as samples. When the pipeline advances, the minute means of
all other tags of a scan are computed together; a tag that is out of range, or has rules that look
from one sample to the next, goes through its own worker instead. Both ways give the same rows.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import reduce
from itertools import accumulate, pairwise
from operator import add
from typing import Any

from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.rows import Sink, Span, partial
from edge_agent.pipeline.signals import SignalWorker
from edge_agent.readings import Sample, Scan

_BLOCK = 512  # values


@dataclass(slots=True)
class Layout:
    """The scans of one set of tags since they were last turned over."""

    tags: tuple[str, ...]
    at_once: tuple[tuple[int, str], ...]
    times: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    full: list["array[float]"] = field(default_factory=list)

    def add(self, scan: Scan) -> None:
        """Keep a scan, in blocks of one size: many tables that grow together would scatter."""
        self.times.append(scan.time_ns)
        self.values.extend(scan.values)
        if len(self.values) >= _BLOCK:
            self.full.append(self.values)
            self.values = array("d")

    def take(self) -> "Table":
        """Remove and give all scans."""
        table = Table(self.tags, self.times, array("d"))
        for part in (*self.full, self.values):
            table.values.extend(part)
        self.times, self.values, self.full = array("q"), array("d"), []
        return table

    def has_before(self, end_ns: int) -> bool:
        """True when a scan is older than a moment [ns]."""
        return bool(self.times) and min(self.times) < end_ns

    def take_before(self, end_ns: int) -> "Table":
        """Remove and give the scans up to the last that is older than a moment [ns]."""
        table = self.take()
        cut = max(place for place, time_ns in enumerate(table.times) if time_ns < end_ns) + 1
        if cut < len(table.times):
            self.times, self.values = table.times[cut:], table.values[cut * len(self.tags) :]
            del table.times[cut:], table.values[cut * len(self.tags) :]
        return table

    def held_bytes(self) -> int:
        """Memory that the kept scans take [bytes]."""
        return 8 * len(self.times) * (1 + len(self.tags))


@dataclass(slots=True)
class Table:
    """Scans that are being accounted for: a row a scan, a column a tag."""

    tags: tuple[str, ...]
    times: "array[int]"
    values: "array[float]"

    def column(self, place: int) -> "array[float]":
        """All values of one tag."""
        return self.values[place :: len(self.tags)]

    @property
    def is_rising(self) -> bool:
        """True when each scan is later than the one before."""
        return all(before < after for before, after in pairwise(self.times))


class ScanBuffer:
    """All scans that wait."""

    def __init__(self) -> None:
        self._layouts: dict[tuple[str, ...], Layout] = {}

    def take(self, scan: Scan, plain: Mapping[str, object], give: Callable[[Sample], None]) -> None:
        """Keep a scan; what is no plain tag goes to ``give`` at once."""
        layout = self._layouts.get(scan.tags)
        if layout is None:
            at_once = [(n, tag) for n, tag in enumerate(scan.tags) if tag not in plain]
            layout = self._layouts[scan.tags] = Layout(scan.tags, tuple(at_once))
        for place, tag in layout.at_once:
            give(Sample(tag, scan.time_ns, scan.values[place]))
        if len(layout.at_once) < len(layout.tags):
            layout.add(scan)

    def advance(
        self, end_of: Callable[[str], int], workers: Mapping[str, SignalWorker], sink: Sink
    ) -> set[str]:
        """Account for all scans of plain tags before the moment [ns] that ``end_of`` a tag gives.

        Later scans stay.

        Gives the tags that are done: plainly good and in range throughout, nothing else pending.
        The columns of all others wait in their buffers for their own workers.
        """
        done: set[str] = set()
        seen: Counter[str] = Counter()
        due: list[tuple[Layout, Span]] = []
        for layout in self._layouts.values():
            span = _span(layout, end_of, workers)
            if span is None:
                layout.take()
            elif layout.has_before(span.end_ns):
                due.append((layout, span))
                seen.update(layout.tags)
        shared = {tag for tag, layouts in seen.items() if layouts > 1}
        for layout, span in due:
            table = layout.take_before(span.end_ns)
            if table.is_rising and table.times[0] >= span.start_ns:
                plain = {tag for tag in layout.tags if end_of(tag) == span.end_ns} - shared
                done |= _advance(table, span, workers, plain, sink)
            else:
                _turn_over(table, workers)
        return done

    def dump(self) -> list[Any]:
        """Plain value for storage."""
        return [
            [
                list(layout.tags),
                layout.times.tolist(),
                b"".join(part.tobytes() for part in (*layout.full, layout.values)),
            ]
            for layout in self._layouts.values()
            if layout.times
        ]

    def restore(self, plain: list[Any], plain_tags: Mapping[str, object]) -> None:
        """Take up what ``dump`` gave; what was for others than plain tags they have already."""
        self._layouts.clear()
        for names, times, values in plain:
            tags = tuple(names)
            at_once = [(n, tag) for n, tag in enumerate(tags) if tag not in plain_tags]
            self._layouts[tags] = Layout(
                tags, tuple(at_once), array("q", times), array("d", values)
            )

    def first_ns(self) -> int | None:
        """Time of the earliest scan that waits."""
        firsts = [min(layout.times) for layout in self._layouts.values() if layout.times]
        return min(firsts, default=None)

    def held_bytes(self) -> int:
        """Memory that all scans take [bytes]."""
        return sum(layout.held_bytes() for layout in self._layouts.values())


def _span(
    layout: Layout, end_of: Callable[[str], int], workers: Mapping[str, SignalWorker]
) -> Span | None:
    """What the layout's plain tags have to account for.

    They wait equally long; who waits longer, for its own sake or a flag's, is let go to its worker.
    """
    tags = [tag for tag in layout.tags if tag in workers]
    if not tags:
        return None  # the configuration took them away
    end_ns = max(map(end_of, tags))
    return Span(max(workers[tag].done_ns for tag in tags) + 1, end_ns)


def _turn_over(table: Table, workers: Mapping[str, SignalWorker]) -> None:
    """Give every plain tag its column."""
    for place, tag in enumerate(table.tags):
        if (worker := workers.get(tag)) is not None:
            worker.extend(table.times, table.column(place))


def _advance(
    table: Table,
    span: Span,
    workers: Mapping[str, SignalWorker],
    plain: AbstractSet[str],
    sink: Sink,
) -> set[str]:
    """Minute means of all columns; what is not plain goes to its tag's worker."""
    start_ns = span.start_ns
    counts = Counter((time_ns - start_ns) // MINUTE_NS for time_ns in table.times)  # rising
    minutes = [start_ns + place * MINUTE_NS for place in counts]
    ends = list(accumulate(counts.values(), initial=0))
    parts = [slice(*bounds) for bounds in pairwise(ends)]
    done: set[str] = set()
    for place, tag in enumerate(table.tags):
        worker = workers.get(tag)
        if worker is None:
            continue
        column = table.column(place)
        if tag in plain and worker.is_plain(min(column), max(column), table.times[-1]):
            # one after the other, as the sums of vectors are: both ways give the same last bit
            means = [reduce(add, column[part]) / (part.stop - part.start) for part in parts]
            quality = partial(counts.values(), worker.period_s)
            sink.rows.extend(tag, minutes, array("f", means).tolist(), quality)
            worker.pass_by(table.times, span.end_ns)
            done.add(tag)
        else:
            worker.extend(table.times, column)
    return done

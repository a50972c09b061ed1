"""Scans on their way to the buffers of their tags: kept as they came, turned over once a minute.

A scan costs the same few steps however many tags it has. Tags that somebody must see at once (pot
voltages, counts, statuses) are given on as samples. When the pipeline advances, the minute means of
all other tags of a scan are computed together; a tag that is out of range, or has rules that look
from one sample to the next, goes through its own worker instead. Both ways give the same rows.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.buffers import Times, Values
from edge_agent.pipeline.rows import Sink, Span, partial
from edge_agent.pipeline.signals import SignalWorker
from edge_agent.readings import Sample, Scan

_BLOCK = 16_384  # values


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

    def take(self) -> tuple[Times, Values]:
        """Remove and give the times, and the values as a table: a row a scan."""
        times = np.array(self.times, dtype=np.int64)
        parts = [np.frombuffer(part) for part in (*self.full, self.values) if len(part)]
        flat = np.concatenate(parts) if parts else np.empty(0)
        self.times, self.values, self.full = array("q"), array("d"), []
        return times, flat.reshape(len(times), len(self.tags))

    def has_before(self, end_ns: int) -> bool:
        """True when a scan is older than a moment [ns]."""
        return bool(self.times) and min(self.times) < end_ns

    def take_before(self, end_ns: int) -> tuple[Times, Values]:
        """Remove and give the scans up to the last that is older than a moment [ns]."""
        times, table = self.take()
        cut = int(np.flatnonzero(times < end_ns)[-1]) + 1
        self.times = array("q", times[cut:].tobytes())
        self.values = array("d", table[cut:].tobytes())
        return times[:cut], table[:cut]

    def held_bytes(self) -> int:
        """Memory that the kept scans take [bytes]."""
        return 8 * len(self.times) * (1 + len(self.tags))


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
            times, table = layout.take_before(span.end_ns)
            is_rising = bool(np.all(times[1:] > times[:-1]))
            if is_rising and times[0] >= span.start_ns:
                plain = {tag for tag in layout.tags if end_of(tag) == span.end_ns} - shared
                done |= _advance(layout.tags, (times, table), span, (workers, plain), sink)
            else:
                _turn_over(layout.tags, times, table, workers)
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


def _turn_over(
    tags: Sequence[str], times: Times, table: Values, workers: Mapping[str, SignalWorker]
) -> None:
    """Give every plain tag its column."""
    for tag, column in zip(tags, table.T.copy(), strict=True):
        if (worker := workers.get(tag)) is not None:
            worker.buffer.extend(times, column)


def _advance(
    tags: Sequence[str],
    scans: tuple[Times, Values],
    span: Span,
    known: tuple[Mapping[str, SignalWorker], AbstractSet[str]],
    sink: Sink,
) -> set[str]:
    """Minute means of all columns at once; what is not plain goes to its tag's buffer."""
    (times, table), (workers, plain) = scans, known
    place = (times - span.start_ns) // MINUTE_NS
    starts = np.concatenate(([0], np.flatnonzero(place[1:] != place[:-1]) + 1))
    counts = np.diff(np.append(starts, len(times)))
    means = (np.add.reduceat(table, starts, axis=0) / counts[:, None]).astype(np.float32)
    columns = means.astype(np.float64).T.tolist()
    lowest, highest = table.min(axis=0).tolist(), table.max(axis=0).tolist()
    minutes = (span.start_ns + place[starts] * MINUTE_NS).tolist()
    done: set[str] = set()
    for n, tag in enumerate(tags):
        worker = workers.get(tag)
        if worker is None:
            continue
        if tag in plain and worker.is_plain(lowest[n], highest[n], int(times[-1])):
            sink.rows.extend(tag, minutes, columns[n], partial(counts, worker.period_s))
            worker.buffer.pass_by(times, span.end_ns)
            done.add(tag)
        else:
            worker.buffer.extend(times, table[:, n].copy())
    return done

"""Scans on their way to the buffers of their tags: kept as they came, turned over once a minute.

A scan costs the same few steps however many tags it has. Tags that somebody must see at once (pot
voltages, counts, statuses) are given on as samples. When the pipeline advances, the minute means of
all other tags of a scan are computed together; a tag that is out of range, or has rules that look
from one sample to the next, goes through its own worker instead. Both ways give the same rows.
"""

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.buffers import SignalBuffer, Times, Values
from edge_agent.pipeline.rows import Sink, Span, partial
from edge_agent.pipeline.signals import SignalWorker
from edge_agent.readings import Sample, Scan


@dataclass(slots=True)
class Layout:
    """The scans of one set of tags since they were last turned over."""

    tags: tuple[str, ...]
    at_once: tuple[tuple[int, str], ...]
    times: list[int] = field(default_factory=list)
    values: "array[float]" = field(default_factory=lambda: array("d"))

    def take(self) -> tuple[Times, Values]:
        """Remove and give the times, and the values as a table: a row a scan."""
        times = np.array(self.times, dtype=np.int64)
        table = np.array(self.values, dtype=np.float64).reshape(len(times), len(self.tags))
        self.times, self.values = [], array("d")
        return times, table

    def put_back(self, times: Times, table: Values) -> None:
        """Keep scans that are not accounted for yet."""
        self.times, self.values = times.tolist(), array("d", table.tobytes())


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
            layout.times.append(scan.time_ns)
            layout.values.extend(scan.values)

    def advance(
        self, end_of: Callable[[str], int], workers: Mapping[str, SignalWorker], sink: Sink
    ) -> set[str]:
        """Account for all scans of plain tags before the moment [ns] that ``end_of`` a tag gives.

        Gives the tags that are done: plainly good and in range throughout, nothing else pending.
        The columns of all others wait in their buffers for their own workers.
        """
        done: set[str] = set()
        for layout in self._layouts.values():
            if layout.times:
                done |= _advance(layout, end_of, workers, sink)
        self.turn_over({tag: worker.buffer for tag, worker in workers.items()})
        return done

    def turn_over(self, buffers: Mapping[str, SignalBuffer]) -> None:
        """Give every plain tag its column."""
        for layout in self._layouts.values():
            if layout.times:
                times, table = layout.take()
                for tag, column in zip(layout.tags, table.T.copy(), strict=True):
                    if (buffer := buffers.get(tag)) is not None:
                        buffer.extend(times, column)

    def dump(self) -> list[Any]:
        """Plain value for storage."""
        return [
            [list(layout.tags), layout.times, layout.values.tobytes()]
            for layout in self._layouts.values()
            if layout.times
        ]

    def restore(self, plain: list[Any], plain_tags: Mapping[str, object]) -> None:
        """Take up what ``dump`` gave; what was for others than plain tags they have already."""
        self._layouts.clear()
        for names, times, values in plain:
            tags = tuple(names)
            at_once = [(n, tag) for n, tag in enumerate(tags) if tag not in plain_tags]
            self._layouts[tags] = Layout(tags, tuple(at_once), list(times), array("d", values))


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


def _advance(
    layout: Layout,
    end_of: Callable[[str], int],
    workers: Mapping[str, SignalWorker],
    sink: Sink,
) -> set[str]:
    """Minute means of all columns at once; what is not plain goes to its tag's buffer."""
    span = _span(layout, end_of, workers)
    times, table = layout.take()
    if span is None:
        return set()
    cut = int(np.searchsorted(times, span.end_ns))
    is_rising = bool(np.all(times[1:] > times[:-1]))
    if not is_rising or cut == 0 or times[0] < span.start_ns:
        layout.put_back(times, table)
        return set()
    if cut < len(times):
        layout.put_back(times[cut:], table[cut:])
    times, table = times[:cut], table[:cut]
    place = (times - span.start_ns) // MINUTE_NS
    starts = np.concatenate(([0], np.flatnonzero(place[1:] != place[:-1]) + 1))
    counts = np.diff(np.append(starts, cut))
    means = (np.add.reduceat(table, starts, axis=0) / counts[:, None]).astype(np.float32)
    columns = means.astype(np.float64).T.tolist()
    lowest, highest = table.min(axis=0).tolist(), table.max(axis=0).tolist()
    minutes = (span.start_ns + place[starts] * MINUTE_NS).tolist()
    done: set[str] = set()
    for n, tag in enumerate(layout.tags):
        worker = workers.get(tag)
        if worker is None:
            continue
        is_due = end_of(tag) == span.end_ns
        if is_due and worker.is_plain(lowest[n], highest[n], int(times[-1])):
            sink.rows.extend(tag, minutes, columns[n], partial(counts, worker.period_s))
            worker.buffer.pass_by(times, span.end_ns)
            done.add(tag)
        else:
            worker.buffer.extend(times, table[:, n].copy())
    return done

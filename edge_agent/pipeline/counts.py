"""Readings of totalisers waiting for their turn, and what all that wait have in common."""

from dataclasses import dataclass, field
from typing import Protocol

from edge_agent.readings import Sample

RECENT = 7_200
SAMPLE_BYTES = 80
"""About what a time and a value take as Python's objects in two lists or a dict."""


class Holder(Protocol):
    """Something in which readings wait."""

    def held_bytes(self) -> int:
        """Memory that they take [bytes]."""
        ...


@dataclass(slots=True)
class LateCount:
    """Samples of a tag that came after their time was accounted for."""

    count: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def add(self, count: int, first_ns: int, last_ns: int) -> None:
        """Some more, from a first to a last time [ns]."""
        if not self.count:
            self.first_ns = first_ns
        self.count += count
        self.last_ns = last_ns


@dataclass(slots=True)
class CountBuffer:
    """Pending readings of one totaliser: exact integers, in order of time."""

    done_ns: int = -1
    readings: dict[int, int] = field(default_factory=dict)
    marks: dict[int, int] = field(default_factory=dict)
    late: LateCount = field(default_factory=LateCount)
    warm: bool = True
    recent: dict[int, None] = field(default_factory=dict)
    """Times of the readings accounted for last: what comes again is a repeat, not late."""

    def add(self, sample: Sample) -> None:
        """Take a reading; a bad one is no reading, an uncertain one is marked."""
        if isinstance(sample.value, int) and sample.quality.usable:
            self.readings.setdefault(sample.time_ns, sample.value)
            if sample.quality:
                self.marks.setdefault(sample.time_ns, sample.quality)

    def forget_marks(self, until_ns: int) -> None:
        """Drop the marks of readings that were accounted for."""
        for time_ns in [time_ns for time_ns in self.marks if time_ns < until_ns]:
            del self.marks[time_ns]

    def held_bytes(self) -> int:
        """Memory that the pending readings take [bytes]."""
        return SAMPLE_BYTES * (len(self.readings) + len(self.marks))

    def newest_ns(self) -> int:
        """Time of the newest pending reading, or -1."""
        return max(self.readings, default=-1)

    def take(self, until_ns: int) -> list[tuple[int, int]]:
        """Remove and give the (time, count) readings before ``until_ns`` that are not late."""
        due = sorted(time_ns for time_ns in self.readings if time_ns < until_ns)
        taken = [(time_ns, self.readings.pop(time_ns)) for time_ns in due]
        result = [(time_ns, count) for time_ns, count in taken if time_ns > self.done_ns]
        missed = [at for at, _ in taken if at <= self.done_ns and at not in self.recent]
        if missed and self.warm:
            self.late.add(len(missed), missed[0], missed[-1])
        if result:
            self.warm = True
            self.recent |= dict.fromkeys(time_ns for time_ns, _ in result)
            for time_ns in list(self.recent)[:-RECENT]:
                del self.recent[time_ns]
        self.done_ns = max(self.done_ns, until_ns - 1)
        return result

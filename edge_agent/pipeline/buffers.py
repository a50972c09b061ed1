"""Samples waiting for their turn: put in order of time, rid of duplicates, cut at a moment.

Key is (tag, source time). Of equal keys with different values the higher value stays: the
conservative choice for a pot voltage, and independent of the order of arrival.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.pipeline.counts import RECENT, SAMPLE_BYTES, LateCount
from edge_agent.readings import BAD_DEVICE, Reason, Sample, Severity, Waveform

Times = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(slots=True)
class SignalBuffer:
    """Pending samples of one float tag. A bad sample is NaN."""

    done_ns: int = -1
    times: list[Times] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    one_times: list[int] = field(default_factory=list)
    one_values: list[float] = field(default_factory=list)
    recent: Times = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    late: LateCount = field(default_factory=LateCount)
    warm: bool = True
    marks: dict[int, int] = field(default_factory=dict)
    """Quality by time of the pending samples that are not plainly good."""
    taken_marks: dict[int, int] = field(default_factory=dict)
    """The same for what ``take`` gave last."""

    def add(self, reading: Sample | Waveform) -> None:
        """Take a sample or a waveform."""
        if isinstance(reading, Waveform):
            count = len(reading.values)
            self.times.append(
                reading.time_ns + np.arange(count, dtype=np.int64) * reading.period_ns
            )
            self.values.append(np.asarray(reading.values, dtype=np.float64))
            return
        value, quality = reading.value, reading.quality
        if quality or value is None:
            time_ns = reading.time_ns
            self.marks[time_ns] = max(self.marks.get(time_ns, 0), quality or BAD_DEVICE)
            if value is None and quality.reason is Reason.COMMS:
                return
            if value is None or quality.severity is Severity.BAD:
                value = float("nan")
        self.one_times.append(reading.time_ns)
        self.one_values.append(float(value))

    def extend(self, times: Times, values: Values) -> None:
        """Take many plainly good samples; the vectors may be shared and are not changed."""
        self.times.append(times)
        self.values.append(values)

    @property
    def is_empty(self) -> bool:
        """True when nothing is pending, not even a mark."""
        return not (self.times or self.one_times or self.marks or self.taken_marks)

    def held_bytes(self) -> int:
        """Memory that the pending samples take [bytes]."""
        vectors = sum(times.nbytes for times in self.times)
        return 2 * vectors + SAMPLE_BYTES * (len(self.one_times) + len(self.marks))

    def first_ns(self) -> int | None:
        """Time of the earliest pending sample: a clock that went back leaves vectors out of order."""
        firsts = [int(times.min()) for times in self.times if len(times)]
        return min([*firsts, *self.one_times], default=None)

    def newest_ns(self) -> int:
        """Time of the newest pending sample, or -1."""
        newest = [int(times.max()) for times in self.times if len(times)]
        return max([*newest, *self.one_times], default=-1)

    def take(self, until_ns: int) -> tuple[Times, Values]:
        """Remove and give the samples before ``until_ns``, ordered, each time once."""
        times, values = self._gather()
        if self.marks or self.taken_marks:
            self.taken_marks = {at: code for at, code in self.marks.items() if at < until_ns}
            self.marks = {at: code for at, code in self.marks.items() if at >= until_ns}
        if len(times) == 0:
            self.done_ns = max(self.done_ns, until_ns - 1)
            return times, values
        if len(times) > 1 and not np.all(times[1:] > times[:-1]):
            times, values = _ordered(times, values)
        fresh = int(np.searchsorted(times, self.done_ns, side="right"))
        if self.warm:
            self._count_late(times[:fresh])
        self.warm = self.warm or fresh < len(times)
        cut = max(int(np.searchsorted(times, until_ns)), fresh)
        if cut < len(times):
            self.times.append(times[cut:])
            self.values.append(values[cut:])
        self.done_ns = max(self.done_ns, until_ns - 1)
        self.recent = times[fresh:cut][-RECENT:]
        return times[fresh:cut], values[fresh:cut]

    def _gather(self) -> tuple[Times, Values]:
        if self.one_times:
            self.times.append(np.array(self.one_times, dtype=np.int64))
            self.values.append(np.array(self.one_values, dtype=np.float64))
        if len(self.times) == 1:  # vectors of scans are shared by all their tags
            times, values = self.times[0], self.values[0]
        else:
            times = np.concatenate(self.times) if self.times else np.empty(0, dtype=np.int64)
            values = np.concatenate(self.values) if self.values else np.empty(0, dtype=np.float64)
        self.times, self.values, self.one_times, self.one_values = [], [], [], []
        return times, values

    def _count_late(self, times: Times) -> None:
        """Late samples that were not accounted for; repeats of accounted ones are no loss."""
        missed = times[~np.isin(times, self.recent)] if len(times) else times
        if len(missed):
            self.late.add(len(missed), int(missed[0]), int(missed[-1]))

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        times, values = self._gather()
        if len(times):
            self.times, self.values = [times], [values]
        return {
            "done_ns": self.done_ns,
            "times": times.tobytes(),
            "values": values.tobytes(),
            "marks": [list(item) for item in self.marks.items()],
        }

    @classmethod
    def load(cls, plain: dict[str, Any]) -> "SignalBuffer":
        """The buffer that ``dump`` gave."""
        times = np.frombuffer(plain["times"], dtype=np.int64)
        values = np.frombuffer(plain["values"], dtype=np.float64)
        # What was accounted before the restart arrives again as a repeat, not as a loss.
        marks = dict(plain.get("marks", ()))
        return cls(plain["done_ns"], [times], [values], warm=False, marks=marks)


def _ordered(times: Times, values: Values) -> tuple[Times, Values]:
    """Rising times; of equal times the highest value, a missing one only if there is no other."""
    rank = np.where(np.isnan(values), -np.inf, values)
    order = np.lexsort((-rank, times))
    times, values = times[order], values[order]
    keep = np.concatenate(([True], times[1:] != times[:-1]))
    return times[keep], values[keep]

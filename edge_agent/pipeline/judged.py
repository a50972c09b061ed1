"""A measured tag whose samples are looked at one by one: judged, then shipped as minute means.

A minute's quality is that of its worst used sample; it is uncertain (partial) with less than nine
tenths of its samples. A minute of which no sample can be used is a row without a value that
carries the reason. With a deadband, minutes within it are left out until ``max_silence_s``.
"""

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.quality import is_usable, judge
from edge_agent.calc.rules import JudgeState, StuckState
from edge_agent.calc.windows import MINUTE_NS, NS_PER_S
from edge_agent.instruments import Deadband
from edge_agent.pipeline.buffers import SignalBuffer
from edge_agent.pipeline.judging import Teller
from edge_agent.pipeline.rows import Sink, Span
from edge_agent.pipeline.signals import SignalWorker
from edge_agent.pipeline.vectors import (
    Times,
    flags_at,
    given_quality,
    minute_means,
    tell_worst,
    worst_by_minute,
)
from edge_agent.readings import GOOD, Quality, Reason, Severity

_BAD_COMMS = int(Quality.of(Severity.BAD, Reason.COMMS))


class JudgedSignal:
    """What a tag holds while it is judged.

    Args:
        of: the tag, with its rules.
        done_ns: the last moment accounted for [ns].
        recent: times accounted for last: what comes again is a repeat, not late.
        warm: whether ``recent`` is known; it is not after a restart.
    """

    __slots__ = ("_of", "buffer", "shipped", "state", "teller")

    def __init__(self, of: SignalWorker, done_ns: int, recent: "array[int]", *, warm: bool) -> None:
        self._of = of
        self.buffer = SignalBuffer(done_ns, recent=np.array(recent, dtype=np.int64), warm=warm)
        self.state = JudgeState()
        self.teller = Teller(of.tag_id)
        self.shipped: tuple[int, float | None, int] | None = None

    def extend(self, times: "array[int]", values: "array[float]") -> None:
        """Take many plainly good samples."""
        self.buffer.extend(np.frombuffer(times, np.int64), np.frombuffer(values, np.float64))

    @property
    def is_plain(self) -> bool:
        """True when nothing is remembered that the next good samples would have to be held to."""
        return self.teller.told == GOOD and self.buffer.is_empty and not self.buffer.late.count

    def process(self, span: Span, sink: Sink) -> None:
        """Account for the samples before the span's end."""
        times, values = self.buffer.take(span.end_ns)
        marks = self.buffer.taken_marks
        if len(times) == 0 and not marks:
            return
        given = given_quality(times, values, marks)
        flags = flags_at(self._of.maintenance, times)
        quality = judge(times, values, given, flags, self._of.rules, self.state)
        tell_worst(self.teller, times, quality, sink)
        good = is_usable(quality)
        if self._of.own_flag is not None:
            self._of.own_flag.take(times[good].tolist(), values[good].tolist())
        full = self._ship(times[good], values[good], quality[good], span, sink)
        if not good.all() or marks:
            lost = worst_by_minute(times[~good], quality[~good], span)
            self._ship_lost(lost, marks, full, span, sink)

    def _ship(
        self,
        times: Times,
        values: NDArray[np.float64],
        quality: NDArray[np.int64],
        span: Span,
        sink: Sink,
    ) -> set[int]:
        """The means of the minutes with usable samples; gives those minutes."""
        full: set[int] = set()
        for minutes, means, partial in minute_means(times, values, span, self._of.period_s):
            codes = partial
            if quality.any():
                worst = worst_by_minute(times, quality, span)
                codes = [worst.get(m, 0) or p for m, p in zip(minutes, partial, strict=True)]
            full.update(minutes)
            if self._of.deadband is None:
                sink.rows.extend(self._of.tag_id, minutes, means, codes)
            else:
                for minute, mean, code in zip(minutes, means, codes, strict=True):
                    self._ship_moved(self._of.deadband, minute, mean, code, sink)
        return full

    def _ship_lost(
        self,
        lost: dict[int, int],
        marks: Mapping[int, int],
        full: set[int],
        span: Span,
        sink: Sink,
    ) -> None:
        """Minutes of which nothing can be used, with the reason."""
        for time_ns, code in marks.items():
            if code == _BAD_COMMS and span.start_ns <= time_ns:
                lost.setdefault(time_ns // MINUTE_NS * MINUTE_NS, code)
        for minute in sorted(lost.keys() - full):
            sink.rows.add(self._of.tag_id, minute, None, Quality(lost[minute]))
            if self._of.deadband is not None:
                self.shipped = (minute, None, lost[minute])

    def _ship_moved(
        self, deadband: Deadband, minute: int, mean: float, code: int, sink: Sink
    ) -> None:
        """Leave a minute out that says nothing new."""
        if self.shipped is not None:
            last_ns, last, last_code = self.shipped
            is_silent = minute + MINUTE_NS - last_ns <= deadband.max_silence_s * NS_PER_S
            same = last is not None and code == last_code and deadband.keeps_silent(mean, last)
            if is_silent and same:
                return
        self.shipped = (minute, mean, code)
        sink.rows.add(self._of.tag_id, minute, mean, Quality(code))

    def dump(self) -> dict[str, Any] | int:
        """Plain value for storage; only the time that is done when there is nothing else."""
        rules = self._of.rules
        if self._of.is_plain(rules.low, rules.high, -1) and self.shipped is None:
            return self.buffer.done_ns
        state, flag = self.state, self._of.own_flag
        return {
            **self.buffer.dump(),
            "stuck": [state.stuck.value, state.stuck.since_ns],
            "last": [state.last_ns, state.last_value],
            "told": self.teller.told,
            "shipped": list(self.shipped) if self.shipped else None,
            "flag": [list(flag.times), list(flag.states)] if flag is not None else None,
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave."""
        self.buffer = SignalBuffer.load(plain)
        if "stuck" not in plain:  # a state of the version before
            return
        self.state = JudgeState(StuckState(*plain["stuck"]), *plain["last"])
        self.teller.told = plain["told"]
        self.shipped = tuple(plain["shipped"]) if plain["shipped"] else None
        if self._of.own_flag is not None and plain["flag"]:
            self._of.own_flag.times, self._of.own_flag.states = map(list, plain["flag"])

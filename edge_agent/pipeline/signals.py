"""Tags that belong to no potline and no meter: judged, then shipped as minute means.

A minute's quality is that of its worst used sample; it is uncertain (partial) with less than nine
tenths of its samples. A minute of which no sample can be used is a row without a value that
carries the reason. With a deadband, minutes within it are left out until ``max_silence_s``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.quality import JudgeState, Rules, StuckState, is_usable, judge
from edge_agent.calc.windows import MINUTE_NS, NS_PER_S
from edge_agent.instruments import Deadband
from edge_agent.pipeline.buffers import SignalBuffer
from edge_agent.pipeline.judging import Flag, Teller, Times, given_quality
from edge_agent.pipeline.rows import Sink, Span, minute_means, worst_by_minute
from edge_agent.readings import GOOD, Quality, Reason, Severity

_BAD_COMMS = int(Quality.of(Severity.BAD, Reason.COMMS))


class SignalWorker:
    """One measured tag."""

    def __init__(
        self, tag_id: str, rules: Rules, period_s: float, deadband: Deadband | None = None
    ) -> None:
        self.tag_id = tag_id
        self.rules = rules
        self.period_s = period_s
        self.deadband = deadband
        self.buffer = SignalBuffer()
        self.maintenance: Flag | None = None
        self.own_flag: Flag | None = None
        self.state = JudgeState()
        self.teller = Teller(tag_id)
        self.shipped: tuple[int, float | None, int] | None = None

    @property
    def done_ns(self) -> int:
        """The last moment accounted for [ns], -1 before the first."""
        return self.buffer.done_ns

    def first_ns(self) -> int | None:
        """Time of the earliest sample that waits [ns]."""
        return self.buffer.first_ns()

    def is_plain(self, lowest: float, highest: float, last_ns: int) -> bool:
        """True when good samples within these bounds need no judging one by one."""
        rules = self.rules
        return (
            rules.low <= lowest
            and highest <= rules.high
            and rules.max_rate_per_s is None
            and rules.stuck_ns is None
            and (rules.lapses_ns is None or last_ns < rules.lapses_ns)
            and (self.deadband, self.maintenance, self.own_flag) == (None, None, None)
            and self.teller.told == GOOD
            and self.buffer.is_empty
        )

    def process(self, span: Span, sink: Sink) -> None:
        """Account for the samples before the span's end."""
        times, values = self.buffer.take(span.end_ns)
        marks = self.buffer.taken_marks
        if len(times) == 0 and not marks:
            return
        given = given_quality(times, values, marks)
        flags = self.maintenance.at(times) if self.maintenance else None
        quality = judge(times, values, given, flags, self.rules, self.state)
        self.teller.tell(times, quality, sink)
        good = is_usable(quality)
        if self.own_flag is not None:
            self.own_flag.take(times[good], values[good])
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
        for minutes, means, partial in minute_means(times, values, span, self.period_s):
            codes = partial
            if quality.any():
                worst = worst_by_minute(times, quality, span)
                codes = [worst.get(m, 0) or p for m, p in zip(minutes, partial, strict=True)]
            full.update(minutes)
            if self.deadband is None:
                sink.rows.extend(self.tag_id, minutes, means, codes)
            else:
                for minute, mean, code in zip(minutes, means, codes, strict=True):
                    self._ship_moved(self.deadband, minute, mean, code, sink)
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
            sink.rows.add(self.tag_id, minute, None, Quality(lost[minute]))
            if self.deadband is not None:
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
        sink.rows.add(self.tag_id, minute, mean, Quality(code))

    def dump(self) -> dict[str, Any] | int:
        """Plain value for storage; only the time that is done when there is nothing else."""
        if self.is_plain(self.rules.low, self.rules.high, -1) and self.shipped is None:
            return self.buffer.done_ns
        state, flag = self.state, self.own_flag
        return {
            **self.buffer.dump(),
            "stuck": [state.stuck.value, state.stuck.since_ns],
            "last": [state.last_ns, state.last_value],
            "told": self.teller.told,
            "shipped": list(self.shipped) if self.shipped else None,
            "flag": [flag.times.tolist(), flag.states.tolist()] if flag is not None else None,
        }

    def restore(self, plain: dict[str, Any] | int) -> None:
        """Take up the state that ``dump`` gave."""
        if isinstance(plain, int):
            self.buffer = SignalBuffer(plain, warm=False)
            return
        self.buffer = SignalBuffer.load(plain)
        if "stuck" not in plain:  # a state of the version before
            return
        self.state = JudgeState(StuckState(*plain["stuck"]), *plain["last"])
        self.teller.told = plain["told"]
        self.shipped = tuple(plain["shipped"]) if plain["shipped"] else None
        if self.own_flag is not None and plain["flag"]:
            times, states = plain["flag"]
            self.own_flag.times = np.array(times, dtype=np.int64)
            self.own_flag.states = np.array(states, dtype=np.bool_)

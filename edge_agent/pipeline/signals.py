"""Tags that belong to no potline and no meter: shipped as minute means.

Most of them are at rest: their samples come in scans, are plainly good, and their means are taken
with those of the whole scan (``scans``). A tag at rest is a few numbers, and needs no vectors. It
is judged sample by sample (``judged``) from the first reading that wants it, because of its rules
or because it is not plainly good, until a minute of plain scans finds nothing left to judge.
"""

from array import array
from typing import TYPE_CHECKING, Any

from edge_agent.calc.rules import Rules
from edge_agent.instruments import Deadband
from edge_agent.later import Later
from edge_agent.pipeline.counts import RECENT
from edge_agent.pipeline.judging import Flag
from edge_agent.pipeline.rows import Sink, Span
from edge_agent.readings import Sample, Waveform

if TYPE_CHECKING:
    from edge_agent.pipeline.judged import JudgedSignal

_JUDGED = Later("edge_agent.pipeline.judged", "JudgedSignal")
_NEVER = array("q")


class SignalWorker:
    """One measured tag; ``judged`` is None while it is at rest."""

    __slots__ = (
        "_is_warm",
        "_recent",
        "_rest_ns",
        "deadband",
        "judged",
        "maintenance",
        "own_flag",
        "period_s",
        "rules",
        "tag_id",
    )

    def __init__(
        self, tag_id: str, rules: Rules, period_s: float, deadband: Deadband | None = None
    ) -> None:
        self.tag_id = tag_id
        self.rules = rules
        self.period_s = period_s
        self.deadband = deadband
        self.maintenance: Flag | None = None
        self.own_flag: Flag | None = None
        self.judged: JudgedSignal | None = None
        self._rest_ns = -1
        self._recent = _NEVER
        self._is_warm = True

    @property
    def done_ns(self) -> int:
        """The last moment accounted for [ns], -1 before the first."""
        return self._rest_ns if self.judged is None else self.judged.buffer.done_ns

    def first_ns(self) -> int | None:
        """Time of the earliest sample that waits [ns]."""
        return None if self.judged is None else self.judged.buffer.first_ns()

    def add(self, reading: Sample | Waveform) -> None:
        """Take a reading."""
        self._awake().buffer.add(reading)

    def extend(self, times: "array[int]", values: "array[float]") -> None:
        """Take many plainly good samples; the times may be shared and are not changed."""
        self._awake().extend(times, values)

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
            and (self.judged is None or self.judged.is_plain)
        )

    def pass_by(self, times: "array[int]", until_ns: int) -> None:
        """Take note of plain samples that were accounted for elsewhere; nothing is left to judge."""
        self._rest_ns = max(self.done_ns, until_ns - 1)
        self._recent = times if len(times) <= RECENT else times[-RECENT:]
        self._is_warm = True
        self.judged = None

    def process(self, span: Span, sink: Sink) -> None:
        """Account for the samples before the span's end."""
        if self.judged is None:
            self._rest_ns = max(self._rest_ns, span.end_ns - 1)
        else:
            self.judged.process(span, sink)

    def dump(self) -> dict[str, Any] | int:
        """Plain value for storage; only the time that is done when there is nothing else."""
        return self._rest_ns if self.judged is None else self.judged.dump()

    def restore(self, plain: dict[str, Any] | int) -> None:
        """Take up the state that ``dump`` gave."""
        if isinstance(plain, int):
            # What was accounted before the restart arrives again as a repeat, not as a loss.
            self._rest_ns, self._is_warm = plain, False
        else:
            self._awake().restore(plain)

    def _awake(self) -> "JudgedSignal":
        if self.judged is None:
            self.judged = _JUDGED(self, self._rest_ns, self._recent, warm=self._is_warm)
            self._recent = _NEVER
        return self.judged

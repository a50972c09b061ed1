"""From a tag's configuration to the rules it is judged by, and telling when a judgement changes."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from edge_agent.calc.rules import Rules
from edge_agent.calc.windows import NS_PER_S, to_ns
from edge_agent.drivers.base import Tag
from edge_agent.pipeline.rows import Sink
from edge_agent.readings import GOOD, Quality


def lapses_ns(until: date | None, zone: ZoneInfo) -> int | None:
    """The first moment after the last day (plant local) of a calibration [ns UTC]."""
    if until is None:
        return None
    midnight = datetime.combine(until + timedelta(days=1), time(), tzinfo=zone)
    return to_ns(midnight.astimezone(UTC))


def rules_of(tag: Tag, zone: ZoneInfo) -> Rules:
    """What is plausible for a tag."""
    low, high = tag.range or (-math.inf, math.inf)
    until = tag.instrument.calibrated_until if tag.instrument else None
    return Rules(
        low,
        high,
        tag.max_rate_per_s,
        round(tag.stuck_s * NS_PER_S) if tag.stuck_s else None,
        lapses_ns(until, zone),
    )


class Judged(Protocol):
    """Whom a flag is about."""

    @property
    def done_ns(self) -> int:
        """The last moment accounted for [ns], -1 before the first."""
        ...


@dataclass(slots=True)
class Flag:
    """A maintenance flag through time: not 0 means maintenance; unknown means none.

    ``users`` are judged by it; its changes are kept until the slowest of them is done with them.
    """

    times: list[int] = field(default_factory=list)
    states: list[bool] = field(default_factory=list)
    users: "list[Judged]" = field(default_factory=list)

    def take(self, times: Sequence[int], values: Sequence[float]) -> None:
        """Go on with the flag's usable samples of a span; the last state stays in force."""
        for time_ns, value in zip(times, values, strict=True):
            if not self.states or (value != 0) != self.states[-1]:
                self.times.append(time_ns)
                self.states.append(value != 0)
        if not self.times:
            return
        needed_ns = min((user.done_ns for user in self.users), default=self.times[-1])
        first = max(bisect_right(self.times, needed_ns) - 1, 0)
        del self.times[:first], self.states[:first]

    def at(self, time_ns: int) -> bool:
        """Whether the flag was set at a time [ns]."""
        place = bisect_right(self.times, time_ns) - 1
        return place >= 0 and self.states[place]


@dataclass(slots=True)
class Teller:
    """Tells when the worst judgement of a tag's span of time changes: event ``tag_quality``."""

    tag: str
    told: int = int(GOOD)

    def tell(self, time_ns: int, worst: int, count: int, sink: Sink) -> None:
        """So many samples of a span, the first at a time [ns], are the span's worst."""
        if worst == self.told:
            return
        now, before = Quality(worst), Quality(self.told)
        self.told = worst
        sink.event(
            time_ns,
            "tag_quality",
            tag=self.tag,
            severity=now.severity.name.lower(),
            reason=now.reason.name.lower(),
            before=before.severity.name.lower(),
            count=count,
        )

"""From a tag's configuration to the rules it is judged by, and telling when a judgement changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.quality import Rules
from edge_agent.calc.windows import NS_PER_S, to_ns
from edge_agent.drivers.base import Tag
from edge_agent.pipeline.rows import Sink
from edge_agent.readings import BAD_DEVICE, GOOD, Quality

Times = NDArray[np.int64]
Values = NDArray[np.float64]


def lapses_ns(until: date | None, zone: ZoneInfo) -> int | None:
    """The first moment after the last day (plant local) of a calibration [ns UTC]."""
    if until is None:
        return None
    midnight = datetime.combine(until + timedelta(days=1), time(), tzinfo=zone)
    return to_ns(midnight.astimezone(UTC))


def rules_of(tag: Tag, zone: ZoneInfo) -> Rules:
    """What is plausible for a tag."""
    low, high = tag.range or (-np.inf, np.inf)
    until = tag.instrument.calibrated_until if tag.instrument else None
    return Rules(
        low,
        high,
        tag.max_rate_per_s,
        round(tag.stuck_s * NS_PER_S) if tag.stuck_s else None,
        lapses_ns(until, zone),
    )


def given_quality(times: Times, values: Values, marks: Mapping[int, int]) -> NDArray[np.int64]:
    """The qualities that came with samples; a missing value without one is the device's word."""
    given = np.where(np.isnan(values), int(BAD_DEVICE), int(GOOD)).astype(np.int64)
    if marks and len(times):
        at = np.fromiter(marks.keys(), np.int64, len(marks))
        place = np.searchsorted(times, at)
        place[place == len(times)] = 0
        hit = times[place] == at
        codes = np.fromiter(marks.values(), np.int64, len(marks))
        given[place[hit]] = np.maximum(given[place[hit]], codes[hit])
    return given


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

    times: Times = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    states: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    users: "list[Judged]" = field(default_factory=list)

    def take(self, times: Times, values: Values) -> None:
        """Go on with the flag's usable samples of a span; the last state stays in force."""
        at = np.concatenate((self.times, times))
        states = np.concatenate((self.states, values != 0))
        if len(at) == 0:
            return
        needed_ns = min((user.done_ns for user in self.users), default=int(at[-1]))
        keep = np.concatenate(([True], states[1:] != states[:-1]))
        at, states = at[keep], states[keep]
        first = max(int(np.searchsorted(at, needed_ns, side="right")) - 1, 0)
        self.times, self.states = at[first:], states[first:]

    def at(self, times: Times) -> NDArray[np.bool_]:
        """Whether the flag was set at each time."""
        if len(self.times) == 0:
            return np.zeros(len(times), dtype=np.bool_)
        place = np.searchsorted(self.times, times, side="right") - 1
        return np.asarray((place >= 0) & self.states[np.maximum(place, 0)], dtype=np.bool_)


@dataclass(slots=True)
class Teller:
    """Tells when the worst judgement of a tag's span of time changes: event ``tag_quality``."""

    tag: str
    told: int = int(GOOD)

    def tell(self, times: Times, quality: NDArray[np.int64], sink: Sink) -> None:
        """Compare a span's samples with what was told last."""
        if len(times) == 0:
            return
        worst = int(quality.max())
        if worst == self.told:
            return
        where = np.flatnonzero(quality == worst)
        now, before = Quality(worst), Quality(self.told)
        self.told = worst
        sink.event(
            int(times[where[0]]),
            "tag_quality",
            tag=self.tag,
            severity=now.severity.name.lower(),
            reason=now.reason.name.lower(),
            before=before.severity.name.lower(),
            count=len(where),
        )

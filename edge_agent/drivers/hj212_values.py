"""HJ 212: who may report what, and packets to readings.

1. Every value's flag becomes its quality; a value without a flag is uncertain unless configured
   otherwise, a value with a flag that is not in the table is bad.
2. A value belongs to its ``DataTime`` (start of the interval for means), plant time. A time ahead of
   our clock is replaced by ours and marked; what is sent late is marked as history.
"""

import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import (
    EARLIEST_NS,
    UNCERTAIN_CLOCK,
    Reading,
    Scaler,
    Seconds,
    SendingConfig,
    Tag,
    Timezone,
    Value,
    is_plausible_time,
)
from edge_agent.drivers.hj212_packets import (
    DAY,
    HOUR,
    MINUTE,
    REALTIME,
    Packet,
    number,
    time_ns,
    values,
)
from edge_agent.errors import BadAnswer
from edge_agent.readings import (
    BAD_COMMS,
    BAD_DEVICE,
    BAD_RANGE,
    GOOD,
    Quality,
    Reason,
    Sample,
    Severity,
)

_OPEN_PARTS = 64
_COMMANDS = {"Rtd": REALTIME, "ZsRtd": REALTIME}
_USUAL_S = {REALTIME: 60.0, MINUTE: 600.0, HOUR: 3_600.0, DAY: 86_400.0}
_IDLE_S = 1_800.0
HISTORY = Quality.of(Severity.GOOD, Reason.HISTORY)
# HJ 212-2017 table 8
FLAGS = {
    "N": GOOD,
    "F": BAD_DEVICE,  # the analyser is out of operation
    "M": Quality.of(Severity.BAD, Reason.MAINTENANCE),
    "S": Quality.of(Severity.SUBSTITUTED),  # entered by hand
    "D": BAD_DEVICE,  # fault
    "C": Quality.of(Severity.BAD, Reason.CALIBRATION),
    "T": BAD_RANGE,  # above the upper limit of measuring
    "B": BAD_COMMS,
}
_log = logging.getLogger(__name__)

Mn = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_-]{1,24}$")]


class Hj212Tag(Tag):
    """One value of one factor.

    Args:
        factor: the standard's code, such as a21026 (annex B); 2005 codes are taken as well.
        field: Rtd, Avg, Min, Max, Cou, and with Zs in front converted to reference oxygen.
        command: 2011 real time, 2051 minutes, 2061 hours, 2031 days; real time for Rtd, minutes else.
        logger: MN of its logger, where the device has several.
    """

    factor: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{2,12}$")]
    field: Literal["Rtd", "Avg", "Min", "Max", "Cou", "ZsRtd", "ZsAvg", "ZsMin", "ZsMax"] = "Rtd"
    command: Literal["2011", "2051", "2061", "2031"] | None = None
    logger: Mn | None = None

    @property
    def cn(self) -> str:
        """The command whose packets carry it."""
        return self.command or _COMMANDS.get(self.field, MINUTE)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.cn == REALTIME) != (self.field in _COMMANDS):
            raise ValueError(f"{self.field} does not come with command {self.cn}")
        return self


class Logger(BaseModel):
    """A data logger that may connect: its MN, and the file that holds its password (PW)."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    mn: Mn
    password_file: Path = Field(exclude=True)


class Hj212Config(SendingConfig):
    """One port that loggers report to; its session is a listening port, which nothing renews.

    Args:
        host: address of ours to listen on; the machine itself only unless told otherwise.
        loggers: who may connect.
        timezone: zone of the loggers' times.
        unflagged: severity of a value without a flag.
        late_s: age of a real-time value from which it counts as sent later [s].
        ahead_s: how far a logger's clock may be ahead of ours [s].
        idle_s: silence after which a connection is closed [s]; None for as long as a logger is
            regularly silent, at least half an hour.
        timeout_s: longest wait for a new connection's first packet [s].
    """

    driver: Literal["hj212"]
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    loggers: tuple[Logger, ...] = Field(min_length=1)
    timezone: Timezone = "Asia/Shanghai"
    unflagged: Literal["good", "uncertain"] = "uncertain"
    late_s: Seconds = 300.0
    ahead_s: Seconds = 300.0
    idle_s: Seconds | None = None
    timeout_s: Seconds = 30.0
    stale_s: Seconds = 900.0
    renew_s: Seconds | Literal["never"] = "never"
    tags: tuple[Hj212Tag, ...]

    def usual_s(self, tag: Tag) -> float:
        """By the command that brings it [s]."""
        return _USUAL_S[tag.cn] if isinstance(tag, Hj212Tag) else _USUAL_S[REALTIME]

    @property
    def silence_s(self) -> float:
        """Silence after which a connection is closed [s]: that of the logger that sends least."""
        if self.idle_s is not None:
            return self.idle_s
        regular: dict[str, float] = {}
        for tag in self.tags:
            mn = tag.logger or self.loggers[0].mn
            every_s = self.sends_every_s or self.spacing_s(tag)
            regular[mn] = min(every_s, regular.get(mn, every_s))
        return max(_IDLE_S, 1.5 * max(regular.values()))

    @model_validator(mode="after")
    def _who(self) -> Self:
        known = [logger.mn for logger in self.loggers]
        if len(set(known)) < len(known):
            raise ValueError("an MN stands twice")
        for tag in self.tags:
            if tag.logger is None and len(known) > 1:
                raise ValueError(f"tag {tag.id!r} names no logger; {', '.join(known)} are right")
            if tag.logger is not None and tag.logger not in known:
                raise ValueError(f"tag {tag.id!r}: no logger {tag.logger!r} among {known}")
        return self


@dataclass(slots=True)
class _Parts:
    """The time that the parts of one message share, and the parts seen."""

    stamp: str
    seen: set[int] = field(default_factory=set)


class Reader:
    """Packets to readings."""

    def __init__(self, config: Hj212Config, clock: Clock) -> None:
        """Sort the tags by what carries them."""
        self._config = config
        self._clock = clock
        self._zone = ZoneInfo(config.timezone)
        self._scalers = {tag.id: Scaler(tag) for tag in config.tags}
        self._tags: dict[tuple[str, str], list[Hj212Tag]] = {}
        for tag in config.tags:
            mn = tag.logger or config.loggers[0].mn
            self._tags.setdefault((mn, tag.cn), []).append(tag)
        self._parts: OrderedDict[tuple[str, str, str], _Parts] = OrderedDict()
        good = config.unflagged == "good"
        self._unflagged = GOOD if good else Quality.of(Severity.UNCERTAIN)

    def read(self, packet: Packet) -> list[Reading]:
        """The readings of a packet; none for what no tag asks for. Raises BadAnswer."""
        if packet.cn not in (REALTIME, MINUTE, HOUR, DAY):
            return []
        texts = values(packet.data)
        stamp = self._stamp(packet, texts.get(("", "DataTime"), ""))
        tags = self._tags.get((packet.mn, packet.cn), ())
        at_ns = time_ns(stamp, self._zone)
        if at_ns is None or not is_plausible_time(at_ns):
            raise BadAnswer(f"DataTime={stamp[:20]!r} is no time")
        at_ns, doubt = self._judge(at_ns, packet)
        readings: list[Reading] = []
        for tag in tags:
            text = texts.get((tag.factor, tag.field))
            if text is not None:
                flag = texts.get((tag.factor, "Flag"))
                readings.append(self._sample(tag, text, flag, at_ns, doubt))
        return readings

    def _stamp(self, packet: Packet, stamp: str) -> str:
        """The packet's DataTime, or that of an earlier part of the same message."""
        if not packet.pnum:
            return stamp
        key = (packet.mn, packet.qn, packet.cn)
        parts = self._parts.get(key)
        if parts is None:
            parts = self._parts[key] = _Parts(stamp)
        parts.stamp = parts.stamp or stamp
        parts.seen.add(packet.pno)
        if len(parts.seen) == packet.pnum:
            del self._parts[key]
        elif len(self._parts) > _OPEN_PARTS:
            (mn, qn, _), old = self._parts.popitem(last=False)
            _log.warning("hj212_parts_missing %s", {"mn": mn, "qn": qn, "seen": len(old.seen)})
        return stamp or parts.stamp

    def _judge(self, at_ns: int, packet: Packet) -> tuple[int, Quality | None]:
        """Rule 2: the time to use, and what to say about it."""
        now_ns = self._clock.utc_ns()
        if now_ns < EARLIEST_NS:
            return at_ns, None
        if at_ns > now_ns + self._config.ahead_s * NS_PER_S:
            return now_ns, UNCERTAIN_CLOCK
        is_late = packet.cn == REALTIME and at_ns < now_ns - self._config.late_s * NS_PER_S
        return at_ns, HISTORY if packet.is_resent or is_late else None

    def _sample(
        self, tag: Hj212Tag, text: str, flag: str | None, at_ns: int, doubt: Quality | None
    ) -> Sample:
        quality = self._unflagged if flag is None else FLAGS.get(flag, BAD_DEVICE)
        value = self._value(tag, text) if quality.usable else None
        if value is None:
            return Sample(tag.id, at_ns, None, quality if not quality.usable else BAD_DEVICE)
        return Sample(tag.id, at_ns, value, doubt if doubt and quality == GOOD else quality)

    def _value(self, tag: Hj212Tag, text: str) -> Value:
        raw = number(text)
        if tag.totaliser is None or raw is None:
            return self._scalers[tag.id](raw)
        return int(raw) if raw == int(raw) else None

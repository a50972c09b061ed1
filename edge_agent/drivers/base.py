"""What every driver shares: the tag and device models, and the protocols the supervisor uses.

The supervisor (``edge_agent.acquisition``) builds a driver once, enters it, reads it until it
raises, leaves it, and enters it again after a back-off. A driver never retries by itself, stamps
values at receipt (or with a source time trusted by configuration), and yields bad values with
their quality instead of dropping them.
"""

import math
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Hashable, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TypeVar, cast, runtime_checkable
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from edge_agent.errors import WrongPart
from edge_agent.instruments import Deadband, Instrument
from edge_agent.readings import Quality, Reason, Sample, Scan, Severity, Waveform

EARLIEST_NS = 946_684_800_000_000_000  # 2000-01-01 UTC
LATEST_NS = 4_102_444_800_000_000_000  # 2100-01-01 UTC
UNCERTAIN_CLOCK = Quality.of(Severity.UNCERTAIN, Reason.CLOCK)
LONGEST_LATENESS_S = 3 * 86_400
_SCALE_DIGITS = 18
_MISSED_POLLS = 3
_RENEW_AFTER = 10  # times the age of degraded
_LATE_SENDING = 1.5


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        message = f"no time zone {name!r}; Asia/Shanghai is right"
        raise ValueError(message)
    return name


def _plain_host(name: str) -> str:
    if any(sign in name for sign in "/ \t") or name.count(":") == 1:
        message = f"{name!r} is no host; a name or an address is right, with port: beside it"
        raise ValueError(message)
    return name


Reading = Sample | Waveform
Poll = Sample | Waveform | Scan
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Lateness = Annotated[float, Field(ge=0, le=LONGEST_LATENESS_S, allow_inf_nan=False)]
Timezone = Annotated[str, AfterValidator(_known_zone)]
Host = Annotated[str, StringConstraints(min_length=1), AfterValidator(_plain_host)]
Value = int | float | None
L = TypeVar("L")


class Totaliser(BaseModel):
    """A counter that only goes up: ``modulus`` where it rolls over, in raw counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    modulus: int | None = Field(default=None, gt=1)
    max_rate_per_h: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Tag(BaseModel):
    """One value of a device; ``value * scale + offset`` is in ``unit``.

    Args:
        scale: decimal text, so that 0.1 means exactly a tenth.
        range: lowest and highest plausible value [unit]; judged downstream.
        interval_s: time from one poll of this tag to the next [s]; None for the device's own.
        lateness_s: how late its values may come and still count [s]; None for the device's own.
        max_rate_per_s: fastest plausible change [unit/s]; judged downstream.
        stuck_s: how long exactly equal values are plausible [s]; judged downstream.
        maintenance: id of a tag that is not 0 while this tag's instrument is in maintenance.
        totaliser: when set, raw integer counts are delivered and ``scale`` is left to the reader.
        deadband: which minute means are shipped; only for tags that nothing is computed from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: Identifier
    unit: str = ""
    range: tuple[float, float] | None = None
    max_rate_per_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    stuck_s: Seconds | None = None
    maintenance: Identifier | None = None
    instrument: Instrument | None = None
    deadband: Deadband | None = None
    interval_s: Seconds | None = None
    lateness_s: Lateness | None = None
    scale: str = "1"
    offset: str = "0"
    totaliser: Totaliser | None = None

    @field_validator("scale", "offset", mode="before")
    @classmethod
    def _decimal_text(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return value
        text = str(value)
        try:
            number = Decimal(text)
        except InvalidOperation:
            message = f"{text!r} is not a decimal number"
            raise ValueError(message) from None
        if not number.is_finite() or abs(number.adjusted()) > _SCALE_DIGITS:
            message = f"{text!r} is not between 1e-18 and 1e18"
            raise ValueError(message)
        return text

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, value: str) -> str:
        if Decimal(value) == 0:
            message = "a scale of 0 would make every value 0"
            raise ValueError(message)
        return value

    @field_validator("range")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not -math.inf < value[0] < value[1] < math.inf:
            message = "range is lowest and highest value, both finite, the lowest first"
            raise ValueError(message)
        return value


class DeviceConfig(BaseModel):
    """What every device's configuration has; subclasses fix ``driver`` and the tags' type.

    Args:
        timeout_s: longest wait for one answer [s].
        stale_s: age of the newest value from which the device counts as degraded [s].
        renew_s: age of the newest value from which its session is ended and made again [s]; None
            for what the driver usually needs, mostly ten times the age of degraded.
        lateness_s: how late its values may come and still count [s]; None for ``time.lateness_s``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: Identifier
    driver: str
    enabled: bool = True
    timeout_s: Seconds = 1.0
    stale_s: Seconds = 30.0
    renew_s: Seconds | Literal["never"] | None = None
    lateness_s: Lateness | None = None
    tags: tuple[Tag, ...]

    def spacing_s(self, tag: Tag) -> float:
        """Time from one value of a tag to the next, when all is well [s]."""
        return tag.interval_s or float(getattr(self, "interval_s", 1.0))

    @property
    def degraded_s(self) -> float:
        """Age of the newest value from which the device counts as degraded [s]."""
        if not hasattr(self, "interval_s"):
            return self.stale_s
        return max(self.stale_s, _MISSED_POLLS * min(map(self.spacing_s, self.tags)))

    @property
    def renewed_s(self) -> float:
        """Age of the newest value from which its session is made again [s]; may be infinite."""
        if self.renew_s == "never":
            return math.inf
        return max(self.renew_s or _RENEW_AFTER * self.degraded_s, self.degraded_s)

    @field_validator("tags")
    @classmethod
    def _distinct(cls, tags: tuple[Tag, ...]) -> tuple[Tag, ...]:
        seen: set[str] = set()
        for place, tag in enumerate(tags):
            if tag.id in seen:
                message = f"tag id {tag.id!r} stands twice"
                raise WrongPart(message, place, "id")
            seen.add(tag.id)
        if not tags:
            message = "a device needs at least one tag"
            raise ValueError(message)
        return tags

    def certificate_files(self) -> tuple[Path, ...]:
        """Certificates whose end would end the connection; some may not exist yet."""
        return ()


class SendingConfig(DeviceConfig):
    """A device that sends by itself, and is regularly silent in between.

    Args:
        sends_every_s: longest regular time from one sending of the device to the next [s]; None
            for the shortest ``interval_s`` of its tags, or what is usual for the driver.
    """

    sends_every_s: Seconds | None = None

    @abstractmethod
    def usual_s(self, tag: Tag) -> float:
        """How often a tag without ``interval_s`` is usually sent [s]."""

    def spacing_s(self, tag: Tag) -> float:
        """Time from one value of a tag to the next, when all is well [s]."""
        return tag.interval_s or self.sends_every_s or self.usual_s(tag)

    @property
    def degraded_s(self) -> float:
        """Age of the newest value from which a sending is missing [s]."""
        every_s = self.sends_every_s or min(map(self.spacing_s, self.tags))
        return max(self.stale_s, _LATE_SENDING * every_s)


class Session(Protocol):
    """A connection that is entered and left; entering it raises DeviceError when it fails."""

    async def __aenter__(self) -> Self:
        """Connect."""
        ...

    async def __aexit__(self, *exc: object) -> None:
        """Disconnect; raises nothing and takes no longer than the device's timeout."""
        ...


@runtime_checkable
class Driver(Session, Protocol):
    """A device that speaks when it has something to say."""

    def samples(self) -> AsyncGenerator[Sequence[Reading], None]:
        """All that arrived since the last step; raises DeviceError when the connection is lost."""
        ...


@runtime_checkable
class Polled(Session, Protocol):
    """A device that must be asked; when and how often is the supervisor's affair."""

    async def read(self, due: Collection[str] | None = None) -> Sequence[Reading]:
        """One poll of the tags whose ids are in ``due``, of all tags when it is None.

        Gives readings of due tags only. Raises DeviceError when nothing at all was answered.
        """
        ...


@runtime_checkable
class Scanner(Polled, Protocol):
    """A polled device that can give values read together as scans: far cheaper for many tags."""

    async def scan(self, due: Collection[str] | None = None) -> Sequence[Poll]:
        """The same as ``read``, with scans in place of samples wherever that is possible."""
        ...


@runtime_checkable
class Lossy(Protocol):
    """A driver that can lose readings while its consumer is slow, and counts them."""

    @property
    def dropped(self) -> int:
        """Readings lost since the driver was made."""
        ...


REMEMBERED = 4_096
"""Marks of kept deliveries that a device's driver knows."""
MARK_BYTES = 16


@runtime_checkable
class Receipted(Protocol):
    """A driver that acknowledges or puts away what it delivered, once that is durable (0086).

    A delivery is a step of ``samples``. Called on the loop.
    """

    def marks(self) -> Sequence[bytes]:
        """By what the newest delivery is known, should it come again; its sender waits for it."""
        ...

    def remember(self, marks: Sequence[bytes]) -> None:
        """Before the first session: what an earlier life has kept, oldest first."""
        ...

    def kept(self, deliveries: int) -> None:
        """So many deliveries since the driver was made are durable."""
        ...


@runtime_checkable
class Peeks(Protocol):
    """A driver whose reading takes data away from somewhere, unless it only looks."""

    def peek(self) -> None:
        """Only look from now on: acknowledge, move and record nothing; called before entering."""
        ...


@runtime_checkable
class SharesLine(Protocol):
    """A driver whose connection may be shared with other devices."""

    def share(self, lines: "Lines") -> None:
        """Take the connection from ``lines``; called once, before the driver is entered."""
        ...


class Lines:
    """The physical lines of one supervisor: one owner per line, however many devices use it."""

    def __init__(self) -> None:
        """Begin with no line."""
        self._lines: dict[Hashable, Any] = {}
        self._asked: set[Hashable] = set()

    def joined(self, driver: "SharesLine") -> frozenset[Hashable]:
        """Let a driver take its connection; gives the keys of the lines that it asked for."""
        self._asked = set()
        driver.share(self)
        return frozenset(self._asked)

    def line(self, key: Hashable, make: Callable[[], L]) -> L:
        """The line with this key, made on first use."""
        self._asked.add(key)
        if key not in self._lines:
            self._lines[key] = make()
        return cast("L", self._lines[key])


class Scaler:
    """``raw * scale + offset``, correctly rounded for integers.

    Integers stay integers while scale is 1 and offset 0, and always for a totaliser. What is
    not finite comes out as None.
    """

    __slots__ = ("_addend", "_divisor", "_factor", "is_identity", "offset", "scale")

    def __init__(self, tag: Tag) -> None:
        """Take the tag's scale and offset."""
        scale, offset = _fraction(tag.scale), _fraction(tag.offset)
        self.is_identity = tag.totaliser is not None or (scale == 1 and offset == 0)
        self.scale = float(scale)
        self.offset = float(offset)
        self._divisor = scale.denominator * offset.denominator
        self._factor = scale.numerator * offset.denominator
        self._addend = offset.numerator * scale.denominator

    def __call__(self, raw: Value) -> Value:
        """The value in the tag's unit."""
        if raw is None:
            return None
        if isinstance(raw, int):
            if self.is_identity:
                return raw
            return (raw * self._factor + self._addend) / self._divisor
        value = raw if self.is_identity else raw * self.scale + self.offset
        return value if math.isfinite(value) else None


@lru_cache(maxsize=256)
def _fraction(text: str) -> Fraction:
    return Fraction(text)


def is_plausible_time(time_ns: int) -> bool:
    """True for a UTC time between 2000 and 2100 [ns]."""
    return EARLIEST_NS <= time_ns < LATEST_NS

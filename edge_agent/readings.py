"""The values that flow: ``Sample``, ``Waveform``, ``Scan``, ``Quality``, ``Record``, ``AnodeEffect``.

A quality is one small integer on the wire: severity x 16 + reason, 0 is good.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Severity(IntEnum):
    """How far a value may be trusted (OPC UA's severities, and substituted)."""

    GOOD = 0
    UNCERTAIN = 1
    BAD = 2
    SUBSTITUTED = 3


class Reason(IntEnum):
    """Why a value is not plainly good."""

    NONE = 0
    RANGE = 1
    RATE = 2
    STUCK = 3
    COMMS = 4
    CLOCK = 5
    CALIBRATION = 6
    MAINTENANCE = 7
    PARTIAL = 8
    HISTORY = 9
    DEVICE = 10
    DUPLICATE = 11


class Quality(int):
    """Severity and reason of a value, as the integer that travels on the wire."""

    __slots__ = ()

    @classmethod
    def of(cls, severity: Severity, reason: Reason = Reason.NONE) -> "Quality":
        """The quality with this severity and reason."""
        return cls(severity * 16 + reason)

    @property
    def severity(self) -> Severity:
        """How far the value may be trusted."""
        return Severity(self >> 4)

    @property
    def reason(self) -> Reason:
        """Why it is not plainly good."""
        return Reason(self & 15)

    @property
    def usable(self) -> bool:
        """True unless the value is bad."""
        return self.severity is not Severity.BAD


GOOD = Quality.of(Severity.GOOD)
UNCERTAIN_PARTIAL = Quality.of(Severity.UNCERTAIN, Reason.PARTIAL)
BAD_RANGE = Quality.of(Severity.BAD, Reason.RANGE)
BAD_COMMS = Quality.of(Severity.BAD, Reason.COMMS)
BAD_DEVICE = Quality.of(Severity.BAD, Reason.DEVICE)
BAD_STUCK = Quality.of(Severity.BAD, Reason.STUCK)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value read from a device. Integers stay integers: an int64 does not fit a float."""

    tag: str
    time_ns: int
    value: int | float | None
    quality: Quality = GOOD


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """Equally spaced values of one tag that a device delivers together.

    ``time_ns`` is the time of the first value, ``period_ns`` the distance between two;
    ``values`` is a float64 vector in which NaN stands for a value the device marked bad.
    """

    tag: str
    time_ns: int
    period_ns: int
    values: "NDArray[np.float64]"

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Values of several tags that were read together: plainly good, finite, of one time.

    ``tags`` is the same object in all scans of the same tags; ``values`` has the same order.
    Whatever is not plainly good travels beside it as ``Sample``.
    """

    tags: tuple[str, ...]
    time_ns: int
    values: tuple[int | float, ...]

    def __len__(self) -> int:
        return len(self.values)

    def samples(self) -> "Iterator[Sample]":
        """The same values one by one."""
        for tag, value in zip(self.tags, self.values, strict=True):
            yield Sample(tag, self.time_ns, value)


@dataclass(frozen=True, slots=True)
class Record:
    """What leaves the plant: one value of one series at the start of its half-open interval."""

    series: str
    time_ns: int
    value: int | float | None
    quality: Quality = GOOD


@dataclass(frozen=True, slots=True)
class Series:
    """What stands once for all records of a series.

    ``kind`` is ``measured`` (a mean or reading), ``counted`` (a totaliser's raw counts; times
    ``scale`` gives ``unit``; ``modulus`` where it rolls over) or ``computed``.
    ``interval_s`` is 0 for readings at a point in time.
    """

    name: str
    unit: str
    kind: str
    interval_s: int
    scale: str = "1"
    modulus: int | None = None
    max_rate_per_h: float | None = None


@dataclass(frozen=True, slots=True)
class AnodeEffect:
    """One anode effect of one pot; ``end_ns`` is None while it is open.

    ``above_threshold_s`` is the net time at or above the start level [s]; ``overvoltage_v_s``
    the positive and ``overvoltage_algebraic_v_s`` the signed integral of V - V_target [V.s];
    ``estimated_s`` the part of the duration assumed across communication gaps [s]; ``group``
    the running number of the group of re-strikes it belongs to; ``flags`` what a reviewer must
    know: ``start_up``, ``start_uncertain``, ``suspect``, ``uncorroborated``; the two currents
    are means before and at its onset [kA].
    """

    pot: str
    start_ns: int
    end_ns: int | None
    above_threshold_s: float
    gross_s: float
    estimated_s: float
    peak_v: float
    mean_v: float
    overvoltage_v_s: float
    overvoltage_algebraic_v_s: float
    group: int
    end_reason: str
    waveform_sha256: bytes | None = None
    flags: tuple[str, ...] = ()
    current_before_ka: float | None = None
    current_onset_ka: float | None = None


@dataclass(frozen=True, slots=True)
class Columns:
    """Records as parallel columns, the form in which they travel and are stored.

    ``index[i]`` selects the name in ``series``; all four lists have equal length. Only who makes
    them may change the lists: those of several batches may be the same.
    """

    series: tuple[str, ...]
    index: list[int] = field(default_factory=list)
    time_ns: list[int] = field(default_factory=list)
    value: list[int | float | None] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.index)

    def records(self) -> Iterator[Record]:
        """The same values one by one."""
        for index, time_ns, value, quality in zip(
            self.index, self.time_ns, self.value, self.quality, strict=True
        ):
            yield Record(self.series[index], time_ns, value, Quality(quality))


Event = dict[str, Any]
"""One entry of a batch's ``events``: ``{"t": ns, "type": text, ...}``."""

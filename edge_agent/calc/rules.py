"""What is plausible for a tag, and what its judge (``quality``) remembers: plain values."""

import math
from dataclasses import dataclass, field

from edge_agent.readings import Quality, Reason, Severity

BAD_RATE = Quality.of(Severity.BAD, Reason.RATE)
BAD_MAINTENANCE = Quality.of(Severity.BAD, Reason.MAINTENANCE)
UNCERTAIN_MAINTENANCE = Quality.of(Severity.UNCERTAIN, Reason.MAINTENANCE)
UNCERTAIN_CALIBRATION = Quality.of(Severity.UNCERTAIN, Reason.CALIBRATION)


@dataclass(frozen=True, slots=True)
class Rules:
    """What is plausible for one tag.

    Args:
        low: lowest plausible value [unit of the tag].
        high: highest plausible value [unit of the tag].
        max_rate_per_s: fastest plausible change [unit/s], None for no limit.
        stuck_ns: how long exactly equal values are plausible [ns], None for ever.
        lapses_ns: UTC from which the calibration has lapsed [ns], None for never.
    """

    low: float = -math.inf
    high: float = math.inf
    max_rate_per_s: float | None = None
    stuck_ns: int | None = None
    lapses_ns: int | None = None


@dataclass(slots=True)
class StuckState:
    """Since when [ns] a signal has shown exactly ``value``."""

    value: float = float("nan")
    since_ns: int = 0


@dataclass(slots=True)
class JudgeState:
    """What a tag's judge remembers from one call to the next."""

    stuck: StuckState = field(default_factory=StuckState)
    last_ns: int = -1
    last_value: float = 0.0

"""What the agent says of itself: counters and states for status messages and logs."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class Health:
    """Counters since the start, and what is wrong now."""

    readings: int = 0
    batches: int = 0
    rows: int = 0
    published: int = 0
    acks: int = 0
    acks_refused: int = 0
    connects: int = 0
    fallbacks: int = 0
    lost_records: int = 0
    alarm: str = ""
    key_warning: str = ""

    def detail(self) -> dict[str, Any]:
        """The counters as a plain map."""
        return asdict(self)

    @property
    def state(self) -> str:
        """``up``, or ``alarm`` when somebody must act."""
        return "alarm" if self.alarm else "up"

"""A pot's status readings waiting for their turn.

Unlike a voltage, a status stands until the next one. After a new subscription a server repeats
the standing status with the time of its change, which may have been accounted for by then: such a
reading is late, but true from now on, and must not be dropped.
"""

from dataclasses import dataclass, field
from typing import Any

from edge_agent.readings import Sample


@dataclass(slots=True)
class StatusBuffer:
    """Pending status readings of one pot, and the source time of the newest one given out."""

    done_ns: int = -1
    newest_ns: int = -1
    readings: dict[int, int] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Take a reading; a bad one is no reading."""
        if isinstance(sample.value, int) and sample.quality.usable:
            self.readings.setdefault(sample.time_ns, sample.value)

    def take(self, until_ns: int) -> list[tuple[int, int]]:
        """Remove and give (time, status) before ``until_ns``, in order of time.

        Of late readings only the newest counts, from the first moment not yet accounted for on,
        and only if nothing newer was given out before.
        """
        due = sorted(time_ns for time_ns in self.readings if time_ns < until_ns)
        taken = [(time_ns, self.readings.pop(time_ns)) for time_ns in due]
        late = [item for item in taken if self.newest_ns < item[0] <= self.done_ns]
        fresh = [item for item in taken if item[0] > self.done_ns]
        result = [(self.done_ns + 1, status) for _, status in late[-1:]] + fresh
        if late or fresh:
            self.newest_ns = (late + fresh)[-1][0]
        self.done_ns = max(self.done_ns, until_ns - 1)
        return result

    def dump(self) -> list[Any]:
        """Plain value for storage."""
        return [self.done_ns, self.newest_ns, *map(list, self.readings.items())]

    @classmethod
    def load(cls, stored: list[Any]) -> "StatusBuffer":
        """The buffer that ``dump`` gave."""
        done_ns, newest_ns, *readings = stored
        return cls(done_ns, newest_ns, dict(readings))

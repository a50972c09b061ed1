"""When which tags of a device are due: pure arithmetic on the monotonic clock.

Tags of one rate form a group; slot n of a group is due n intervals after the schedule's base, so
nothing drifts however long polls take. All groups share the base: the slots of slow groups fall
together with slots of fast ones and are read with them in one poll.

    S1  A poll that lasts beyond the next slot of a group it served leaves that slot out.
    S2  A slot that came due while another group was being read is read late, at once; were it
        several, the newest is read and the others are left out.
    S3  What is left out is counted, never made up for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_agent.clock import NS_PER_S
from edge_agent.drivers.base import Tag


@dataclass(slots=True)
class Group:
    """The tags of one rate, and the number of their next slot."""

    interval_ns: int
    tags: frozenset[str]
    slot: int = 0


class Schedule:
    """The rate groups of one device."""

    def __init__(self, tags: Iterable[Tag], interval_s: float) -> None:
        """Group the tags; ``interval_s`` is the rate of tags without one of their own [s]."""
        by_rate: dict[int, set[str]] = {}
        for tag in tags:
            interval_ns = max(1, round((tag.interval_s or interval_s) * NS_PER_S))
            by_rate.setdefault(interval_ns, set()).add(tag.id)
        self._groups = [Group(rate, frozenset(ids)) for rate, ids in sorted(by_rate.items())]
        self._base_ns = 0

    @property
    def fastest_s(self) -> float:
        """The shortest interval [s]."""
        return self._groups[0].interval_ns / NS_PER_S

    @property
    def slowest_s(self) -> float:
        """The longest interval [s]."""
        return self._groups[-1].interval_ns / NS_PER_S

    def start(self, base_ns: int) -> None:
        """Slot 0 of every group is due at ``base_ns`` (monotonic)."""
        self._base_ns = base_ns
        for group in self._groups:
            group.slot = 0

    def next_ns(self) -> int:
        """When the next slot of any group is due (monotonic)."""
        return min(self._due_ns(group) for group in self._groups)

    def take(self, now_ns: int) -> tuple[Sequence[Group], int]:
        """The groups that are due, and how many older slots of theirs are left out (S2)."""
        due = [group for group in self._groups if self._due_ns(group) <= now_ns]
        missed = 0
        for group in due:
            newest = (now_ns - self._base_ns) // group.interval_ns
            missed += newest - group.slot
            group.slot = newest
        return due, missed

    def done(self, due: Sequence[Group], now_ns: int) -> int:
        """Go on to the next slots after a poll; gives how many are left out (S1)."""
        missed = 0
        for group in due:
            following = -((self._base_ns - now_ns) // group.interval_ns)
            following = max(group.slot + 1, following)
            missed += following - group.slot - 1
            group.slot = following
        return missed

    def due_tags(self, due: Sequence[Group]) -> frozenset[str] | None:
        """The tags to read, None when all are due."""
        if len(due) == len(self._groups):
            return None
        return frozenset().union(*(group.tags for group in due))

    def _due_ns(self, group: Group) -> int:
        return self._base_ns + group.slot * group.interval_ns

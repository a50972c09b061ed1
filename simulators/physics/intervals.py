"""Half-open intervals of whole seconds, and where they may not be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Interval(NamedTuple):
    """Seconds from ``start`` up to, not including, ``end``."""

    start: int
    end: int

    def widened(self, before: int, after: int) -> Interval:
        """The same interval with a margin on both sides [s]."""
        return Interval(self.start - before, self.end + after)

    def meets(self, start: int, end: int) -> bool:
        """Whether any second is shared with [start, end)."""
        return self.start < end and start < self.end


def is_free(start: int, end: int, taken: Iterable[Interval]) -> bool:
    """Whether [start, end) shares no second with any of the taken intervals."""
    return not any(interval.meets(start, end) for interval in taken)

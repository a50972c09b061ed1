"""Which stretches of time were accounted, so that none is accounted twice when the clock moves.

A stretch ends where the clock was set forward or the agent stopped. When the clock goes back to
before the present stretch began, accounting goes on behind the last stretch before that time; the
stretches that then lie ahead are left out when their time comes again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_agent.calc.windows import MINUTE_NS, NS_PER_S

TOLERANCE_NS = 300 * NS_PER_S
"""A clock that is wrong by less than this is waited for; the gateway's ``future_after_s`` is the same."""
_MOST = 256


@dataclass(slots=True)
class Lived:
    """Stretches of accounted time as [start, end) in ns, in order; one of them is the present one."""

    stretches: list[list[int]] = field(default_factory=list)
    place: int = 0

    def reach(self, start_ns: int, until_ns: int) -> None:
        """Time was accounted from here to there."""
        if not self.stretches:
            self._begin(start_ns)
        present = self.stretches[self.place]
        present[1] = max(present[1], until_ns)

    def split(self, now_ns: int) -> None:
        """What is accounted from now on is another stretch."""
        start_ns = now_ns // MINUTE_NS * MINUTE_NS
        if self.stretches and start_ns > self.stretches[self.place][1]:
            self._begin(start_ns)

    def is_ahead(self, now_ns: int) -> bool:
        """Whether the present stretch began in the future."""
        return bool(self.stretches) and self.stretches[self.place][0] > now_ns + TOLERANCE_NS

    def next_ns(self) -> int | None:
        """Where a stretch that was accounted already lies ahead."""
        after = self.place + 1
        return self.stretches[after][0] if after < len(self.stretches) else None

    def go_to(self, now_ns: int) -> int:
        """Go on at another time; gives the minute to account from [ns]."""
        floor_ns = now_ns // MINUTE_NS * MINUTE_NS
        before = [place for place, one in enumerate(self.stretches) if one[0] <= now_ns]
        if before and self.stretches[before[-1]][1] >= floor_ns:
            self.place = before[-1]
        else:
            self._begin(floor_ns)
        return self.leap(self.stretches[self.place][1])

    def leap(self, done_ns: int) -> int:
        """Over the stretches ahead that begin at or before a place; gives the place behind [ns]."""
        present = self.stretches[self.place]
        while (next_ns := self.next_ns()) is not None and next_ns <= done_ns:
            done_ns = max(done_ns, self.stretches.pop(self.place + 1)[1])
            present[1] = max(present[1], done_ns)
        return done_ns

    def _begin(self, start_ns: int) -> None:
        """Begin a stretch at a time that lies in none; of very many the oldest is forgotten."""
        self.place = sum(one[0] <= start_ns for one in self.stretches)
        self.stretches.insert(self.place, [start_ns, start_ns])
        while len(self.stretches) > _MOST and self.place > 0:
            del self.stretches[0]
            self.place -= 1

    def dump(self) -> list[object]:
        """Plain value for storage."""
        return [self.stretches, self.place]

    @classmethod
    def load(cls, plain: Sequence[object] | None) -> "Lived":
        """What ``dump`` gave; nothing for a state from before."""
        if plain is None:
            return cls()
        stretches, place = plain
        assert isinstance(stretches, list)  # noqa: S101  as dumped
        assert isinstance(place, int)  # noqa: S101  as dumped
        return cls([list(one) for one in stretches], place)

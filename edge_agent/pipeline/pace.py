"""How fast readings may be taken in, so that those of a minute never outgrow their memory.

Readings wait in memory until their minute is accounted for. Under overload there would be no end
to them, so the intake is held back, evenly, so that every part of the minute has its readings:

    P1  what came since the last accounting may take the share of the room that was left then (the
        limit less what tags with a longer lateness still held) that the time since is of a minute
        and its lateness;
    P2  what is held back stays in the queue of ``acquisition``: polls leave out their slots and
        senders keep their data, counted and told there;
    P3  time is the monotonic clock's: a wall clock that steps holds nobody back;
    P4  at the limit nothing is taken until an accounting made room, so that no accounting may wait
        then for what is still to be taken (``is_full``).
"""

import logging
from collections.abc import Callable

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.pipeline.pipeline import Pipeline
from edge_agent.readings import Event

_log = logging.getLogger(__name__)

_STEP_S = 0.25
_SPARE_S = 5.0  # an accounting comes with the next tick, and takes some time
_LASTS_NS = 60 * NS_PER_S


class Pace:
    """Holds the intake back; ``wait`` runs on the loop, ``accounted`` in the worker."""

    def __init__(self, limit_bytes: float, lateness_s: float, clock: Clock) -> None:
        """Begin now; ``lateness_s`` is how long accounting waits for stragglers [s]."""
        self._limit_bytes, self._lateness_s, self._clock = limit_bytes, lateness_s, clock
        self._window_s = 60.0 + lateness_s + _SPARE_S
        self._accounted_ns = clock.monotonic_ns()
        self._kept_bytes = 0
        self._held_ns: int | None = None
        self.held_s = 0.0

    def accounted(self, kept_bytes: int) -> None:
        """Minutes were accounted for just now, and so much still waits [bytes]."""
        self._kept_bytes = kept_bytes
        self._accounted_ns = self._clock.monotonic_ns()

    @property
    def is_overloaded(self) -> bool:
        """True for a minute after the intake was held back."""
        now_ns = self._clock.monotonic_ns()
        return self._held_ns is not None and now_ns - self._held_ns < _LASTS_NS

    def is_full(self, held_bytes: int) -> bool:
        """True when only an accounting makes room; P4."""
        return held_bytes >= self._limit_bytes

    def wait_s(self, held_bytes: int) -> float:
        """How long to take nothing in, with so much waiting [s]; P1."""
        if self.is_full(held_bytes):
            return _STEP_S
        kept_bytes = min(self._kept_bytes, held_bytes)  # the worker may be accounting just now
        share = (held_bytes - kept_bytes) / (self._limit_bytes - kept_bytes)
        since_s = (self._clock.monotonic_ns() - self._accounted_ns) / NS_PER_S
        return max(share * self._window_s - since_s - self._lateness_s - _SPARE_S, 0.0)

    async def wait(self, held_bytes: Callable[[], int]) -> None:
        """Return when readings may be taken in again."""
        while (wait_s := self.wait_s(held_bytes())) > 0:
            began_ns = self._clock.monotonic_ns()
            await self._clock.sleep(min(wait_s, _STEP_S))
            self._held_ns = self._clock.monotonic_ns()
            self.held_s += (self._held_ns - began_ns) / NS_PER_S


def due(
    pipeline: Pipeline, pace: Pace, now_ns: int, settled_ns: int | None
) -> tuple[int | None, int | None, list[Event]]:
    """Up to where to account, the settled time to heed, and what is to be told of it [ns].

    Memory that is full is not taken into, and what would end a wait for a device's history may
    stand in the queue: it is waited for no longer, and what it brings later counts as late.
    """
    due_ns = pipeline.due_ns(now_ns, settled_ns)
    if due_ns is not None or settled_ns is None or not pace.is_full(pipeline.held_bytes):
        return due_ns, settled_ns, []
    if (due_ns := pipeline.due_ns(now_ns)) is None:
        return None, settled_ns, []
    _log.warning("history_not_awaited %s", {"from": settled_ns, "to": due_ns})
    told = {"device": "*", "count": 1, "reason": "history", "from": settled_ns, "to": due_ns}
    return due_ns, None, [{"t": now_ns, "type": "device_overrun", **told}]

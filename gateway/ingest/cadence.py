"""How much evidence one agent may bring in: an account in hours that its batches cover.

An agent earns the time by which its batches advance, or the time that passes here, whichever is
more, and pays for every message that the ledger has to keep. A month's backlog pays for itself; a
flood of authentic batches (a stolen key) covers no time and soon has nothing left. What cannot be
paid is never refused: it waits, and the account grows by itself.
"""

from dataclasses import dataclass

from edge_agent.clock import NS_PER_S

_HOUR_NS = 3_600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Allowance:
    """Messages and bytes for each hour covered, and how many hours may be saved up.

    The defaults let an agent send a batch every six seconds, or one of full size a minute.
    """

    batches_per_hour: int = 600
    bytes_per_hour: int = 16_777_216
    burst_hours: int = 24

    def price_ns(self, size: int) -> int:
        """What a message of this many bytes costs, in nanoseconds of covered time."""
        return max(_HOUR_NS // self.batches_per_hour, size * _HOUR_NS // self.bytes_per_hour)


class Cadence:
    """One agent's account; full at the start, so that a restart of the gateway delays nobody."""

    def __init__(self, allowance: Allowance, covered_ns: int | None, now_ns: int) -> None:
        """Begin at the last time that the agent's batches cover, None before the first.

        ``now_ns`` is this machine's monotonic time, here and below.
        """
        self._allowance = allowance
        self._covered_ns = covered_ns
        self._now_ns = now_ns
        self._saved_ns = allowance.burst_hours * _HOUR_NS

    def pay(self, size: int, now_ns: int, covers_to_ns: int | None = None) -> bool:
        """Pay for a message; False, and nothing is paid, when the account does not hold as much.

        Args:
            size: of the message [bytes].
            now_ns: monotonic time.
            covers_to_ns: the last time a batch covers; None for what covers none.
        """
        allowance, earned_ns = self._allowance, max(0, now_ns - self._now_ns)
        if covers_to_ns is not None:
            before_ns = covers_to_ns if self._covered_ns is None else self._covered_ns
            earned_ns = max(earned_ns, covers_to_ns - before_ns)
        limit_ns = allowance.burst_hours * _HOUR_NS
        saved_ns = min(limit_ns, self._saved_ns + earned_ns) - allowance.price_ns(size)
        if saved_ns < 0:
            return False
        self._saved_ns, self._now_ns = saved_ns, max(now_ns, self._now_ns)
        if covers_to_ns is not None and covers_to_ns > (self._covered_ns or 0):
            self._covered_ns = covers_to_ns
        return True

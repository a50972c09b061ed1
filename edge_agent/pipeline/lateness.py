"""How long the accounting waits for stragglers: each tag has its own patience.

A tag waits as long as it says itself, or its device, or ``time.lateness_s``. A potline's voltages,
statuses and current are judged together and wait for the slowest of them. A tag with a maintenance
flag waits for the flag. Everybody else's minutes go on meanwhile.
"""

from dataclasses import dataclass

from edge_agent.calc.windows import MINUTE_NS, NS_PER_S
from edge_agent.config import AgentConfig
from edge_agent.pipeline.rows import Span


class Lateness:
    """How long to wait, in ns, by tag."""

    def __init__(self, config: AgentConfig) -> None:
        self.usual_ns = _ns(config.time.lateness_s)
        self._by_tag: dict[str, int] = {}
        for device in config.devices:
            of_device = device.lateness_s
            for tag in device.tags:
                own_s = of_device if tag.lateness_s is None else tag.lateness_s
                if own_s is not None and _ns(own_s) != self.usual_ns:
                    self._by_tag[tag.id] = _ns(own_s)
        flagged = [
            (tag.id, tag.maintenance)
            for device in config.devices
            for tag in device.tags
            if tag.maintenance is not None
        ]
        # A flag may have a flag of its own; each round carries the wait one step further.
        for _ in flagged:
            for tag_id, flag in flagged:
                if self.of(tag_id) < self.of(flag):
                    self._by_tag[tag_id] = self.of(flag)

    def of(self, tag: str) -> int:
        """How long one tag waits [ns]."""
        return self._by_tag.get(tag, self.usual_ns)


@dataclass(frozen=True, slots=True)
class Reach:
    """Up to where one step accounts: ``until_ns`` for who waits ``usual_ns``.

    Nobody is accounted beyond ``settled_ns``: a device is still telling what happened after it.
    """

    until_ns: int
    usual_ns: int
    settled_ns: int | None = None

    def end_ns(self, wait_ns: int) -> int:
        """The whole minute [ns] up to which somebody with another patience is accounted."""
        end_ns = self.until_ns + self.usual_ns - wait_ns
        if self.settled_ns is not None and wait_ns < self.usual_ns:
            end_ns = min(end_ns, max(self.settled_ns, self.until_ns))
        return end_ns // MINUTE_NS * MINUTE_NS

    def span(self, wait_ns: int, done_ns: int, first_ns: int | None) -> Span | None:
        """What is to be accounted now; None where more was accounted already.

        Args:
            wait_ns: how long is waited.
            done_ns: the last moment that was accounted, -1 before the first.
            first_ns: the earliest that waits, if anything does.
        """
        end_ns = self.end_ns(wait_ns)
        start_ns = done_ns + 1
        if done_ns < 0:
            start_ns = min(end_ns, end_ns if first_ns is None else first_ns)
            start_ns = start_ns // MINUTE_NS * MINUTE_NS
        return Span(start_ns, end_ns) if start_ns <= end_ns else None


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)

"""What stands in every batch beside its rows: who made it, when, by which clocks, software and settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent import __version__
from edge_agent.clock_desk import ClockDesk
from edge_agent.readings import Columns, Event
from edge_agent.wire.batch import Batch
from edge_agent.wire.batch_rules import NS_PER_MS
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.log_head import LogHead


@dataclass(slots=True)
class BatchForm:
    """Fills in batches; ``source`` is (site, agent), ``log`` the newest head of the gateway's log."""

    source: tuple[str, str]
    boot: bytes
    config_sha256: bytes
    legal_sha256: bytes
    clocks: ClockDesk
    log: LogHead | None = None

    def batch(self, columns: Columns, events: Sequence[Event], head: ChainHead) -> Batch:
        """The batch with these rows and events behind the chain's head."""
        times = [*columns.time_ns, *(int(event["t"]) for event in events)]
        first_ns = min(times) // NS_PER_MS * NS_PER_MS
        last_ns = max(first_ns, *columns.time_ns[-1:], *times)
        site, agent = self.source
        return Batch(
            site=site,
            agent=agent,
            seq=head.seq + 1,
            prev=head.sha256,
            boot=self.boot,
            first_ns=first_ns,
            last_ns=last_ns,
            mono=(self.clocks.mono_at(first_ns), self.clocks.mono_at(last_ns)),
            clock=self.clocks.state(),
            config_sha256=self.config_sha256,
            software=f"edge-agent/{__version__}",
            columns=columns,
            events=tuple(events),
            legal_sha256=self.legal_sha256,
            log=(self.log.size, self.log.root) if self.log else None,
        )

"""States the log's size and root, signed, hourly and at each plant-day close.

A checkpoint made when a plant's day has ended carries the line ``day <site> <date> <first>-<last>``:
the tree of that day is the range of leaves since the checkpoint that closed the day before.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import NS_PER_S, to_local
from edge_agent.errors import KeyFileError
from edge_agent.wire import cbor, cose, notes
from edge_agent.wire.keys import Signer, create_signer, load_signer
from edge_agent.wire.notes import Head, NoteKey
from gateway.config import GatewayConfig
from gateway.ledger import Checkpoint
from gateway.ledger.reader import Reader

_MOST_DAYS = 31


def origin(config: GatewayConfig) -> str:
    """The log's name, first line of its checkpoints."""
    return f"carbon-log/{config.log.installation}"


def log_signer(config: GatewayConfig) -> Signer:
    """The log's key, which differs from the ack key; made on first use when none is configured.

    Raises:
        KeyFileError: the file is unsafe or unreadable, or configured and not there.
    """
    path = config.log_key_path
    if config.keys.log is None and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(KeyFileError):  # another process was faster
            return create_signer(path)
    return load_signer(path)


@dataclass(slots=True)
class Checkpointer:
    """Decides when a checkpoint is due, and makes it; used by the ledger's thread."""

    ledger: Reader
    signer: Signer
    origin: str
    every_s: int
    _zones: dict[bytes, ZoneInfo | None] = field(default_factory=dict)

    @property
    def key(self) -> NoteKey:
        """The log's key as verifiers know it."""
        return notes.note_key(self.origin, self.signer.public_spki())

    def tick(self, now_ns: int) -> Checkpoint | None:
        """Make a checkpoint when one is due at this time."""
        tree = self.ledger.tree
        size, last = tree.size(), tree.checkpoint()
        if not size or (last is not None and last.size == size):
            return None
        days = self._closed_days(last, now_ns)
        is_hour = last is None or (
            now_ns // NS_PER_S // self.every_s > last.at_ns // NS_PER_S // self.every_s
        )
        return self._make(size, now_ns, days) if is_hour or days else None

    def now(self, now_ns: int) -> Checkpoint | None:
        """A checkpoint over everything there is; None for an empty ledger."""
        tree = self.ledger.tree
        size, last = tree.size(), tree.checkpoint()
        if not size or (last is not None and last.size == size):
            return last
        return self._make(size, now_ns, self._closed_days(last, now_ns))

    def _make(self, size: int, now_ns: int, days: Mapping[str, list[date]]) -> Checkpoint:
        tree = self.ledger.tree
        root = tree.root(size)
        lines = [
            f"day {site} {day.isoformat()} {self._day_start(site)}-{size - 1}"
            for site, closed in days.items()
            for day in closed
        ]
        head = Head(self.origin, size, root, tuple(lines))
        note = notes.sign_checkpoint(head, self.signer)
        made = Checkpoint(size, root, now_ns, note, self.key.public)
        tree.add_checkpoint(made)
        return made

    def _day_start(self, site: str) -> int:
        """First leaf behind the checkpoint that closed the site's day before."""
        for made in reversed(self.ledger.tree.checkpoints()):
            head, _ = notes.parse(made.note)
            if any(line.startswith(f"day {site} ") for line in head.extension):
                return made.size
        return 0

    def _closed_days(self, last: Checkpoint | None, now_ns: int) -> dict[str, list[date]]:
        """Plant days of each site that ended since the last checkpoint."""
        if last is None:
            return {}
        closed: dict[str, list[date]] = {}
        for site in self.ledger.sites():
            zone = self._zone(site)
            if zone is None:
                continue
            day, today = to_local(last.at_ns, zone).date(), to_local(now_ns, zone).date()
            count = min((today - day).days, _MOST_DAYS)
            if count > 0:
                closed[site] = [today - timedelta(days=back) for back in range(count, 0, -1)]
        return closed

    def _zone(self, site: str) -> ZoneInfo | None:
        """Plant local time by the newest configuration of the site's first agent."""
        for agent in self.ledger.agents(site):
            for digest in reversed(self.ledger.config_digests(site, agent)):
                if digest not in self._zones:
                    raw = self.ledger.config(site, agent, digest)
                    plain = cbor.decode(cose.parse(raw).payload) if raw else {}
                    self._zones[digest] = _zone_of(plain)
                if (zone := self._zones[digest]) is not None:
                    return zone
        return None


def _zone_of(plain: object) -> ZoneInfo | None:
    name = plain.get("timezone") if isinstance(plain, dict) else None
    try:
        return ZoneInfo(name) if isinstance(name, str) else None
    except (KeyError, ValueError):
        return None


def of_config(ledger: Reader, config: GatewayConfig) -> Checkpointer:
    """Makes checkpoints of a ledger as configured."""
    return Checkpointer(ledger, log_signer(config), origin(config), config.log.checkpoint_s)

"""States the log's size and root, signed, hourly and at each plant-day close.

A checkpoint made when a plant's day has ended carries the line ``day <site> <date> <first>-<last>``,
and a signed record of the day follows it in the log (``day_closing``).
"""

import contextlib
from dataclasses import dataclass

from edge_agent.calc.windows import NS_PER_S
from edge_agent.errors import KeyFileError
from edge_agent.wire import notes
from edge_agent.wire.keys import Signer, create_signer, load_signer
from edge_agent.wire.notes import Head, NoteKey
from gateway.config import GatewayConfig
from gateway.day_closing import DayCloser
from gateway.ledger import Checkpoint, Ledger


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
    """Decides when a checkpoint is due, and makes it; used by the ledger's thread.

    With ``days`` it closes plant days as well.
    """

    ledger: Ledger
    signer: Signer
    origin: str
    every_s: int
    days: DayCloser | None = None

    @property
    def key(self) -> NoteKey:
        """The log's key as verifiers know it."""
        return notes.note_key(self.origin, self.signer.public_spki())

    def tick(self, now_ns: int) -> Checkpoint | None:
        """Close the days that are over, and make a checkpoint when one is due at this time."""
        closed = self.close_days(now_ns)
        if closed is not None:
            return closed
        tree = self.ledger.tree
        size, last = tree.size(), tree.checkpoint()
        if not size or (last is not None and last.size == size):
            return None
        is_hour = last is None or (
            now_ns // NS_PER_S // self.every_s > last.at_ns // NS_PER_S // self.every_s
        )
        return self._make(size, now_ns) if is_hour else None

    def now(self, now_ns: int) -> Checkpoint | None:
        """Close the days that are over; a checkpoint over everything. None for an empty ledger."""
        self.close_days(now_ns)
        tree = self.ledger.tree
        size, last = tree.size(), tree.checkpoint()
        if not size or (last is not None and last.size == size):
            return last
        return self._make(size, now_ns)

    def close_days(self, now_ns: int) -> Checkpoint | None:
        """Close the plant days that are over; gives the checkpoint that covers them.

        Checkpoint and records are one transaction, begun before it is looked what is due: whoever
        is killed in between, or comes second, leaves no day half closed and closes none twice.
        """
        days = self.days
        if days is None or not days.may_be_due(now_ns) or not days.due(now_ns):
            return None
        with self.ledger.transaction():
            due, tree = days.due(now_ns), self.ledger.tree
            if not due:
                return None
            size, made = tree.size(), tree.checkpoint()
            if made is None or made.size < size:
                made = self._make(size, now_ns, tuple(one.note_line for one in due))
            days.add(due, (made.size, made.root))
        return made

    def _make(self, size: int, now_ns: int, lines: tuple[str, ...] = ()) -> Checkpoint:
        tree = self.ledger.tree
        root = tree.root(size)
        note = notes.sign_checkpoint(Head(self.origin, size, root, lines), self.signer)
        made = Checkpoint(size, root, now_ns, note, self.key.public)
        tree.add_checkpoint(made)
        return made


def of_config(ledger: Ledger, config: GatewayConfig) -> Checkpointer:
    """Makes checkpoints and closes days of a ledger as configured.

    Raises:
        KeyFileError: a key file is unsafe or unreadable.
    """
    days = DayCloser(ledger, load_signer(config.keys.ack), config.future_after_s)
    return Checkpointer(ledger, log_signer(config), origin(config), config.log.checkpoint_s, days)


def log_key(config: GatewayConfig) -> NoteKey:
    """The log's key as verifiers know it.

    Raises:
        KeyFileError: as ``log_signer``.
    """
    return notes.note_key(origin(config), log_signer(config).public_spki())

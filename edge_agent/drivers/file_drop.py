"""Table files dropped into a folder (weighbridges, laboratory systems): the driver.

1. A file is taken when it is complete, once for its name and content.
2. Its readings are delivered first. When they are durable in the agent's outbox, and not before
   ``hold_s``, the file is recorded as taken, and moved after that. A crash before the record reads the
   file again and gives the same readings; equal tag and time make them harmless. A crash after it
   only moves.
3. What cannot be taken is put into ``rejected`` with a text that says why; rows that cannot be taken
   stand there in a table with line and reason.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Self

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import Reading
from edge_agent.drivers.file_drop_folder import DONE, REJECTED, Folder, Seen, Taken
from edge_agent.drivers.file_drop_rows import FileDropConfig, Table, read
from edge_agent.errors import BadAnswer

_CHUNK = 1_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Delivered:
    """A file whose readings were delivered, not recorded yet; ``last`` is its last delivery."""

    taken: Taken
    seen: Seen
    facts: dict[str, object]
    at_ns: int
    last: int


class FileDropDriver:
    """One folder."""

    def __init__(self, config: FileDropConfig, clock: Clock) -> None:
        """Take the configuration; nothing is touched yet."""
        self._config = config
        self._clock = clock
        self._folder = Folder(config)
        self._waiting: dict[str, tuple[Seen, int]] = {}  # name: how it looks, since when
        self._delivered: dict[str, _Delivered] = {}
        self._only_looks = False
        self._count = self._kept = 0

    def peek(self) -> None:
        """Leave every file where it is, and record nothing."""
        self._only_looks = True

    def marks(self) -> Sequence[bytes]:
        """Nobody waits for a file to be put away, and the record knows it."""
        return ()

    def remember(self, marks: Sequence[bytes]) -> None:
        """The record remembers."""

    def kept(self, deliveries: int) -> None:
        """So many deliveries are durable."""
        self._kept = deliveries

    async def __aenter__(self) -> Self:
        """Check the folder and read the record. Raises NoAnswer."""
        self._waiting.clear()
        self._delivered.clear()
        await asyncio.to_thread(self._folder.open, only_looks=self._only_looks)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Forget what was not recorded: it is read again (rule 2)."""
        self._delivered.clear()

    async def samples(self) -> AsyncGenerator[Sequence[Reading], None]:
        """The readings of one complete file after the other, in the order of their names.

        Raises NoAnswer when the folder is gone or cannot be written.
        """
        while True:
            if not self._only_looks:
                await self._settle_accounts()
            for name, seen in await self._complete():
                loaded = await asyncio.to_thread(self._load, name, seen)
                if loaded is None:
                    continue
                taken, table = loaded
                for start in range(0, len(table.samples), _CHUNK):
                    self._count += 1
                    yield table.samples[start : start + _CHUNK]
                facts: dict[str, object] = {"rows": table.rows, "rejected": len(table.rejected)}
                facts["time_ns"] = self._clock.utc_ns()
                now_ns = self._clock.monotonic_ns()
                self._delivered[name] = _Delivered(taken, seen, facts, now_ns, self._count)
            await self._clock.sleep(self._config.scan_s)

    async def _complete(self) -> list[tuple[str, Seen]]:
        """The files that are complete and not delivered yet."""
        found = await asyncio.to_thread(self._folder.candidates)
        now_ns = self._clock.monotonic_ns()
        is_patient = self._config.ready == "settled" and not self._only_looks
        since: dict[str, tuple[Seen, int]] = {}
        complete: list[tuple[str, Seen]] = []
        for name, seen in found.items():
            before, at_ns = self._waiting.get(name, (seen, now_ns))
            since[name] = (seen, at_ns if before == seen else now_ns)
            delivered = self._delivered.get(name)
            if delivered is not None and delivered.seen == seen:
                continue
            age_ns = now_ns - since[name][1]
            if not is_patient or age_ns >= self._config.settle_s * NS_PER_S:
                complete.append((name, seen))
        self._waiting = since
        return complete

    def _load(self, name: str, seen: Seen) -> tuple[Taken, Table] | None:
        """Read one file, in a thread; None when there is nothing to deliver of it."""
        try:
            taken = self._folder.take(name, seen)
        except BadAnswer as error:
            digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
            self._refuse(Taken(name, digest, b""), seen, str(error))
            return None
        if taken is None:
            return None
        if self._folder.is_known(taken):
            if not self._only_looks:
                self._folder.move(name, seen, taken.place, DONE)
            return None
        try:
            table = read(taken.raw, self._config, self._clock.utc_ns())
        except BadAnswer as error:
            self._refuse(taken, seen, str(error))
            return None
        if table.rejected and self._only_looks:
            first = table.rejected[0]
            raise BadAnswer(f"{name}:{first.line}: {first.reason}")
        if table.rejected:
            self._folder.reject(taken, table.rejected)
            self._warn("file_rows_rejected", name, f"{len(table.rejected)} of {table.rows} rows")
        return Taken(name, taken.sha256, b""), table

    def _refuse(self, taken: Taken, seen: Seen, why: str) -> None:
        if self._only_looks:
            raise BadAnswer(f"{taken.name}: {why}")
        self._folder.explain(taken.place, why)
        self._folder.move(taken.name, seen, taken.place, REJECTED)
        self._warn("file_refused", taken.name, why)

    async def _settle_accounts(self) -> None:
        """Rule 2: record and put away what is durable."""
        now_ns = self._clock.monotonic_ns()
        for name, delivered in list(self._delivered.items()):
            age_ns = now_ns - delivered.at_ns
            if delivered.last <= self._kept and age_ns >= self._config.hold_s * NS_PER_S:
                await asyncio.to_thread(self._put_away, delivered)
                del self._delivered[name]

    def _put_away(self, delivered: _Delivered) -> None:
        taken = delivered.taken
        if not self._folder.is_known(taken):
            self._folder.record(taken, delivered.facts)
        self._folder.move(taken.name, delivered.seen, taken.place, DONE)

    def _warn(self, event: str, name: str, why: str) -> None:
        _log.warning("%s %s", event, {"device": self._config.id, "file": name, "why": why})

"""Keeps the log's promises while the gateway runs: checkpoints in time, witnesses asked.

Whatever touches the ledger runs in the ledger's thread; witnesses are asked beside it, and one
that is silent or refuses delays nothing but its own cosignature.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from edge_agent.clock import Clock
from edge_agent.errors import CarbonError, StoreError
from edge_agent.wire import notes
from gateway.checkpoints import Checkpointer
from gateway.ingest.foreseen import foreseen
from gateway.ingest.journal import Journal
from gateway.ledger import Checkpoint
from gateway.witness_http import WitnessClient

_LOOK_S = 5.0


@dataclass(slots=True)
class LogKeeper:
    """Makes checkpoints when they are due and has them cosigned; ``told`` hears of each."""

    checkpointer: Checkpointer
    witnesses: list[WitnessClient]
    executor: Executor
    clock: Clock
    told: Callable[[], None]
    _stands: dict[str, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Look for due checkpoints until cancelled."""
        journal = Journal(__name__, self.clock)
        loop = asyncio.get_running_loop()
        while True:
            try:
                made = await loop.run_in_executor(self.executor, self._tick)
                if made is not None:
                    journal.event(logging.INFO, "checkpoint", size=made.size, root=made.root.hex())
                    self.told()
                days = self.checkpointer.days
                if days is not None and days.problem:
                    journal.limited(logging.ERROR, "days_not_closed", "", problem=days.problem)
                await self.witness(journal)
            except StoreError as error:
                journal.event(logging.ERROR, "checkpoint_failed", error=error)
            await self.clock.sleep(min(_LOOK_S, self.checkpointer.every_s / 2))

    async def witness(self, journal: Journal) -> None:
        """Ask every witness that has not cosigned the newest checkpoint yet.

        Raises:
            StoreError: the ledger cannot be read now.
        """
        if not self.witnesses:
            return
        loop = asyncio.get_running_loop()
        tree = self.checkpointer.ledger.tree
        newest = await loop.run_in_executor(self.executor, tree.checkpoint)
        for client in self.witnesses:
            name = client.key.name
            if newest is None or self._stands.get(name) == newest.size:
                continue
            try:
                line = await foreseen(self._ask(client, newest))
                await loop.run_in_executor(self.executor, self._keep, newest.size, name, line)
                self._stands[name] = newest.size
            except CarbonError as error:
                journal.limited(logging.WARNING, "not_witnessed", name, error=error)

    async def _ask(self, client: WitnessClient, made: Checkpoint) -> str:
        head, _ = notes.parse(made.note)
        loop = asyncio.get_running_loop()

        def prove(old: int) -> tuple[bytes, ...]:
            future = asyncio.run_coroutine_threadsafe(self._prove(old, made.size), loop)
            return future.result(client.timeout_s)

        stands = self._stands.get(client.key.name, 0)
        line, _ = await asyncio.to_thread(client.cosign, made.note, head, prove, stands)
        return line

    async def _prove(self, old: int, new: int) -> tuple[bytes, ...]:
        if not 0 < old <= new:
            return ()
        tree = self.checkpointer.ledger.tree
        loop = asyncio.get_running_loop()
        return tuple(await loop.run_in_executor(self.executor, tree.consistency, old, new))

    def _tick(self) -> Checkpoint | None:
        return self.checkpointer.tick(self.clock.utc_ns())

    def _keep(self, size: int, name: str, line: str) -> None:
        self.checkpointer.ledger.tree.add_cosignature(size, name, line)

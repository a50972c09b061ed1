"""Has checkpoints stamped by outside authorities while the gateway runs.

Authorities are asked beside everything else, each by a task of its own: one that is away, or
answers anything at all, delays nothing but its own token, and is asked again at growing distances.
"""

import asyncio
import logging
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from edge_agent.clock import Clock
from edge_agent.errors import CarbonError
from gateway.ingest.foreseen import foreseen
from gateway.ingest.journal import Journal
from gateway.stamps import Stamper
from gateway.timestamp_http import TimestampClient

_LOOK_S = 5.0
_FIRST_DELAY_S, _LAST_DELAY_S = 10.0, 3_600.0


@dataclass(slots=True)
class Stamping:
    """Asks for tokens when they are due; what touches the ledger runs in the ledger's thread."""

    stamper: Stamper
    executor: Executor
    clock: Clock

    async def run(self) -> None:
        """Until cancelled; at once when no authority is configured."""
        async with asyncio.TaskGroup() as tasks:
            for client in self.stamper.clients:
                name = f"timestamps of {client.authority.name}"
                tasks.create_task(self._follow(client), name=name)

    async def _follow(self, client: TimestampClient) -> None:
        journal, delay_s = Journal(__name__, self.clock), _FIRST_DELAY_S
        name = client.authority.name
        while True:
            try:
                await foreseen(self._once(client, journal))
            except CarbonError as error:
                journal.event(
                    logging.WARNING, "not_stamped", authority=name, error=error, retry_s=delay_s
                )
                await self.clock.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_DELAY_S)
            else:
                delay_s = _FIRST_DELAY_S
                await self.clock.sleep(_LOOK_S)

    async def _once(self, client: TimestampClient, journal: Journal) -> None:
        loop, name = asyncio.get_running_loop(), client.authority.name
        now_ns = self.clock.utc_ns()
        made = await loop.run_in_executor(self.executor, self.stamper.due, name, now_ns)
        if made is None:
            return
        stamp, token = await asyncio.to_thread(self.stamper.fetch, client, made)
        stamp = replace(stamp, at_ns=self.clock.utc_ns())
        await loop.run_in_executor(self.executor, self.stamper.keep, stamp)
        journal.event(
            logging.INFO, "stamped", authority=name, size=made.size, before=token.before.isoformat()
        )

"""OPC UA, polled: the driver for servers that offer no subscriptions, or not to us.

1. A node that is missing is one BAD_DEVICE sample a poll, never an abort.
2. A source time that was delivered before says that the value has not changed since, not that it
   is old: the repeat is stamped with the server's time of the answer, or with that of receipt.
"""

import dataclasses
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Self

from asyncua import ua

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import Reading
from edge_agent.drivers.opcua.client import translated
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.connection import Connection, patience_s, within
from edge_agent.drivers.opcua.history import read_history
from edge_agent.drivers.opcua.nodebook import Nodebook, is_gone
from edge_agent.drivers.opcua.reading import Portions, read_values
from edge_agent.drivers.opcua.values import Reader, time_of
from edge_agent.errors import NoAnswer
from edge_agent.readings import BAD_DEVICE, Sample


class OpcUaPoller:
    """One server that is asked for all due tags at once."""

    def __init__(self, config: OpcUaConfig, clock: Clock) -> None:
        """Take the configuration; nothing is opened yet."""
        self._config = config
        self._clock = clock
        self._reader = Reader(config.tags, trusts_source=config.trust_source_time)
        self._tags = {tag.id: tag for tag in config.tags}
        self._book = Nodebook(config)
        self._portions = Portions()
        self._connection: Connection | None = None
        self._lost: Exception | None = None
        self._newest: dict[str, int] = {}
        self._resolved_ns = 0
        self._heard_ns = 0

    async def __aenter__(self) -> Self:
        """Connect and resolve the nodes; raises NoAnswer, BadAnswer or Refused."""
        self._book.forget()
        self._lost = None
        self._connection = connection = Connection(self._config, self._note)
        try:
            await connection.open(self._resolve)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Throw the client away."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def read(self, due: Collection[str] | None = None) -> Sequence[Reading]:
        """One poll of the due tags, of all without ``due``; raises DeviceError when it fails."""
        if self._lost is not None:
            raise self._lost
        connection = self._opened()
        async with translated(self._config.url):
            return await within(
                patience_s(self._config), self._read(connection, due), self._config.url
            )

    @property
    def heard_ns(self) -> int:
        """UTC [ns] of the newest answer."""
        return self._heard_ns

    async def history(
        self, starts_ns: Mapping[str, int], end_ns: int
    ) -> AsyncGenerator[Sequence[Reading], None]:
        """What the server recorded of each tag from its start on; see ``HistoryReader``."""
        config = self._config
        if config.history is None:
            return
        nodes = {tag: node for tag, node in self._book.nodes.items() if tag in starts_ns}
        client = self._opened().client
        reader = Reader(config.tags, trusts_source=True)
        async with translated(config.url):
            pages = read_history(client, nodes, starts_ns, end_ns, config.history.page)
            async for tag, answers in pages:
                now_ns = self._clock.utc_ns()
                readings = [reader.read(self._tags[tag], answer, now_ns) for answer in answers]
                yield [reading for reading in readings if reading is not None]

    def _note(self, error: Exception) -> None:
        self._lost = self._lost or error

    def _opened(self) -> Connection:
        if self._connection is None:
            raise NoAnswer(f"{self._config.url}: not connected")
        return self._connection

    async def _resolve(self) -> None:
        found = await self._book.resolve(self._opened().client)
        self._book.find(found)
        self._resolved_ns = self._clock.monotonic_ns()
        self._heard_ns = self._clock.utc_ns()

    async def _read(self, connection: Connection, due: Collection[str] | None) -> Sequence[Reading]:
        age_ns = self._clock.monotonic_ns() - self._resolved_ns
        if self._book.missing and age_ns >= self._config.retry_s * NS_PER_S:
            await self._resolve()
        wanted = {tag: node for tag, node in self._book.nodes.items() if due is None or tag in due}
        answers = await read_values(connection.client, wanted, self._portions)
        now_ns = self._heard_ns = self._clock.utc_ns()
        readings = [
            Sample(tag, now_ns, None, BAD_DEVICE)
            for tag in self._book.missing
            if due is None or tag in due
        ]
        found = [self._reading(tag, answer, now_ns) for tag, answer in answers.items()]
        return [*readings, *(reading for reading in found if reading is not None)]

    def _reading(self, tag_id: str, answer: ua.DataValue, now_ns: int) -> Reading | None:
        tag = self._tags[tag_id]
        if is_gone(answer.StatusCode):
            self._book.lose(tag, "the server has it no more")
            return Sample(tag_id, now_ns, None, BAD_DEVICE)
        reading = self._reader.read(tag, answer, now_ns)
        if not isinstance(reading, Sample) or reading.value is None:
            return reading
        if reading.time_ns > self._newest.get(tag_id, -1):
            self._newest[tag_id] = reading.time_ns
            return reading
        again_ns = time_of(answer.ServerTimestamp) if self._config.trust_source_time else None
        is_new = again_ns is not None and again_ns > self._newest[tag_id]
        self._newest[tag_id] = time_ns = again_ns if is_new and again_ns is not None else now_ns
        return dataclasses.replace(reading, time_ns=time_ns)

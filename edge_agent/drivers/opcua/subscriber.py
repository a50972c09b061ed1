"""OPC UA, subscribed: the driver.

1. A node that is missing or cannot be monitored is one BAD_DEVICE sample, never an abort; it is
   looked for again every ``retry_s``.
2. Life is judged by what arrives: the server is asked for keep-alives, and when neither values nor
   keep-alives come for ``stale_s`` the connection counts as lost.
3. A tag that is silent for ``stale_s`` is read once: a value that the subscription should have
   reported, twice in a row, ends the connection (``audit``).
4. What arrives waits in a bounded queue; when it is full the oldest goes and is counted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self

from asyncua import ua
from asyncua.common.subscription import DataChangeEvent, StatusChangeEvent, SubEvent, Subscription

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import Reading
from edge_agent.drivers.opcua.audit import Audit
from edge_agent.drivers.opcua.client import BoundedClient, translated
from edge_agent.drivers.opcua.config import OpcUaConfig, OpcUaTag
from edge_agent.drivers.opcua.connection import Connection, within
from edge_agent.drivers.opcua.history import read_history
from edge_agent.drivers.opcua.nodebook import Nodebook, is_gone
from edge_agent.drivers.opcua.reading import Monitor, Portions, read_values
from edge_agent.drivers.opcua.values import Reader
from edge_agent.errors import NoAnswer
from edge_agent.readings import BAD_DEVICE, Sample

QUEUE_LIMIT = 10_000
_MOST_QUEUED = 200_000
_QUEUED_A_TAG = 300  # five minutes at one value a second, while history is told
_NOTIFICATIONS = 10_000
_OVERFLOW_BITS = 0x0480  # info type "data value" with the overflow bit
_CONFIRMED = 5.0  # leaving one item must not take as long as connecting
_log = logging.getLogger(__name__)


class OpcUaSubscriber:
    """One server, subscribed to all tags at once."""

    def __init__(self, config: OpcUaConfig, clock: Clock) -> None:
        """Take the configuration; nothing is opened yet."""
        self._config = config
        self._clock = clock
        self._reader = Reader(config.tags, trusts_source=config.trust_source_time)
        self._book = Nodebook(config)
        self._portions = Portions()
        self._limit = max(QUEUE_LIMIT, min(_MOST_QUEUED, _QUEUED_A_TAG * len(config.tags)))
        self._queue: deque[Reading] = deque()
        self._arrived = asyncio.Event()
        self._failure: BaseException | None = None
        self._connection: Connection | None = None
        self._monitor: Monitor | None = None
        self._audit = Audit()
        self._tasks: list[asyncio.Task[None]] = []
        self._published_ns = self._taken_ns = 0
        self.dropped = 0

    async def __aenter__(self) -> Self:
        """Connect, resolve the nodes and subscribe to them.

        Raises NoAnswer, BadAnswer, or Refused when the server does not let us in.
        """
        self._queue.clear()
        self._arrived.clear()
        self._failure = None
        self._book.forget()
        self._audit = Audit()
        self._connection = connection = Connection(self._config, self._fail)
        try:
            await connection.open(lambda: self._subscribe(connection.client))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop listening and throw the client away."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._monitor = None
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def samples(self) -> AsyncGenerator[Sequence[Reading], None]:
        """All that arrived since the last step, as soon as it arrives.

        Raises NoAnswer when the connection is lost or stale, or reports no changes.
        """
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            self._taken_ns = self._published_ns
            if self._queue:
                readings = list(self._queue)
                self._queue.clear()
                yield readings
            if self._failure is not None:
                raise self._failure

    @property
    def heard_ns(self) -> int:
        """UTC [ns] of the newest publication whose values, if any, were handed over."""
        return self._taken_ns if self._queue else self._published_ns

    async def history(
        self, starts_ns: Mapping[str, int], end_ns: int
    ) -> AsyncGenerator[Sequence[Reading], None]:
        """What the server recorded of each tag from its start on; see ``HistoryReader``."""
        config, connection = self._config, self._connection
        if config.history is None or connection is None:
            return
        nodes = {tag: node for tag, node in self._book.nodes.items() if tag in starts_ns}
        reader = Reader(config.tags, trusts_source=True)
        by_id = {tag.id: tag for tag in config.tags}
        pages = read_history(connection.client, nodes, starts_ns, end_ns, config.history.page)
        async with translated(config.url):
            async for tag, answers in pages:
                now_ns = self._clock.utc_ns()
                readings = [reader.read(by_id[tag], answer, now_ns) for answer in answers]
                yield [reading for reading in readings if reading is not None]

    async def _subscribe(self, client: BoundedClient) -> None:
        config = self._config
        keep_alives = max(1, int(config.stale_s * 1000 / 3 / config.publishing_ms))
        subscription = Subscription(
            client.uaclient.session,
            ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=config.publishing_ms,
                RequestedLifetimeCount=10 * keep_alives,
                RequestedMaxKeepAliveCount=keep_alives,
                MaxNotificationsPerPublish=_NOTIFICATIONS,
                PublishingEnabled=True,
            ),
            queue_maxsize=0,  # emptied at once by _pump; the bounded queue is ours
        )
        revised = await subscription.init()
        self._published_ns = self._taken_ns = self._clock.utc_ns()
        self._monitor = Monitor(config, subscription, self._portions)
        await self._find(client, self._monitor)
        self._put(self._book.bad(self._clock.utc_ns()))
        keep_alive_s = revised.RevisedMaxKeepAliveCount * revised.RevisedPublishingInterval / 1000
        self._start(self._pump(subscription), "pump")
        self._start(self._watch(subscription, max(config.stale_s, 3 * keep_alive_s)), "watch")
        self._start(self._repair(client, self._monitor), "repair")
        self._start(self._check(client), "audit")

    async def _find(self, client: BoundedClient, monitor: Monitor) -> None:
        """Monitor the tags that have a node and were not monitored yet."""
        tags = await self._book.resolve(client)
        refused = await monitor.add(tags, self._book.nodes)
        for tag in tags:
            if tag.id in refused:
                self._book.lose(tag, refused[tag.id].name)
        self._book.find(tag for tag in tags if tag.id not in refused)

    async def _repair(self, client: BoundedClient, monitor: Monitor) -> None:
        """Rule 1."""
        while True:
            await self._clock.sleep(self._config.retry_s)
            if self._book.missing:
                async with translated(self._config.url):
                    await self._find(client, monitor)

    async def _check(self, client: BoundedClient) -> None:
        """Rule 3; ends by raising."""
        tags = {tag.id: tag for tag in self._config.tags}
        while True:
            await self._clock.sleep(self._audit_s())
            due = self._audit.due(self._book.nodes)
            async with translated(self._config.url):
                answers = await read_values(client, due, self._portions)
            for tag_id, answer in answers.items():
                if is_gone(answer.StatusCode):
                    await self._vanished(tags[tag_id])
                elif tag_id in self._book.nodes and self._audit.unreported(tags[tag_id], answer):
                    message = f"{self._config.url}: changes of {tag_id} are not reported any more"
                    raise NoAnswer(message)

    def _audit_s(self) -> float:
        """Long enough for the slowest tag to be sampled and published twice."""
        config = self._config
        slowest_ms = max(tag.sampling_ms or 0.0 for tag in config.tags)
        return max(
            config.stale_s, 2e-3 * (max(slowest_ms, config.sampling_ms) + config.publishing_ms)
        )

    async def _vanished(self, tag: OpcUaTag) -> None:
        """The server has the node no more: say so, and look for it again (rule 1)."""
        if tag.id in self._book.missing:
            return
        self._book.lose(tag, "the server has it no more")
        self._put([Sample(tag.id, self._clock.utc_ns(), None, BAD_DEVICE)])
        if self._monitor is not None:
            async with translated(self._config.url):
                await within(_CONFIRMED, self._monitor.drop(tag), self._config.url)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"opcua-{name}:{self._config.id}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._fail(task.exception() or NoAnswer(f"{self._config.url}: the subscription ended"))

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._arrived.set()

    async def _pump(self, subscription: Subscription) -> None:
        """Turn events into readings at once; the only reader of the library's queue."""
        async for event in subscription:
            await self._take(event)

    async def _take(self, event: SubEvent) -> None:
        if isinstance(event, StatusChangeEvent):
            self._fail(NoAnswer(f"{self._config.url}: {event.notification.Status.name}"))
        elif isinstance(event, DataChangeEvent) and self._monitor is not None:
            answer = event.data.monitored_item.Value
            tag = self._monitor.tags.get(event.data.subscription_data.client_handle or 0)
            if tag is None:
                return
            self._count_overflow(answer.StatusCode)
            self._audit.heard(tag.id, answer)
            if is_gone(answer.StatusCode):
                await self._vanished(tag)
                return
            reading = self._reader.read(tag, answer, self._clock.utc_ns())
            self._put([] if reading is None else [reading])

    def _count_overflow(self, status: ua.StatusCode | None) -> None:
        if status is not None and status.value & _OVERFLOW_BITS == _OVERFLOW_BITS:
            self._count_dropped("the server's queue of a variable overflowed")

    def _put(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            if len(self._queue) >= self._limit:
                self._queue.popleft()
                self._count_dropped("the readings were not taken fast enough")
            self._queue.append(reading)
        if self._queue:
            self._arrived.set()

    def _count_dropped(self, why: str) -> None:
        if not self.dropped:
            _log.error("readings_dropped %s", {"device": self._config.id, "why": why})
        self.dropped += 1

    async def _watch(self, subscription: Subscription, limit_s: float) -> None:
        """Rule 2; ends by raising."""
        newest, changed_ns = subscription.last_publish_at, self._clock.monotonic_ns()
        step_s = min(limit_s / 8, 1.0)
        while True:
            await self._clock.sleep(step_s)
            now_ns = self._clock.monotonic_ns()
            if subscription.last_publish_at != newest:
                newest, changed_ns = subscription.last_publish_at, now_ns
                self._published_ns = self._clock.utc_ns() - round(step_s * NS_PER_S)
            elif now_ns - changed_ns >= limit_s * NS_PER_S:
                raise NoAnswer(f"{self._config.url}: nothing heard for {limit_s:g} s")

"""OPC UA, subscribed: configuration and driver.

1. Every connection is a new client; the library's own repair is not used. Whatever breaks, the
   driver raises and the supervisor enters it again.
2. ``nsu=`` names are resolved against the namespace array of this connection: indexes may change
   with every start of the server.
3. A node that is missing or cannot be monitored is one BAD_DEVICE sample, never an abort.
4. Life is judged by what arrives: the server is asked for keep-alives, and when neither values nor
   keep-alives come for ``stale_s`` the connection counts as lost.
5. A scalar that a new subscription repeats keeps its old source time; an array is not repeated.
"""

import asyncio
import contextlib
import logging
import math
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.subscription import DataChangeEvent, StatusChangeEvent, SubEvent, Subscription
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from pydantic import Field, field_validator

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import (
    UNCERTAIN_CLOCK,
    DeviceConfig,
    Reading,
    Scaler,
    Seconds,
    Tag,
    is_plausible_time,
)
from edge_agent.errors import DeviceError, NoAnswer, Refused
from edge_agent.readings import BAD_DEVICE, GOOD, Quality, Sample, Severity, Waveform

MAX_ARRAY = 86_400
QUEUE_LIMIT = 10_000
_ITEMS_PER_CALL = 500
_OVERFLOW_BITS = 0x0480  # info type "data value" with the overflow bit
_UNCERTAIN = Quality.of(Severity.UNCERTAIN)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NODE = re.compile(r"(?:nsu=(?P<uri>.+?);)?(?P<rest>(?:ns=\d+;)?[isgb]=.+)", re.DOTALL)
_INTEGERS = frozenset(ua.VariantType(code) for code in range(1, 10))  # Boolean to UInt64
_NUMBERS = _INTEGERS | {ua.VariantType.Float, ua.VariantType.Double}
_log = logging.getLogger(__name__)


class OpcUaTag(Tag):
    """One variable; with ``period_s`` its value is an array of values that far apart [s]."""

    node: str
    period_s: Seconds | None = None

    @field_validator("node")
    @classmethod
    def _parses(cls, text: str) -> str:
        _node_id(text, None)
        return text


class OpcUaConfig(DeviceConfig):
    """One OPC UA server.

    Args:
        publishing_ms: how often the server sends what it collected [ms].
        sampling_ms: how often it looks at its variables, 0 for as fast as it can [ms].
        queue_size: values the server keeps per variable between two publications.
        timeout_s: longest wait for one answer, and for all of connecting twice that [s].
        trust_source_time: take the server's source timestamps instead of the time of receipt.
    """

    driver: Literal["opcua"]
    url: Annotated[str, Field(pattern=r"^opc\.tcp://.+")]
    publishing_ms: float = Field(default=100, gt=0, le=3_600_000, allow_inf_nan=False)
    sampling_ms: float = Field(default=0, ge=0, le=3_600_000, allow_inf_nan=False)
    queue_size: int = Field(default=100, ge=1, le=1_000_000)
    timeout_s: Seconds = 4.0
    trust_source_time: bool = True
    tags: tuple[OpcUaTag, ...]


class OpcUaDriver:
    """One server, subscribed to all tags at once."""

    def __init__(self, config: OpcUaConfig, clock: Clock) -> None:
        """Take the configuration; nothing is opened yet."""
        self._config = config
        self._clock = clock
        self._reader = _Reader(config)
        self._queue: deque[Reading] = deque()
        self._arrived = asyncio.Event()
        self._failure: BaseException | None = None
        self._client: Client | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._tags: dict[ua.NodeId, list[OpcUaTag]] = {}
        self.dropped = 0

    async def __aenter__(self) -> Self:
        """Connect, resolve the nodes and subscribe to them.

        Raises NoAnswer, or Refused when the server does not let us in.
        """
        self._queue.clear()
        self._arrived.clear()
        self._failure = None
        timeout_s = self._config.timeout_s
        client = Client(self._config.url, timeout=timeout_s, watchdog_intervall=timeout_s)
        client.connection_lost_callback = self._connection_lost
        self._client = client
        try:
            async with _translated(self._config.url), asyncio.timeout(2 * timeout_s):
                await client.connect()
                await self._subscribe(client)
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
        client, self._client = self._client, None
        if client is None:
            return
        # In a task of its own: the library may swallow a cancellation that is meant for us.
        leaving = asyncio.create_task(client.disconnect(), name=f"opcua-leave:{self._config.id}")
        try:
            await asyncio.wait({leaving}, timeout=self._config.timeout_s)
        finally:
            leaving.cancel()
            leaving.add_done_callback(_forget_result)
            client.disconnect_socket()

    async def samples(self) -> AsyncGenerator[Sequence[Reading], None]:
        """All that arrived since the last step, as soon as it arrives.

        Raises NoAnswer when the connection is lost or stale.
        """
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._queue:
                readings = list(self._queue)
                self._queue.clear()
                yield readings
            if self._failure is not None:
                raise self._failure

    async def _subscribe(self, client: Client) -> None:
        config = self._config
        namespaces = await client.get_namespace_array()
        missing = self._resolve(namespaces)
        keep_alives = max(1, int(config.stale_s * 1000 / 3 / config.publishing_ms))
        subscription = Subscription(
            client.uaclient.session,
            ua.CreateSubscriptionParameters(
                RequestedPublishingInterval=config.publishing_ms,
                RequestedLifetimeCount=10 * keep_alives,
                RequestedMaxKeepAliveCount=keep_alives,
                MaxNotificationsPerPublish=0,
                PublishingEnabled=True,
            ),
            queue_maxsize=0,  # emptied at once by _pump; the bounded queue is ours
        )
        revised = await subscription.init()
        missing += await self._monitor(client, subscription)
        now_ns = self._clock.utc_ns()
        self._put(Sample(tag.id, now_ns, None, BAD_DEVICE) for tag in missing)
        keep_alive_s = revised.RevisedMaxKeepAliveCount * revised.RevisedPublishingInterval / 1000
        self._start(self._pump(subscription), "pump")
        self._start(self._watch(subscription, max(config.stale_s, 3 * keep_alive_s)), "watch")

    def _resolve(self, namespaces: Sequence[str]) -> list[OpcUaTag]:
        """Fill the table of nodes; gives the tags whose namespace the server does not have."""
        missing: list[OpcUaTag] = []
        self._tags = {}
        for tag in self._config.tags:
            node_id = _node_id(tag.node, namespaces)
            if node_id is None:
                missing.append(tag)
                self._warn_missing(tag, "its namespace is not on the server")
            else:
                self._tags.setdefault(node_id, []).append(tag)
        return missing

    async def _monitor(self, client: Client, subscription: Subscription) -> list[OpcUaTag]:
        """Create the monitored items in few calls; gives the tags that were refused."""
        missing: list[OpcUaTag] = []
        nodes = [client.get_node(node_id) for node_id in self._tags]
        for start in range(0, len(nodes), _ITEMS_PER_CALL):
            part = nodes[start : start + _ITEMS_PER_CALL]
            results = await subscription.subscribe_data_change(
                part,
                queuesize=self._config.queue_size,
                sampling_interval=ua.Double(self._config.sampling_ms),
            )
            for node, result in zip(part, results, strict=True):
                if isinstance(result, ua.StatusCode):
                    for tag in self._tags[node.nodeid]:
                        missing.append(tag)
                        self._warn_missing(tag, result.name)
        return missing

    def _warn_missing(self, tag: OpcUaTag, why: str) -> None:
        fields = {"device": self._config.id, "tag": tag.id, "node": tag.node, "why": why}
        _log.warning("node_missing %s", fields)

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

    async def _connection_lost(self, error: Exception) -> None:
        self._fail(NoAnswer(f"{self._config.url}: connection lost: {error!r}"))

    async def _pump(self, subscription: Subscription) -> None:
        """Turn events into readings at once; the only reader of the library's queue."""
        async for event in subscription:
            self._take(event)

    def _take(self, event: SubEvent) -> None:
        if isinstance(event, StatusChangeEvent):
            self._fail(NoAnswer(f"{self._config.url}: {event.notification.Status.name}"))
        elif isinstance(event, DataChangeEvent):
            now_ns = self._clock.utc_ns()
            answer = event.data.monitored_item.Value
            if answer.StatusCode and answer.StatusCode.value & _OVERFLOW_BITS == _OVERFLOW_BITS:
                self._count_dropped("the server's queue of a variable overflowed")
            tags = self._tags.get(event.node.nodeid, ())
            self._put(
                reading for tag in tags if (reading := self._reader.read(tag, answer, now_ns))
            )

    def _put(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            if len(self._queue) >= QUEUE_LIMIT:
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
        """Rule 4; ends by raising."""
        newest, changed_ns = subscription.last_publish_at, self._clock.monotonic_ns()
        while True:
            await self._clock.sleep(limit_s / 8)
            now_ns = self._clock.monotonic_ns()
            if subscription.last_publish_at != newest:
                newest, changed_ns = subscription.last_publish_at, now_ns
            elif now_ns - changed_ns >= limit_s * NS_PER_S:
                raise NoAnswer(f"{self._config.url}: nothing heard for {limit_s:g} s")


class _Reader:
    """Data values to readings."""

    def __init__(self, config: OpcUaConfig) -> None:
        """Prepare the scaling of every tag."""
        self._trusts_source = config.trust_source_time
        self._scalers = {tag.id: Scaler(tag) for tag in config.tags}
        self._newest_array: dict[str, int] = {}

    def read(self, tag: OpcUaTag, answer: ua.DataValue, now_ns: int) -> Reading | None:
        """The reading, stamped; None for an array that was delivered before (rule 5)."""
        source_ns = self._source_ns(answer)
        time_ns = now_ns if source_ns is None else source_ns
        severity = answer.StatusCode.value >> 30 if answer.StatusCode else 0
        variant = answer.Value
        if severity > 1 or variant is None or variant.VariantType not in _NUMBERS:
            return Sample(tag.id, time_ns, None, BAD_DEVICE)
        if tag.period_s is not None:
            return self._waveform(tag, variant.Value, source_ns, now_ns)
        value = self._scalar(tag, variant)
        if value is None:
            return Sample(tag.id, time_ns, None, BAD_DEVICE)
        if severity == 1:
            return Sample(tag.id, time_ns, value, _UNCERTAIN)
        is_doubtful = source_ns is None and self._trusts_source
        return Sample(tag.id, time_ns, value, UNCERTAIN_CLOCK if is_doubtful else GOOD)

    def _source_ns(self, answer: ua.DataValue) -> int | None:
        """The source timestamp where it is trusted and plausible [ns]."""
        stamp = answer.SourceTimestamp
        if not self._trusts_source or stamp is None:
            return None
        instant: datetime = stamp  # the library's DateTime, whose arithmetic is typed otherwise
        since = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH
        time_ns = since // timedelta(microseconds=1) * 1000
        return time_ns if is_plausible_time(time_ns) else None

    def _scalar(self, tag: OpcUaTag, variant: ua.Variant) -> int | float | None:
        raw = variant.Value
        if not isinstance(raw, int | float):
            return None
        if variant.VariantType in _INTEGERS:
            return self._scalers[tag.id](int(raw))
        if tag.totaliser is not None:  # raw counts are integers, or they are not counts
            return int(raw) if math.isfinite(raw) and raw == int(raw) else None
        return self._scalers[tag.id](float(raw))

    def _waveform(
        self, tag: OpcUaTag, raw: object, source_ns: int | None, now_ns: int
    ) -> Reading | None:
        period_ns = round((tag.period_s or 0) * NS_PER_S)
        if not isinstance(raw, list) or not 0 < len(raw) <= MAX_ARRAY:
            return Sample(tag.id, now_ns if source_ns is None else source_ns, None, BAD_DEVICE)
        if source_ns is not None and self._newest_array.get(tag.id) == source_ns:
            return None
        values = np.asarray(raw, dtype=np.float64)
        scaler = self._scalers[tag.id]
        if not scaler.is_identity:
            values = values * scaler.scale + scaler.offset
        values[~np.isfinite(values)] = np.nan
        if source_ns is None:
            return Waveform(tag.id, now_ns - len(values) * period_ns, period_ns, values)
        self._newest_array[tag.id] = source_ns
        return Waveform(tag.id, source_ns, period_ns, values)


def _node_id(text: str, namespaces: Sequence[str] | None) -> ua.NodeId | None:
    """The node id; None when its ``nsu=`` URI is not among the namespaces.

    Without namespaces the text is only checked. Raises ValueError when it is not a node id.
    """
    match = _NODE.fullmatch(text)
    uri = match["uri"] if match else None
    if match is None or (uri is not None and match["rest"].startswith("ns=")):
        message = f"{text!r} is not a node: nsu=URI;s=name or ns=2;s=name (or i=, g=, b=)"
        raise ValueError(message)
    index = ""
    if uri is not None:
        if namespaces is not None and uri not in namespaces:
            return None
        index = f"ns={namespaces.index(uri) if namespaces is not None else 0};"
    try:
        return ua.NodeId.from_string(index + match["rest"])
    except (UaError, ValueError) as error:
        message = f"{text!r} is not a node: {error}"
        raise ValueError(message) from error


@contextlib.asynccontextmanager
async def _translated(url: str) -> AsyncIterator[None]:
    """Turn what the library raises into DeviceError."""
    try:
        yield
    except DeviceError:
        raise
    except TimeoutError as error:
        raise NoAnswer(f"{url}: no answer in time") from error
    except OSError as error:
        raise NoAnswer(f"{url}: {error}") from error
    except UaStatusCodeError as error:
        raise Refused(f"{url}: {error}", code=error.code) from error
    except UaError as error:
        raise Refused(f"{url}: {error}") from error


def _forget_result(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()

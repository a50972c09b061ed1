"""MQTT and Sparkplug B input, for plants that already publish: the driver.

1. A tag names a topic (a number, or JSON and the path of the number in it), or a Sparkplug metric by
   group, node, device and name.
2. A retained message is older than its arrival, by nobody knows how much: without a time of its own it
   is not taken.
3. Sparkplug order, births and deaths are judged by ``sparkplug_state``. A death makes the tags of
   what died BAD_COMMS; a gap does too, until the births asked for have come.
4. Source times are used where they are plausible and trusted; otherwise the time of receipt, marked.
5. A QoS 1 message is acknowledged when its readings are durable; one that the broker marks as sent
   again (DUP) and that is known by its id and content is acknowledged and not taken twice.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from typing import Self

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import (
    UNCERTAIN_CLOCK,
    Reading,
    Scaler,
    Value,
    is_plausible_time,
)
from edge_agent.drivers.mqtt_config import MqttConfig, MqttTag
from edge_agent.drivers.mqtt_link import Message, MqttLink
from edge_agent.drivers.mqtt_receipts import Receipts
from edge_agent.drivers.mqtt_values import Path_, at, instant_ns, loads, parse_path, plain_number
from edge_agent.drivers.sparkplug_payload import Metric, decode, rebirth_request
from edge_agent.drivers.sparkplug_state import KINDS, Node, Outcome, Update
from edge_agent.errors import BadAnswer, KeyFileError, NoAnswer
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD, Quality, Reason, Sample, Severity
from edge_agent.tls_files import TlsFiles

_NAMESPACE = "spBv1.0"
_NS_PER_MS = 1_000_000
_REBIRTH_EVERY_S = 5.0
_LOOK_S = 2.0
_MAX_TOLD = 1_000
_STALE = 500  # Sparkplug's quality beyond OPC's: the value's source is gone
HISTORY = Quality.of(Severity.GOOD, Reason.HISTORY)
_UNCERTAIN = Quality.of(Severity.UNCERTAIN)
_log = logging.getLogger(__name__)


class MqttDriver:
    """One broker, subscribed."""

    def __init__(self, config: MqttConfig, clock: Clock) -> None:
        """Sort the tags by what brings them; nothing is opened yet."""
        self._config = config
        self._clock = clock
        self._scalers = {tag.id: Scaler(tag) for tag in config.tags}
        self._topics: dict[str, list[tuple[MqttTag, Path_ | None, Path_ | None]]] = {}
        self._metrics: dict[tuple[str, str, str, str], list[MqttTag]] = {}
        self._nodes: dict[tuple[str, str], Node] = {}
        self._asked_ns: dict[tuple[str, str], int] = {}
        self._started_ms = 0
        self._is_passing = False
        self._told: set[tuple[str, str]] = set()
        for tag in config.tags:
            self._sort(tag)
        self._tls: TlsFiles | None = None
        self._watch: asyncio.Task[None] | None = None
        self._link = MqttLink(config.access(None, None))
        self._receipts = Receipts()

    def _sort(self, tag: MqttTag) -> None:
        if tag.topic is not None:
            paths = [parse_path(text) if text else None for text in (tag.path, tag.time_path)]
            self._topics.setdefault(tag.topic, []).append((tag, paths[0], paths[1]))
        else:
            key = (str(tag.group), str(tag.node), tag.device or "", str(tag.metric))
            self._metrics.setdefault(key, []).append(tag)
            self._nodes.setdefault(key[:2], Node())

    def peek(self) -> None:
        """Be another client, whose session the broker forgets, and no primary host."""
        name = f"{self._config.client_id[:120]}-look"
        self._config = self._config.model_copy(update={"client_id": name, "host_id": None})
        self._is_passing = True

    @property
    def dropped(self) -> int:
        """Messages lost because they came faster than they were taken."""
        return self._link.dropped

    async def __aenter__(self) -> Self:
        """Connect, subscribe, and ask every node for its births."""
        self._started_ms = self._clock.utc_ns() // _NS_PER_MS
        tls = await self._certificate()
        access = self._config.access(tls, self._state(is_online=False))
        link = MqttLink(replace(access, is_passing=self._is_passing))
        link.dropped, self._link = self._link.dropped, link
        for key in self._nodes:
            self._nodes[key] = Node()
        self._asked_ns.clear()
        self._told.clear()
        topics = [(topic, self._config.qos) for topic in self._topics]
        for group, node in self._nodes:
            topics += [
                (f"{_NAMESPACE}/{group}/+/{node}", 0),
                (f"{_NAMESPACE}/{group}/+/{node}/+", 0),
            ]
        is_open = False
        try:
            await link.open(topics)
            is_open = True
        finally:
            if not is_open:
                await link.close()
        if not link.is_resumed:
            self._receipts.forget()
        if (state := self._state(is_online=True)) is not None:
            link.publish(*state, qos=1, retain=True)
        for key in self._nodes:
            self._ask_again(key, "the agent has just come")
        if tls is not None:
            self._watch = asyncio.create_task(self._follow(tls, link), name="mqtt-certificate")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Say goodbye and leave."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if (state := self._state(is_online=False)) is not None:
            self._link.publish(*state, qos=1, retain=True)
        await self._link.close()

    async def samples(self) -> AsyncGenerator[Sequence[Reading], None]:
        """All that arrived since the last step; acknowledged by ``kept``.

        Raises NoAnswer when the broker's connection is lost.
        """
        while True:
            messages = await self._link.take()
            now_ns = self._clock.utc_ns()
            readings: list[Reading] = []
            for message in self._receipts.fresh(messages):
                readings += self._read(message, now_ns)
            if self._is_passing:  # a broker stops at its window
                self._link.acknowledge(messages)
            else:
                self._receipts.wait(self._link, messages, is_delivery=bool(readings))
            if readings:
                yield readings

    def marks(self) -> Sequence[bytes]:
        """The QoS 1 messages of the newest delivery."""
        return self._receipts.marks

    def remember(self, marks: Sequence[bytes]) -> None:
        """Messages that an earlier life has kept are acknowledged when they come again."""
        self._receipts.remember(marks)

    def kept(self, deliveries: int) -> None:
        """Acknowledge what is durable now."""
        self._receipts.kept(deliveries)

    async def _certificate(self) -> TlsFiles | None:
        """The certificate's files as they are now; broken new ones leave the old ones in use."""
        settings = self._config.tls
        if settings is None:
            return None
        if self._tls is not None:
            await asyncio.to_thread(self._tls.look, self._clock.utc_ns())
            return self._tls
        try:
            self._tls = await asyncio.to_thread(settings.files)
        except KeyFileError as error:
            raise NoAnswer(str(error)) from error
        return self._tls

    async def _follow(self, tls: TlsFiles, link: MqttLink) -> None:
        """End the session when there is a renewed certificate: what is not acknowledged comes again."""
        while not await asyncio.to_thread(tls.look, self._clock.utc_ns()):
            await self._clock.sleep(_LOOK_S)
        link.end("the certificate was renewed; connecting anew")

    def _read(self, message: Message, now_ns: int) -> Iterable[Reading]:
        if message.topic in self._topics:
            return self._plain(message, now_ns)
        parts = message.topic.split("/")
        if len(parts) in (4, 5) and parts[0] == _NAMESPACE and parts[2] in KINDS:
            return self._sparkplug(message, parts, now_ns)
        return ()

    # -- plain topics --------------------------------------------------------------------------

    def _plain(self, message: Message, now_ns: int) -> Iterable[Reading]:
        document: object = None
        if any(path is not None for _, path, _ in self._topics[message.topic]):
            try:
                document = loads(message.payload)
            except BadAnswer as error:
                self._warn("mqtt_unreadable", message.topic, str(error))
        for tag, path, time_path in self._topics[message.topic]:
            raw = plain_number(message.payload if path is None else at(document, path))
            stamp = instant_ns(at(document, time_path), tag.time_unit) if time_path else None
            if stamp is None and message.is_retained:
                continue  # rule 2
            stamp = stamp if time_path else now_ns
            yield self._sample(tag, raw, stamp, now_ns, GOOD)

    # -- Sparkplug -----------------------------------------------------------------------------

    def _sparkplug(self, message: Message, parts: list[str], now_ns: int) -> list[Reading]:
        key = (parts[1], parts[3])
        node = self._nodes.get(key)
        kind = next(kind for kind in KINDS if kind == parts[2])
        device = parts[4] if len(parts) == 5 else ""
        if node is None or message.is_retained or (kind[0] == "D") != bool(device):
            return []
        try:
            payload = decode(message.payload)
        except BadAnswer as error:
            self._warn("sparkplug_unreadable", message.topic, str(error))
            return []
        outcome = node.take(kind, device, payload)
        if outcome.rebirth:
            self._ask_again(key, outcome.rebirth)
        return self._readings(key, outcome, payload.time_ms, now_ns)

    def _readings(
        self, key: tuple[str, str], outcome: Outcome, time_ms: int | None, now_ns: int
    ) -> list[Reading]:
        readings: list[Reading] = []
        for (group, node, device, _), tags in self._metrics.items():
            if outcome.died and (group, node) == key and device in outcome.died:
                readings += [Sample(tag.id, now_ns, None, BAD_COMMS) for tag in tags]
        for update in outcome.updates:
            for tag in self._metrics.get((*key, update.device, update.name), ()):
                readings.append(self._update(tag, update, time_ms, now_ns))
        return readings

    def _update(self, tag: MqttTag, update: Update, time_ms: int | None, now_ns: int) -> Sample:
        told_ms = time_ms if update.metric.time_ms is None else update.metric.time_ms
        stamp = None if told_ms is None else told_ms * _NS_PER_MS
        return self._sample(tag, update.value, stamp, now_ns, _quality(update.metric))

    def _ask_again(self, key: tuple[str, str], why: str) -> None:
        """Ask a node for its births, not oftener than every few seconds."""
        now_ns = self._clock.monotonic_ns()
        asked_ns = self._asked_ns.get(key)
        if not self._config.rebirth or (
            asked_ns is not None and now_ns - asked_ns < _REBIRTH_EVERY_S * NS_PER_S
        ):
            return
        self._asked_ns[key] = now_ns
        _log.info("sparkplug_rebirth %s", {"device": self._config.id, "node": key, "why": why})
        time_ms = self._clock.utc_ns() // _NS_PER_MS
        self._link.publish(f"{_NAMESPACE}/{key[0]}/NCMD/{key[1]}", rebirth_request(time_ms))

    def _state(self, *, is_online: bool) -> tuple[str, bytes] | None:
        """The host's STATE message (specification 6.4.24); its time ties death to birth."""
        if self._config.host_id is None:
            return None
        body = json.dumps({"online": is_online, "timestamp": self._started_ms})
        return f"{_NAMESPACE}/STATE/{self._config.host_id}", body.encode()

    # -- both ----------------------------------------------------------------------------------

    def _sample(
        self, tag: MqttTag, raw: Value, stamp: int | None, now_ns: int, quality: Quality
    ) -> Sample:
        trusted = self._config.trust_source_time and stamp is not None and is_plausible_time(stamp)
        time_ns = stamp if trusted and stamp is not None else now_ns
        if tag.totaliser is not None and isinstance(raw, float):
            raw = int(raw) if raw.is_integer() else None
        value = self._scalers[tag.id](raw) if quality.usable else None
        if value is None:
            return Sample(tag.id, time_ns, None, BAD_DEVICE if quality.usable else quality)
        doubtful = self._config.trust_source_time and not trusted
        return Sample(tag.id, time_ns, value, UNCERTAIN_CLOCK if doubtful else quality)

    def _warn(self, event: str, topic: str, why: str) -> None:
        """Log what a topic brought; only the first of a kind in a session is loud."""
        level = logging.DEBUG if (event, topic) in self._told else logging.WARNING
        if len(self._told) < _MAX_TOLD:
            self._told.add((event, topic))
        _log.log(level, "%s %s", event, {"device": self._config.id, "topic": topic, "why": why})


def _quality(metric: Metric) -> Quality:
    """The Quality property (OPC's classic numbers, and 500 for stale), and history."""
    number = metric.quality
    if number == _STALE:
        return BAD_COMMS
    if number is not None and number & 0xC0 != 0xC0:
        return _UNCERTAIN if number & 0xC0 == 0x40 else BAD_DEVICE
    return HISTORY if metric.is_historical else GOOD

"""The connection to the broker, in paho's own network thread.

MQTT 3.1.1 with a lasting session and manual acknowledgement: the broker keeps what was not
acknowledged and sends it again. Reconnecting is decided here, for ever and with back-off, not in
the library. An acknowledgement goes out only on the connection its message came in on, because
on another one the broker may have given the same number to another message.
"""

import asyncio
import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.errors import ConfigError
from edge_agent.wire import certificates
from edge_agent.wire.tls import TlsClient
from edge_agent.wire.topics import ROOT
from gateway.config import Mqtt
from gateway.ingest.fair import Delivery, FairQueue
from gateway.ingest.intake import Message
from gateway.ingest.journal import Journal

_QOS = 1
_SUBSCRIPTIONS = [(f"{ROOT}/+/+/{kind}", _QOS) for kind in ("batch", "config", "status")]
_FIRST_DELAY_S = 0.5
_LAST_DELAY_S = 30.0
_STEADY_S = 30
_CHECK_S = 5.0


class Link:
    """Puts messages into ``queue``, sets ``news`` then, and calls ``ready`` when subscribed."""

    def __init__(
        self, settings: Mqtt, clock: Clock, queue: FairQueue, ready: Callable[[], None]
    ) -> None:
        self.queue = queue
        self.news = asyncio.Event()
        self._settings = settings
        self._clock = clock
        self._ready = ready
        self._journal = Journal(__name__, clock)
        self._connection = 0
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        tls = settings.tls
        self._tls = TlsClient(tls.ca, tls.cert, tls.key) if tls else None
        self._warned = ""
        self._client = self._make_client()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        delay_s = _FIRST_DELAY_S
        with ThreadPoolExecutor(1, thread_name_prefix="mqtt-connect") as executor:
            try:
                while True:
                    began_ns = self._clock.monotonic_ns()
                    await self._connect_once(executor)
                    if self._clock.monotonic_ns() - began_ns > _STEADY_S * NS_PER_S:
                        delay_s = _FIRST_DELAY_S
                    jittered_s = delay_s * random.uniform(0.5, 1.0)
                    self._journal.limited(logging.WARNING, "mqtt_down", retry_s=f"{jittered_s:.1f}")
                    await self._clock.sleep(jittered_s)
                    delay_s = min(2 * delay_s, _LAST_DELAY_S)
            finally:
                self._client.disconnect()
                self._client.loop_stop()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish retained; while disconnected the library keeps it for the next connection."""
        self._client.publish(topic, payload, qos=_QOS, retain=True)

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that it may forget the message."""
        if delivery.connection == self._connection:
            self._client.ack(delivery.number, delivery.qos)

    async def _connect_once(self, executor: ThreadPoolExecutor) -> None:
        """Connect and return when the connection ended or could not be made."""
        self._connection += 1
        self._ended.clear()
        try:
            await self._loop.run_in_executor(executor, self._open)
        except (OSError, ValueError) as error:
            self._journal.limited(logging.WARNING, "mqtt_unreachable", error=error)
            return
        self._client.loop_start()
        while not self._ended.is_set() and self._network_thread_lives():
            try:
                async with asyncio.timeout(_CHECK_S):
                    await self._ended.wait()
            except TimeoutError:
                if await self._loop.run_in_executor(executor, self._look):
                    self._journal.event(logging.INFO, "certificate_changed")
                    self._client.disconnect()
        await self._loop.run_in_executor(executor, self._client.loop_stop)

    def _open(self) -> None:
        """Connect, with the certificate that its files hold now."""
        settings = self._settings
        self._look()
        self._client.connect(settings.host, settings.port, settings.keepalive_s)

    def _look(self) -> bool:
        """Whether renewed certificate files are in force now; says when one comes to its end."""
        if self._tls is None:
            return False
        now_ns = self._clock.utc_ns()
        taken = self._tls.look(now_ns)
        warning = certificates.until_warning(self._tls.expires, now_ns)
        if warning and warning != self._warned:
            self._journal.event(
                logging.WARNING, "certificate_expires", what="mqtt.tls.cert", warning=warning
            )
        self._warned = warning
        return taken

    def _network_thread_lives(self) -> bool:
        """The library's thread also dies, silently, on packets that it cannot parse."""
        name = f"paho-mqtt-client-{self._settings.client_id}"
        return any(thread.name == name for thread in threading.enumerate())

    def _make_client(self) -> Client:
        settings = self._settings
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=False,
            protocol=MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        if settings.username is not None:
            password = None
            if settings.password_file is not None:
                try:
                    password = settings.password_file.read_text(encoding="utf-8").strip()
                except OSError as error:
                    message = f"cannot read {settings.password_file}: {error.strerror}"
                    raise ConfigError(message, key="mqtt.password_file") from error
            client.username_pw_set(settings.username, password)
        if self._tls is not None:
            client.tls_set_context(self._tls.context)
        return client

    # Callbacks run in the network thread; they only pass on, and cannot raise.

    def _on_connect(self, client: Client, *arguments: object) -> None:
        code = arguments[2]
        if getattr(code, "is_failure", True):
            self._journal.limited(logging.ERROR, "mqtt_refused", str(code), reason=code)
            client.disconnect()
        else:
            client.subscribe(_SUBSCRIPTIONS)

    def _on_subscribe(self, client: Client, *arguments: object) -> None:
        codes = arguments[2]
        if isinstance(codes, list) and not any(code.is_failure for code in codes):
            self._loop.call_soon_threadsafe(self._ready)
        else:
            self._journal.limited(logging.ERROR, "mqtt_subscription_refused", codes=codes)
            client.disconnect()

    def _on_disconnect(self, *_arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)

    def _on_message(self, _client: Client, _data: object, arrived: MQTTMessage) -> None:
        received_ns = self._clock.utc_ns()
        try:
            topic = arrived.topic
        except UnicodeDecodeError:
            topic = "?"
        message = Message(topic, bytes(arrived.payload), received_ns)
        # What has to go is the broker's no longer: kept unacknowledged it would fill the window.
        for dropped in self.queue.put(
            Delivery(message, arrived.mid, arrived.qos, self._connection)
        ):
            self.acknowledge(dropped)
        if not self.news.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.news.set)

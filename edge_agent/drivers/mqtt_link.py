"""One MQTT session for a driver: paho in its own thread, a bounded inbox in ours.

1. A message with QoS 1 is acknowledged when its readings are durable, so the broker keeps what a
   busy or stopped agent has not kept (with a persistent session), and sends no more than its
   window meanwhile. What comes with QoS 0 faster than it is taken loses its oldest, counted.
2. The library never reconnects by itself: whatever ends the connection ends the session.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.errors import NoAnswer, Refused
from edge_agent.tls_files import TlsFiles

INBOX_LIMIT = 10_000
_REFUSED = 128  # reason codes from here on are failures
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """Where and how to connect; ``will`` is topic and payload published when we vanish."""

    host: str
    port: int
    client_id: str
    keepalive_s: int
    timeout_s: float
    username: str | None = None
    password_file: Path | None = None
    tls: TlsFiles | None = None
    will: tuple[str, bytes] | None = None
    is_passing: bool = False  # leaves no session behind


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it arrived."""

    topic: str
    payload: bytes
    is_retained: bool
    mid: int
    qos: int
    is_repeat: bool = False


class MqttLink:
    """One connection to one broker."""

    def __init__(self, access: Access) -> None:
        """Take the address; nothing is opened yet."""
        self._access = access
        self._client: mqtt.Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: deque[Message] = deque()
        self._woken = asyncio.Event()
        self._ended: Exception | None = None
        self._connected: asyncio.Future[None] | None = None
        self._subscribed: asyncio.Future[None] | None = None
        self.dropped = 0
        self.is_resumed = False  # the broker knew this client's session

    async def open(self, topics: Sequence[tuple[str, int]]) -> None:
        """Connect and subscribe. Raises NoAnswer or Refused."""
        self._loop = asyncio.get_running_loop()
        self._ended = None
        self._inbox.clear()
        self._connected, self._subscribed = self._loop.create_future(), self._loop.create_future()
        where = f"{self._access.host}:{self._access.port}"
        try:
            async with asyncio.timeout(2 * self._access.timeout_s):
                self._client = await self._dialled()
                self._client.loop_start()
                await self._connected
                if topics:
                    self._client.subscribe(list(topics))
                    await self._subscribed
        except TimeoutError:
            raise NoAnswer(f"{where}: no answer in time") from None
        except (OSError, ValueError) as error:
            raise NoAnswer(f"{where}: {error}") from error

    async def _dialled(self) -> mqtt.Client:
        """A connected client; one that comes too late is hung up on, not left to haunt its id."""
        dialling = asyncio.create_task(asyncio.to_thread(self._made), name="mqtt-dial")
        try:
            return await asyncio.shield(dialling)
        except asyncio.CancelledError:
            dialling.add_done_callback(_hang_up)
            raise

    async def close(self) -> None:
        """Leave; takes no longer than the time-out."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            stopping = asyncio.to_thread(client.loop_stop)
            try:
                async with asyncio.timeout(self._access.timeout_s):
                    await stopping
            except TimeoutError:
                _log.warning("mqtt_slow_leave %s", {"client": self._access.client_id})

    def end(self, why: str) -> None:
        """Let ``take`` give what has arrived, and then say that the session is over."""
        self._end(NoAnswer(why))

    async def take(self) -> list[Message]:
        """All messages that arrived, at least one. Raises NoAnswer when the session ended."""
        while not self._inbox:
            if self._ended is not None:
                raise self._ended
            await self._woken.wait()
            self._woken.clear()
        return [self._inbox.popleft() for _ in range(len(self._inbox))]

    def acknowledge(self, messages: list[Message]) -> None:
        """Rule 1."""
        for message in messages:
            if message.qos and self._client is not None:
                self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Send something; nobody waits for it."""
        if self._client is not None:
            self._client.publish(topic, payload, qos, retain)

    def _made(self) -> mqtt.Client:
        """A client whose TCP (and TLS) connection is open; in a thread, as all this blocks."""
        access = self._access
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=access.client_id,
            clean_session=access.is_passing,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = access.timeout_s
        if access.username is not None:
            file = access.password_file
            password = file.read_text(encoding="utf-8").strip() if file else None
            client.username_pw_set(access.username, password)
        if access.tls is not None:
            client.tls_set_context(access.tls.context)
        if access.will is not None:
            client.will_set(access.will[0], access.will[1], qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.connect(access.host, access.port, access.keepalive_s)
        return client

    # -- in paho's thread ----------------------------------------------------------------------

    def _call(self, function: Any, *arguments: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, *_: Any) -> None:
        self.is_resumed = flags.session_present
        failed = Refused(f"the broker refused: {reason}", code=reason.value)
        self._call(_settle, self._connected, failed if reason.is_failure else None)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, codes: Any, *_: Any) -> None:
        refused = [code for code in codes if code.value >= _REFUSED]
        failed = Refused("the broker refused a subscription") if refused else None
        self._call(_settle, self._subscribed, failed)

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        found = Message(
            message.topic, bytes(message.payload), message.retain, message.mid, message.qos,
            message.dup,
        )  # fmt: skip
        self._call(self._put, found)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, *_: Any) -> None:
        self._call(self._end, NoAnswer(f"the broker's connection ended: {reason}"))

    # -- in our loop ---------------------------------------------------------------------------

    def _put(self, message: Message) -> None:
        if len(self._inbox) >= INBOX_LIMIT:
            self.dropped += 1
            self._inbox.popleft()
        self._inbox.append(message)
        self._woken.set()

    def _end(self, error: Exception) -> None:
        self._ended = error
        self._woken.set()
        _settle(self._connected, error)
        _settle(self._subscribed, error)


class ClosingSocket(ssl.SSLSocket):
    """Closed when its handshake fails: the library would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's signature
        """Shake hands."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _hang_up(dialling: "asyncio.Task[mqtt.Client]") -> None:
    if dialling.cancelled() or dialling.exception() is not None:
        return
    client = dialling.result()
    client.disconnect()
    if (socket := client.socket()) is not None:
        socket.close()


def _settle(future: "asyncio.Future[None] | None", error: Exception | None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # seen, should nobody be waiting

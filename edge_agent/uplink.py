"""Delivery by MQTT: publishes what the outbox holds, removes what a signed ack covers.

The broker's PUBACK means nothing here. Paho runs its own network thread and is given a small
window of batches; the outbox is the only queue. What an ack may do is decided in ``acks``.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.acks import AckDesk, Identity
from edge_agent.clock import NS_PER_S, Clock
from edge_agent.config import Mqtt
from edge_agent.errors import NoAnswer, SignerUnavailable
from edge_agent.health import Health
from edge_agent.later import Later
from edge_agent.outbox import Outbox, OutboxFull
from edge_agent.wire.messages import Status, sign_status

if TYPE_CHECKING:
    from edge_agent.wire.tls import TlsClient

log = logging.getLogger(__name__)
_TLS_CLIENT = Later("edge_agent.wire.tls", "TlsClient")
_LOOK_S = 0.5
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Uplink:
    """Keeps a connection to the broker and delivers in order."""

    def __init__(
        self,
        settings: Mqtt,
        identity: Identity,
        outbox: Outbox,
        executor: Executor,
        clock: Clock,
        health: Health,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._outbox = outbox
        self._executor = executor
        self._clock = clock
        self._health = health
        self._wake = asyncio.Event()
        self._inbox: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1_000)
        self._connected = False
        self._sent = 0
        self._progress_ns = 0
        self._acks = AckDesk(identity, outbox, health)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: mqtt.Client | None = None
        self._tls = _tls(settings)
        # A broker that swallows packets may hold a connect for seconds: never in the executor
        # that the calculation uses.
        self._network = ThreadPoolExecutor(1, thread_name_prefix="uplink")

    def wake_threadsafe(self) -> None:
        """There are new batches in the outbox; may be called from any thread."""
        self._call(self._wake.set)

    async def run(self) -> None:
        """Deliver until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._client = await self._in_thread(self._make_client)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._connect(), name="uplink-connect")
                group.create_task(self._send(), name="uplink-send")
                group.create_task(self._receive(), name="uplink-receive")
        finally:
            await asyncio.get_running_loop().run_in_executor(self._network, self._stop)

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    def _make_client(self) -> mqtt.Client:
        client = _client(
            self._settings, f"{self._identity.site}/{self._identity.agent}", self._tls, clean=False
        )
        client.max_inflight_messages_set(self._settings.window)
        client.will_set(self._identity.topic("status"), self._status("lost") or b"", 1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    # -- paho's thread ------------------------------------------------------------------------

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    def _on_connect(self, client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            log.warning("refused by broker reason=%s", reason)
            return
        client.subscribe(self._identity.topic("ack"), qos=1)
        self._call(self._set_connected, True)

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        log.info("disconnected reason=%s", reason)
        self._call(self._set_connected, False)

    def _on_message(self, _c: Any, _u: Any, message: mqtt.MQTTMessage) -> None:
        self._call(self._take, message.payload)

    # -- event loop ---------------------------------------------------------------------------

    def _set_connected(self, connected: bool) -> None:  # noqa: FBT001  called from a thread
        self._connected = connected
        if connected:
            self._health.connects += 1
            self._sent = 0
        self._wake.set()

    def _take(self, payload: bytes) -> None:
        if not self._inbox.full():
            self._inbox.put_nowait(payload)

    async def _connect(self) -> None:
        """Own the reconnect: never give up, back off to at most 30 s."""
        client = self._client
        assert client is not None  # noqa: S101  made in run()
        attempt = 0
        while True:
            if self._connected:
                attempt = 0
                await self._clock.sleep(_LOOK_S)
                await self._renew(client)
                continue
            try:
                if self._tls is not None:
                    await self._look(self._tls)
                await asyncio.get_running_loop().run_in_executor(self._network, self._open)
            except OSError as error:
                log.warning("cannot connect error=%s", error)
            wait_s = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
            attempt += 1
            for _ in range(max(1, round(wait_s / 0.1))):
                await self._clock.sleep(0.1)
                if self._is_connected():
                    break

    async def _renew(self, client: mqtt.Client) -> None:
        """Connect anew when renewed certificate files are in force; what is unacked goes again."""
        if self._tls is not None and await self._look(self._tls):
            log.info("certificate changed; connecting anew")
            client.disconnect()
            while self._connected:
                await self._clock.sleep(0.05)

    async def _look(self, tls: "TlsClient") -> bool:
        loop, now_ns = asyncio.get_running_loop(), self._clock.utc_ns()
        taken = await loop.run_in_executor(self._network, tls.look, now_ns)
        self._health.tls_problem = tls.problem
        return taken

    def _is_connected(self) -> bool:
        return self._connected

    def _open(self) -> None:
        client = self._client
        if client is not None and not client.is_connected():
            client.connect(
                self._settings.host, self._settings.port, keepalive=self._settings.keepalive_s
            )
            client.loop_stop()
            client.loop_start()

    def _stop(self) -> None:
        client = self._client
        if client is not None:
            client.disconnect()
            client.loop_stop()

    async def _send(self) -> None:
        """Publish in order, a window ahead of the acks; start again when no ack comes."""
        announced = False
        while True:
            try:
                async with asyncio.timeout(min(1.0, self._settings.resend_s)):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if not self._connected:
                announced = False
                continue
            if not announced or self._sent == 0:
                await self._announce()
                announced = True
            await self._send_window()

    async def _send_window(self) -> None:
        acked = await self._in_thread(lambda: self._outbox.acked)
        if self._acks.gateway_at is not None:
            acked = min(acked, self._acks.gateway_at)
        now_ns = self._clock.monotonic_ns()
        self._sent = max(self._sent, acked)
        stalled = now_ns - self._progress_ns > self._settings.resend_s * NS_PER_S
        if self._sent > acked and stalled:
            log.warning("no ack progress acked=%d sent=%d; sending again", acked, self._sent)
            self._sent = acked
        room = acked + self._settings.window - self._sent
        if room <= 0:
            return
        due = await self._in_thread(self._outbox.after, self._sent, room)
        if due and self._sent == acked:
            self._progress_ns = now_ns
        for batch in due:
            self._publish("batch", batch.raw)
            self._sent = batch.seq
            self._health.published += 1

    async def _announce(self) -> None:
        """Status and configuration come before the batches that need them."""
        for raw in await self._in_thread(self._outbox.configs):
            self._publish("config", raw)
        await self.publish_status()

    async def publish_status(self) -> None:
        """Say how the agent is; says nothing while nothing can be signed."""
        if self._connected:
            status = await self._in_thread(self._status, self._health.state)
            if status is not None:
                self._publish("status", status, retain=True)

    def _status(self, state: str) -> bytes | None:
        identity = self._identity
        status = Status(
            site=identity.site,
            agent=identity.agent,
            boot=identity.boot,
            at_ns=self._clock.utc_ns(),
            state=state,
            last_seq=self._outbox.head.seq,
            acked_seq=self._outbox.acked,
            detail=self._health.detail(),
        )
        try:
            return sign_status(status, identity.signer)
        except SignerUnavailable as error:
            log.warning("status not signed: %s", error)
            return None

    def _publish(self, kind: str, payload: bytes, *, retain: bool = False) -> None:
        if self._client is not None:
            self._client.publish(self._identity.topic(kind), payload, qos=1, retain=retain)

    async def _receive(self) -> None:
        while True:
            payload = await self._inbox.get()
            try:
                outcome = await self._in_thread(self._acks.obey, payload)
            except OutboxFull as error:  # the gateway repeats its ack until this can be noted
                log.error("ack not noted: %s", error)  # noqa: TRY400  the cause says all
                self._health.alarm = self._health.alarm or "disk_full"
                continue
            if outcome.want_config:
                await self._announce()
            if outcome.resend_after is not None:
                self._sent = outcome.resend_after
            if outcome.is_progress or outcome.resend_after is not None:
                self._progress_ns = self._clock.monotonic_ns()
                self._wake.set()


def _tls(settings: Mqtt) -> "TlsClient | None":
    tls = settings.tls
    return _TLS_CLIENT(tls.ca, tls.cert, tls.key) if tls else None


def _client(settings: Mqtt, client_id: str, tls: "TlsClient | None", *, clean: bool) -> mqtt.Client:
    """A client that knows how to name itself to the broker and does not reconnect by itself."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=clean,
        protocol=mqtt.MQTTv311,
        reconnect_on_failure=False,
    )
    if settings.username is not None:
        path = settings.password_file
        client.username_pw_set(
            settings.username, path.read_text(encoding="utf-8").strip() if path else None
        )
    if tls is not None:
        client.tls_set_context(tls.context)
    return client


def retained_ack(settings: Mqtt, topic: str, wait_s: float) -> bytes:
    """The ack that the broker keeps for an agent. Blocking; an agent that runs is not disturbed.

    Args:
        settings: the broker.
        topic: the agent's ack topic.
        wait_s: how long the broker may take for its answer, and then for the message [s].

    Raises:
        NoAnswer: the broker cannot be reached, refuses, or keeps none; says which.
    """
    where = f"broker {settings.host}:{settings.port}"
    answers: Queue[bytes | str] = Queue()

    def on_connect(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            answers.put(f"refuses: {reason}")
        else:
            client.subscribe(topic, qos=1)

    # With certificates for names the broker may put the agent's own id in the place of this one.
    client = _client(settings, f"{topic}/resume", _tls(settings), clean=True)
    client.on_connect = on_connect
    client.on_message = lambda _c, _u, message: answers.put(bytes(message.payload))
    try:
        client.connect(settings.host, settings.port, keepalive=settings.keepalive_s)
        client.loop_start()
        answer = answers.get(timeout=wait_s)
    except OSError as error:
        answer = f"cannot be reached: {error}"
    except Empty:
        answer = f"keeps nothing on {topic}; does the gateway run?"
    finally:
        client.disconnect()
        client.loop_stop()
    if isinstance(answer, str):
        message = f"{where} {answer}"
        raise NoAnswer(message)
    return answer

"""Delivery by MQTT: publishes what the outbox holds, removes what a signed ack covers.

The broker's PUBACK means nothing here. Paho runs its own network thread and is given a small
window of batches; the outbox is the only queue. Rules for acks (trust.md 3.9):

    U1  signed by a pinned gateway key, for this site and agent
    U2  never below the highest ack seen, never above what was made
    U3  the hash must be this agent's own hash of that batch, else the history there is foreign:
        nothing is deleted any more, measuring goes on, somebody must look
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.config import Mqtt
from edge_agent.errors import EvidenceError, UnknownKey
from edge_agent.health import Health
from edge_agent.outbox import Outbox
from edge_agent.wire import topics
from edge_agent.wire.keys import PublicKey, Signer
from edge_agent.wire.messages import Ack, Status, sign_status, verify_ack

log = logging.getLogger(__name__)
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this agent is, on the wire."""

    site: str
    agent: str
    boot: bytes
    signer: Signer
    gateways: tuple[PublicKey, ...]

    def topic(self, kind: str) -> str:
        """This agent's topic of a kind."""
        return topics.topic(self.site, self.agent, kind)


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: mqtt.Client | None = None
        # A broker that swallows packets may hold a connect for seconds: never in the executor
        # that the calculation uses.
        self._network = ThreadPoolExecutor(1, thread_name_prefix="uplink")

    def wake_threadsafe(self) -> None:
        """There are new batches in the outbox; may be called from any thread."""
        self._call(self._wake.set)

    async def run(self) -> None:
        """Deliver until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._client = self._make_client()
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
        settings = self._settings
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{self._identity.site}/{self._identity.agent}",
            clean_session=False,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(settings.window)
        if settings.username is not None:
            path = settings.password_file
            client.username_pw_set(
                settings.username, path.read_text(encoding="utf-8").strip() if path else None
            )
        if settings.tls is not None:
            tls = settings.tls
            client.tls_set(
                ca_certs=str(tls.ca),
                certfile=str(tls.cert) if tls.cert else None,
                keyfile=str(tls.key) if tls.key else None,
                tls_version=ssl.PROTOCOL_TLS_CLIENT,
            )
        client.will_set(self._identity.topic("status"), self._status("lost"), 1, retain=True)
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
                await self._clock.sleep(0.2)
                continue
            try:
                await asyncio.get_running_loop().run_in_executor(self._network, self._open)
            except OSError as error:
                log.warning("cannot connect error=%s", error)
            wait_s = _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
            attempt += 1
            for _ in range(max(1, round(wait_s / 0.1))):
                await self._clock.sleep(0.1)
                if self._is_connected():
                    break

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
        self._publish("status", self._status(self._health.state), retain=True)

    def publish_status(self) -> None:
        """Say how the agent is."""
        if self._connected:
            self._publish("status", self._status(self._health.state), retain=True)

    def _status(self, state: str) -> bytes:
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
        return sign_status(status, identity.signer)

    def _publish(self, kind: str, payload: bytes, *, retain: bool = False) -> None:
        if self._client is not None:
            self._client.publish(self._identity.topic(kind), payload, qos=1, retain=retain)

    async def _receive(self) -> None:
        while True:
            payload = await self._inbox.get()
            try:
                ack = verify_ack(payload, self._gateway_key)
            except EvidenceError as error:
                self._health.acks_refused += 1
                log.warning("ack refused reason=%s: %s", error.reason, error)
                continue
            await self._obey(ack)

    def _gateway_key(self, kid: bytes) -> PublicKey:
        for key in self._identity.gateways:
            if key.kid == kid:
                return key
        message = "the ack's key is no pinned gateway key"
        raise UnknownKey(message)

    async def _obey(self, ack: Ack) -> None:
        identity = self._identity
        if (ack.site, ack.agent) != (identity.site, identity.agent):  # U1
            self._health.acks_refused += 1
            return
        if ack.want_config:
            await self._announce()
        acked = await self._in_thread(lambda: self._outbox.acked)
        if ack.seq <= acked or ack.seq == 0:  # U2
            return
        own = await self._in_thread(self._outbox.hash_at, ack.seq)
        if own is None or own != ack.sha256:  # U2, U3
            self._health.acks_refused += 1
            self._health.alarm = "foreign_history"
            log.error("foreign_history seq=%d: the gateway acked a batch not ours", ack.seq)
            return
        if self._health.alarm == "foreign_history":
            return
        await self._in_thread(self._outbox.ack, ack.seq, ack.sha256)
        self._health.acks += 1
        self._progress_ns = self._clock.monotonic_ns()
        self._wake.set()

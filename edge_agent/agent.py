"""Wires the parts together and supervises them: the only file that knows all."""

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from typing import Any

from edge_agent import __version__
from edge_agent import config as config_
from edge_agent.acks import LOG_HEAD, Identity
from edge_agent.acquisition import Acquisition, DeviceState, DeviceStatus
from edge_agent.acquisition.queue import Taken
from edge_agent.batch_form import BatchForm
from edge_agent.clock import Clock, DeviceClock, SystemClock
from edge_agent.clock_desk import ClockDesk
from edge_agent.config import AgentConfig
from edge_agent.errors import SignerUnavailable
from edge_agent.expiry import Watch, files_of
from edge_agent.health import Health, write_status
from edge_agent.keystore import AgentSigner, Keystore
from edge_agent.legal import boot_id, legal_digest
from edge_agent.losses import LOST, Losses
from edge_agent.outbox import Outbox, OutboxFull
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.journal import Reading
from edge_agent.pipeline.pace import Pace, due
from edge_agent.pipeline.parts import cut
from edge_agent.pipeline.pipeline import Produce
from edge_agent.pipeline.series import to_plain
from edge_agent.pipeline.turning import follow
from edge_agent.readings import Columns, Event, Sample, Waveform
from edge_agent.replay import replay
from edge_agent.resumption import untold
from edge_agent.scribe import SIGNING_KID, Scribe
from edge_agent.service import ServiceManager, report_alive
from edge_agent.supervision import Keeper
from edge_agent.unsaved import Unsaved
from edge_agent.uplink import Uplink
from edge_agent.wire import cose, keys, notes
from edge_agent.wire.cose import MessageType
from edge_agent.wire.log_head import LogHead, LogTrust

log = logging.getLogger(__name__)
_PASSING_ALARMS = ("outbox_full", "disk_full", "signer_unavailable", "unsigned_full")
_QUEUE = 10_000
_GATHER_S = 0.005  # what arrives together is handed over together


def _log_trust(files: config_.Keys) -> LogTrust:
    if files.log is None:
        return LogTrust(files.log_origin)
    spki = keys.public_key(files.log.read_bytes()).spki
    return LogTrust(files.log_origin, notes.note_key(files.log_origin, spki))


def _clock(config: AgentConfig) -> Clock:
    return DeviceClock() if config.time.source == "device" else SystemClock()


def _outbox(config: AgentConfig) -> Outbox:
    limits = config.outbox
    path = config.state_dir / "outbox.sqlite"
    return Outbox(path, limits.max_mb * 2**20, limits.retain_mb * 2**20)


def _acquisition(config: AgentConfig, clock: Clock, jitter: Callable[[], float]) -> Acquisition:
    tags = sum(len(device.tags) for device in config.devices)
    return Acquisition(
        config.devices,
        clock,
        jitter=jitter,
        queue_limit=max(_QUEUE, 10 * tags),
        scans=True,
        gather_s=_GATHER_S,
    )


def _pace(config: AgentConfig, clock: Clock) -> Pace:
    is_replay = config.time.source == "device"  # which waits for nobody
    limit_bytes = math.inf if is_replay else config.limits.waiting_mb * 2**20
    return Pace(limit_bytes, config.time.lateness_s, clock)


def _observe(clock: DeviceClock, readings: Sequence[Reading]) -> None:
    """The devices' time is the newest that any of them told."""
    for reading in readings:
        span = (len(reading) - 1) * reading.period_ns if isinstance(reading, Waveform) else 0
        clock.observe(reading.time_ns + span)


def _count_devices(health: Health, devices: Sequence[DeviceStatus]) -> None:
    health.devices_up = sum(item.state is DeviceState.UP for item in devices)
    health.devices_not_up = len(devices) - health.devices_up
    health.overruns = sum(item.overruns for item in devices)
    health.renewals = sum(item.renewals for item in devices)


def _count_waiting(health: Health, pace: Pace, held_bytes: int) -> None:
    health.overload, health.held_s = pace.is_overloaded, round(pace.held_s)
    health.waiting_mb = held_bytes >> 20


def _write_status(folder: Path, at_ns: int, health: Health, plain: list[dict[str, Any]]) -> None:
    try:
        write_status(folder, at_ns, health, plain)
    except OSError as error:
        log.warning("status_not_written error=%s", error)


def _identity(config: AgentConfig, signer: AgentSigner) -> Identity:
    gateways = tuple(keys.public_key(path.read_bytes()) for path in config.keys.gateway)
    trust = _log_trust(config.keys)
    return Identity(config.site, config.agent, boot_id(), signer, gateways, trust)


def _note_log(outbox: Outbox, head: LogHead | None, seq: int) -> None:
    """Remember which batch carries the newest head of the log, the first time one does."""
    if head is not None and head.seq is None:
        try:
            outbox.put(LOG_HEAD, head.carried_by(seq).dump())
        except OutboxFull as error:  # the next batch carries it again
            log.warning("log_head not noted: %s", error)


def _resumed(outbox: Outbox, now_ns: int) -> list[Event]:
    """What the chain's first batch after a lost disk must say; nothing once it is made."""
    told = untold(outbox)
    return [{"t": now_ns, "type": "resumed", **told.event_fields()}] if told else []


class Agent:
    """One agent: acquisition → pipeline → outbox → uplink."""

    def __init__(self, config: AgentConfig, clock: Clock | None = None) -> None:
        self.config = config
        self.health = Health()
        self._clock = clock or _clock(config)
        self._outbox = _outbox(config)
        self._keystore = Keystore(config.keys, config.state_dir)
        signer = AgentSigner(self._keystore.current(self._outbox.get(SIGNING_KID)))
        self._identity = _identity(config, signer)
        factors = config_.factors_of(config)  # read once: what is signed is what is computed with
        document = config_.effective(config, factors, to_plain(config))
        self._config_sha256 = config_.digest(document)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._outbox.put_config(
            self._config_sha256, cose.sign(MessageType.CONFIG, document, signer)
        )
        self._pipeline = Pipeline(config, factors)
        self._pace = _pace(config, self._clock)
        self._acquisition = _acquisition(config, self._clock, SystemRandom().random)
        self._told: deque[Event] = deque(maxlen=_QUEUE)
        self._keeper = Keeper(self._clock, SystemRandom().random, self._told.append)
        self._uplink = Uplink(
            config.mqtt, self._identity, self._outbox, self._worker, self._clock, self.health
        )
        self._head = self._outbox.head
        self._scribe = Scribe((config.site, config.agent), signer, self._keystore)
        self._unsaved = Unsaved(self._outbox, self._clock, config.time.journal_s)
        self._clocks = ClockDesk(self._clock, config.time)
        self._form = BatchForm(
            (config.site, config.agent), self._identity.boot, self._config_sha256,
            legal_digest(), self._clocks,
        )  # fmt: skip
        self._losses = Losses(self._outbox.get(LOST))
        self._pending: list[Event] = []
        self._entry: int | None = None  # of the journal, while it is replayed
        self._announce = False

    async def run(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._worker, self._restore)
        log.info("started site=%s agent=%s", self.config.site, self.config.agent)
        try:
            async with asyncio.TaskGroup() as group:
                for name, work in (
                    ("uplink", self._uplink.run),
                    ("acquisition", self._acquisition.run),
                    ("status", self._report_status),
                ):
                    group.create_task(self._keeper.keep(name, work))
                # A crash in here may leave half a calculation behind: it ends the process, and
                # the next start goes on from the stored state and journal (decision 0041).
                group.create_task(self._work(), name="work")
                group.create_task(self._tick(), name="tick")
                manager = ServiceManager(os.environ)
                group.create_task(report_alive(manager, self._clock), name="watchdog")
        finally:
            self._worker.shutdown(wait=True)
            self._outbox.close()

    def _restore(self) -> None:
        """Go on from the stored state and the journal; say that there was a start."""
        limits, keep, tell = self.config.limits, self._keep_part, self._tell_damaged
        replay(self._outbox, self._pipeline, limits.waiting_mb * 2**20, keep, tell)
        self._entry = None
        if isinstance(self._clock, DeviceClock):
            self._clock.observe(self._pipeline.memory.newest_ns)
        self._pace.accounted(self._pipeline.held_bytes)  # what the state held waits on
        self._acquisition.resume(self._pipeline.memory.newest_ns, self._outbox.seen.load())
        self._announce = True

    def _tell_damaged(self) -> None:
        now_ns = self._clock.utc_ns()
        span = {"from": now_ns, "to": now_ns}
        self._pending.append(self._event("lost_records", count=1, reason="journal", **span))

    def _keep_part(self, entry: int, produce: Produce) -> None:
        """Keep what a part of the journal came to; the rest of it stays."""
        self._clocks.note(self._clock.utc_ns())
        self._entry = entry
        self._seal(produce.pieces, produce.events)

    def _event(self, kind: str, **fields: object) -> Event:
        return {"t": self._clock.utc_ns(), "type": kind, **fields}

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        async for readings in self._acquisition.batches():
            self.health.readings += sum(
                1 if isinstance(reading, Sample) else len(reading) for reading in readings
            )
            if isinstance(self._clock, DeviceClock):
                _observe(self._clock, readings)
            settled_ns, taken = self._acquisition.settled_ns(), self._acquisition.taken
            await loop.run_in_executor(self._worker, self._take, readings, settled_ns, taken)
            self._acquisition.kept(self._unsaved.durable)
            await self._pace.wait(lambda: self._pipeline.held_bytes)

    async def _tick(self) -> None:
        """Minutes end although no reading arrives; the journal is written in time."""
        loop = asyncio.get_running_loop()
        while True:
            await self._clock.sleep(min(0.5, self.config.time.journal_s))
            settled_ns = self._acquisition.settled_ns()
            await loop.run_in_executor(self._worker, self._take, (), settled_ns)
            self._acquisition.kept(self._unsaved.durable)

    async def _report_status(self) -> None:
        await self._clock.sleep(1)
        expiry = Watch(files_of(self.config))
        while True:
            devices = self._acquisition.status()
            health = self.health
            _count_devices(health, devices)
            _count_waiting(health, self._pace, self._pipeline.held_bytes)
            health.restarts = self._keeper.restarts.total() + self._acquisition.restarts
            at_ns = self._clock.utc_ns()
            health.key_warning = self._scribe.warning(at_ns)
            health.certificate_warning = await asyncio.to_thread(expiry.warnings, at_ns)
            plain = [asdict(item) for item in devices]
            await asyncio.to_thread(_write_status, self.config.state_dir, at_ns, health, plain)
            await self._uplink.publish_status()
            await self._clock.sleep(self.config.time.status_s)

    # -- in the worker thread -----------------------------------------------------------------

    def _take(
        self,
        readings: Sequence[Reading],
        settled_ns: int | None = None,
        taken: Taken | None = None,
    ) -> None:
        now_ns = self._clock.utc_ns()
        if now_ns <= 0:
            return
        readings, stepped = self._follow_clock(readings, now_ns)
        urgent = [*stepped, *self._pipeline.feed(readings, now_ns)]
        self._pending += self._acquisition.drain_events()
        while self._told:
            self._pending.append(self._told.popleft())
        if self._announce:
            self._announce = False
            self._pending.append(self._event("started", software=__version__, head=self._head.seq))
            if untold(self._outbox):
                self._seal((), ())  # before any row
        self._unsaved.add(readings, taken)
        due_ns, settled_ns, told = due(self._pipeline, self._pace, now_ns, settled_ns)
        if due_ns is not None:
            self._pending += told
            produce = self._pipeline.advance(due_ns, settled_ns)
            self._pace.accounted(self._pipeline.held_bytes)
            self._seal(produce.pieces, [*urgent, *produce.events])
        elif urgent or self._scribe.due(self._clock.monotonic_ns()):
            self._seal((), urgent)
        else:
            self._write_journal()

    def _write_journal(self) -> None:
        try:
            self._unsaved.write()
        except OutboxFull as error:  # tried again next time; the next batch ends the wait
            self._alarm("disk_full", error)

    def _save_state(self) -> None:
        try:
            self._outbox.save_state(self._pipeline.dump(), self._entry)
            self._unsaved.stored()
        except OutboxFull as error:  # state and journal on disk still belong together
            self._alarm("disk_full", error)

    def _follow_clock(
        self, readings: Sequence[Reading], now_ns: int
    ) -> tuple[Sequence[Reading], list[Event]]:
        """Tell a wall clock that moved against the monotonic one, and account for what it means."""
        step_ns = self._clocks.step_ns(now_ns)
        if self._announce:
            self._pipeline.memory.lived.split(now_ns)  # whether the clock is right may show later
        turn = follow(self._pipeline, readings, now_ns, step_ns)
        if turn is not None:
            readings, self._pipeline = turn.readings, turn.pipeline
            self._clocks.begin(now_ns)
            self._seal(turn.produce.pieces, turn.produce.events)
            step_ns = step_ns or -turn.back_ns
        self._clocks.note(now_ns)
        return readings, [self._event("clock_step", step_ns=step_ns)] if step_ns else []

    def _seal(self, new_pieces: Sequence[Columns], new_events: Sequence[Event]) -> None:
        """Sign what was produced and commit it with the state it ends with."""
        pieces, events = self._scribe.with_waiting(new_pieces, [*self._pending, *new_events])
        self._pending = []
        self._form.log = LogHead.load(self._outbox.get(LOG_HEAD), self.config.keys.log_origin)
        if not pieces and not events and not self._losses.events:
            self._save_state()
            return
        try:
            parts = cut(
                pieces,
                [*_resumed(self._outbox, self._clock.utc_ns()), *self._losses.events, *events],
            )
            signed = self._scribe.sign(parts, self._head, self._form.batch)
            state, keep = self._pipeline.dump(), {**signed.keep, **self._losses.told()}
            self._outbox.commit(signed.raws, signed.head, state, keep, self._entry)
        except SignerUnavailable as error:
            self._alarm("signer_unavailable", error)
            if not self._scribe.wait(pieces, events, self._clock.monotonic_ns()):
                self._refused(pieces, events, "unsigned_full", error)
            return
        except OutboxFull as error:
            self._refused(pieces, events, "outbox_full", error)
            return
        self._scribe.committed(signed)
        _note_log(self._outbox, self._form.log, signed.head.seq - len(signed.raws) + 1)
        self._head = signed.head
        self._losses.events.clear()
        self._unsaved.stored()
        self.health.batches += len(signed.raws)
        self.health.rows += sum(map(len, pieces))
        if self.health.alarm in _PASSING_ALARMS:
            self.health.alarm = ""
        self._uplink.wake_threadsafe()

    def _refused(
        self, pieces: Sequence[Columns], events: Sequence[Event], alarm: str, error: Exception
    ) -> None:
        """There is no room: say loudly what is lost, and put it into the next batch.

        State and loss are stored together: no stop forgets it, and the journal of it goes.
        """
        self._alarm(alarm, error)
        self._scribe.forget()
        self.health.lost_records += self._losses.add(pieces, events, self._clock.utc_ns())
        try:
            self._outbox.save_state(self._pipeline.dump(), self._entry, self._losses.kept())
            self._unsaved.stored()
        except OutboxFull as full:  # state and journal on disk still belong together
            self._unsaved.lost()
            self._alarm("disk_full", full)

    def _alarm(self, name: str, error: Exception) -> None:
        if self.health.alert(name):
            log.error("%s: %s", name, error)

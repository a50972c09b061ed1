"""Wires the parts together and supervises them: the only file that knows all."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import SystemRandom

from edge_agent import __version__, factor_sets
from edge_agent import config as config_
from edge_agent.acquisition import Acquisition
from edge_agent.clock import NS_PER_S, Clock, DeviceClock, SystemClock
from edge_agent.config import AgentConfig
from edge_agent.health import Health
from edge_agent.outbox import Outbox, OutboxFull
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.pipeline import Reading, decode_readings, encode_readings
from edge_agent.pipeline.rows import MAX_SPAN_NS
from edge_agent.pipeline.series import to_plain
from edge_agent.readings import Columns, Event, Waveform
from edge_agent.uplink import Identity, Uplink
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cose, keys
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType

log = logging.getLogger(__name__)
_EVENTS_A_BATCH = 500
_DECODERS = (
    "decode",
    "dlt645_frames",
    "dlt645_ids",
    "file_drop_rows",
    "hj212_packets",
    "hj212_values",
    "mqtt_values",
    "sparkplug_payload",
    "sparkplug_state",
)
_HERE = Path(__file__).resolve().parent


def legal_digest() -> bytes:
    """SHA-256 over the legally relevant files: decoding, calculation and wire."""
    total = hashlib.sha256()
    files = [*(_HERE / "calc").glob("*.py"), *(_HERE / "wire").glob("*.py")]
    files += [_HERE / "drivers" / f"{name}.py" for name in _DECODERS]
    for path in sorted(files):
        total.update(path.relative_to(_HERE).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.digest()


def boot_id() -> bytes:
    """16 bytes that change with every boot of the machine."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.strip().replace("-", ""))
    except (OSError, ValueError):
        return secrets.token_bytes(16)


class Agent:
    """One agent: acquisition → pipeline → outbox → uplink."""

    def __init__(self, config: AgentConfig, clock: Clock | None = None) -> None:
        self.config = config
        self.health = Health()
        device_time = config.time.source == "device"
        self._clock = clock or (DeviceClock() if device_time else SystemClock())
        factors = factor_sets.find(config.factor_set)
        signer = keys.load_signer(config.keys.signing)
        gateways = tuple(keys.public_key(path.read_bytes()) for path in config.keys.gateway)
        self._identity = Identity(config.site, config.agent, boot_id(), signer, gateways)
        document = config_.effective(config, factors, to_plain(config))
        self._config_sha256 = config_.digest(document)
        self._legal_sha256 = legal_digest()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._outbox = Outbox(config.state_dir / "outbox.sqlite", config.outbox.max_mb * 2**20)
        self._outbox.put_config(
            self._config_sha256, cose.sign(MessageType.CONFIG, document, signer)
        )
        self._pipeline = Pipeline(config, factors)
        self._acquisition = Acquisition(config.devices, self._clock, jitter=SystemRandom().random)
        self._uplink = Uplink(
            config.mqtt, self._identity, self._outbox, self._worker, self._clock, self.health
        )
        self._head = self._outbox.head
        self._unsaved: list[Reading] = []
        self._journal_ns = 0
        self._mono_ns = self._clock.monotonic_ns()
        self._offset_ns: int | None = None
        self._steps = 0
        self._lost: list[Event] = []
        self._pending: list[Event] = []
        self._announce = False

    async def run(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._worker, self._restore)
        log.info("started site=%s agent=%s", self.config.site, self.config.agent)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._uplink.run(), name="uplink")
                group.create_task(self._acquisition.run(), name="acquisition")
                group.create_task(self._work(), name="work")
                group.create_task(self._tick(), name="tick")
                group.create_task(self._report_status(), name="status")
        finally:
            self._worker.shutdown(wait=True)
            self._outbox.close()

    def _restore(self) -> None:
        """Go on from the stored state and the journal; say that there was a start."""
        state, journal = self._outbox.state()
        if state is not None:
            self._pipeline.restore(state)
        for readings in journal:
            self._pipeline.feed(decode_readings(readings), 2**62)
        if isinstance(self._clock, DeviceClock):
            self._clock.observe(self._pipeline.newest_ns)
        self._announce = True

    def _event(self, kind: str, **fields: object) -> Event:
        return {"t": self._clock.utc_ns(), "type": kind, **fields}

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        async for readings in self._acquisition.batches():
            self.health.readings += len(readings)
            if isinstance(self._clock, DeviceClock):
                self._observe(self._clock, readings)
            await loop.run_in_executor(self._worker, self._take, readings)

    @staticmethod
    def _observe(clock: DeviceClock, readings: Sequence[Reading]) -> None:
        for reading in readings:
            span = (len(reading) - 1) * reading.period_ns if isinstance(reading, Waveform) else 0
            clock.observe(reading.time_ns + span)

    async def _tick(self) -> None:
        """Minutes end although no reading arrives; the journal is written in time."""
        loop = asyncio.get_running_loop()
        while True:
            await self._clock.sleep(min(0.5, self.config.time.journal_s))
            await loop.run_in_executor(self._worker, self._take, ())

    async def _report_status(self) -> None:
        while True:
            await self._clock.sleep(self.config.time.status_s)
            self._uplink.publish_status()

    # -- in the worker thread -----------------------------------------------------------------

    def _take(self, readings: Sequence[Reading]) -> None:
        now_ns = self._clock.utc_ns()
        if now_ns <= 0:
            return
        urgent = self._pipeline.feed(readings, now_ns)
        self._pending += [*self._clock_events(now_ns), *self._acquisition.drain_events()]
        if self._announce:
            self._announce = False
            self._pending.append(self._event("started", software=__version__, head=self._head.seq))
        self._unsaved += readings
        due_ns = self._pipeline.due_ns(now_ns)
        if due_ns is not None:
            produce = self._pipeline.advance(due_ns)
            self._seal(produce.pieces, [*urgent, *produce.events])
        elif urgent:
            self._seal((), urgent)
        elif self._unsaved:
            self._write_journal()

    def _write_journal(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._journal_ns < self.config.time.journal_s * NS_PER_S:
            return
        self._journal_ns = now_ns
        try:
            self._outbox.journal(encode_readings(self._unsaved))
        except OutboxFull as error:
            self._alarm("disk_full", error)
        self._unsaved.clear()

    def _clock_events(self, now_ns: int) -> list[Event]:
        """A wall clock that moved against the monotonic one, by more than is configured."""
        if self.config.time.source == "device":
            return []
        offset_ns = now_ns - self._clock.monotonic_ns()
        before, self._offset_ns = self._offset_ns, offset_ns
        limit_ns = self.config.time.max_clock_step_s * NS_PER_S
        if before is None or abs(offset_ns - before) <= limit_ns:
            return []
        self._steps += 1
        return [self._event("clock_step", step_ns=offset_ns - before)]

    def _seal(self, pieces: Sequence[Columns], events: Sequence[Event]) -> None:
        """Sign what was produced and commit it with the state it ends with."""
        events = [*self._lost, *self._pending, *events]
        self._pending = []
        if not pieces and not events:
            self._outbox.save_state(self._pipeline.dump())
            self._unsaved.clear()
            return
        head = self._head
        raws: list[bytes] = []
        for columns, some in _parts(pieces, events):
            raw = wire_batch.sign(self._batch(columns, some, head), self._identity.signer)
            raws.append(raw)
            head = ChainHead(head.seq + 1, hashlib.sha256(raw).digest())
        try:
            self._outbox.commit(raws, head, self._pipeline.dump())
        except OutboxFull as error:
            self._refused(pieces, events, error)
            return
        self._head = head
        self._lost.clear()
        self._unsaved.clear()
        self._journal_ns = self._clock.monotonic_ns()
        self.health.batches += len(raws)
        self.health.rows += sum(map(len, pieces))
        if self.health.alarm in ("outbox_full", "disk_full"):
            self.health.alarm = ""
        self._uplink.wake_threadsafe()

    def _batch(self, columns: Columns, events: Sequence[Event], head: ChainHead) -> Batch:
        times = [*columns.time_ns, *(int(event["t"]) for event in events)]
        first_ns = min(times) // wire_batch.NS_PER_MS * wire_batch.NS_PER_MS
        before, self._mono_ns = self._mono_ns, self._clock.monotonic_ns()
        return Batch(
            site=self.config.site,
            agent=self.config.agent,
            seq=head.seq + 1,
            prev=head.sha256,
            boot=self._identity.boot,
            first_ns=first_ns,
            last_ns=max(first_ns, *columns.time_ns[-1:], *times),
            mono=(before, self._mono_ns),
            clock=ClockState(src=self.config.time.source, steps=self._steps),
            config_sha256=self._config_sha256,
            software=f"edge-agent/{__version__}",
            columns=columns,
            events=tuple(events),
            legal_sha256=self._legal_sha256,
        )

    def _refused(
        self, pieces: Sequence[Columns], events: Sequence[Event], error: OutboxFull
    ) -> None:
        """The outbox is full: say loudly what is lost, and put it into the next batch."""
        self._alarm("outbox_full", error)
        self._unsaved.clear()
        times = [time_ns for columns in pieces for time_ns in columns.time_ns]
        count = len(times)
        self.health.lost_records += count
        times += [int(event["t"]) for event in events]
        previous = self._lost[0] if self._lost else None
        count += int(previous["count"]) if previous else 0
        first_ns = min([*times, int(previous["from"])] if previous else times)
        last_ns = max([*times, int(previous["to"])] if previous else times)
        self._lost = [self._event("lost_records", count=count, to=last_ns, **{"from": first_ns})]

    def _alarm(self, name: str, error: Exception) -> None:
        if self.health.alarm != name:
            log.error("%s: %s", name, error)
        self.health.alarm = name


def _parts(
    pieces: Sequence[Columns], events: Sequence[Event]
) -> list[tuple[Columns, Sequence[Event]]]:
    """Rows and events cut so that each part fits a batch in size and span of time."""
    parts: list[tuple[Columns, Sequence[Event]]] = [(columns, ()) for columns in pieces]
    for chunk in _event_chunks(events):
        for place, (columns, taken) in enumerate(parts):
            if not taken and _fits(columns, chunk):
                parts[place] = (columns, chunk)
                break
        else:
            parts.append((Columns(()), chunk))
    return parts


def _event_chunks(events: Sequence[Event]) -> list[list[Event]]:
    chunks: list[list[Event]] = []
    for event in sorted(events, key=lambda item: int(item["t"])):
        last = chunks[-1] if chunks else []
        if last and len(last) < _EVENTS_A_BATCH and event["t"] - last[0]["t"] <= MAX_SPAN_NS:
            last.append(event)
        else:
            chunks.append([event])
    return chunks


def _fits(columns: Columns, chunk: Sequence[Event]) -> bool:
    if not len(columns):
        return False
    first_ns = min(columns.time_ns[0], int(chunk[0]["t"]))
    last_ns = max(columns.time_ns[-1], int(chunk[-1]["t"]))
    return last_ns - first_ns <= 2 * MAX_SPAN_NS

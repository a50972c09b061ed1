"""Runs link, intake and recorder together, from start to a clean stop.

Messages are collected for a short time, then decided on and made durable in one thread that owns
ledger and store; then the agents get one signed, retained ack each; then the broker is told that
the messages arrived. When ledger or store fail, nothing of this goes on until they work again.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.errors import CarbonError, ConfigError, StoreError
from edge_agent.service import ServiceManager, report_alive
from edge_agent.wire import notes
from edge_agent.wire.keys import KeyRing, Signer, load_signer, public_key
from gateway.checkpoints import Checkpointer, of_config
from gateway.config import GatewayConfig
from gateway.ingest.cadence import Allowance
from gateway.ingest.chains import Source
from gateway.ingest.fair import Delivery, FairQueue
from gateway.ingest.intake import Intake
from gateway.ingest.journal import Journal
from gateway.ingest.link import Link
from gateway.ingest.log_keeper import LogKeeper
from gateway.ingest.marks import Policy
from gateway.ingest.recorder import Recorder
from gateway.ingest.stamping import Stamping
from gateway.ledger import Ledger
from gateway.stamps import Stamper
from gateway.store import open_store
from gateway.timestamp_http import clients
from gateway.trust import revoked_people
from gateway.trust.approvals import approved
from gateway.trust.keybook import open_keybook
from gateway.trust.people import load_people
from gateway.witness_http import WitnessClient

_REPEAT_S = 0.2
_FIRST_DELAY_S = 0.2
_LAST_DELAY_S = 30.0
_T = TypeVar("_T")


async def serve(config: GatewayConfig, clock: Clock) -> None:
    """Run the gateway until cancelled.

    Raises:
        ConfigError, KeyFileError: the configuration cannot be used.
        StoreError: ledger or store cannot be opened.
        Fork, Gap: another process wrote another history into the ledger.
    """
    signer = load_signer(config.keys.ack)
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1, thread_name_prefix="ledger") as executor:
        opened = await loop.run_in_executor(executor, _open, config, signer, clock)
        recorder, keys, checkpointer = opened
        try:
            service = _Service(config, recorder, executor, clock)
            keeper = LogKeeper(
                checkpointer,
                witnesses(config),
                executor,
                clock,
                service.owe_everyone,
            )
            stamping = Stamping(Stamper(recorder.ledger, clients(config)), executor, clock)
            sources = [(one.site, one.agent) for one in keys.enrolments()]
            await service.run(sources, keeper, stamping)
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            await loop.run_in_executor(executor, recorder.close)


def _open(
    config: GatewayConfig, signer: Signer, clock: Clock
) -> tuple[Recorder, KeyRing, Checkpointer]:
    """Ledger, keys in force, store and intake as configured; the recorder closes days before it writes."""
    ledger = Ledger(
        config.ledger_path,
        quarantine_messages=config.quarantine.messages,
        quarantine_per_topic=config.quarantine.per_topic,
        quarantine_per_hour=config.quarantine.per_hour,
    )
    keys = open_keybook(config, ledger.documents)
    policy = Policy(
        hold_batches=config.hold.batches,
        hold_bytes=config.hold.bytes,
        late_after_s=config.late_after_s,
        future_after_s=config.future_after_s,
        clock_drift_ppm=config.clock_drift_ppm,
        key_grace_days=config.key_grace_days,
        allowance=Allowance(**config.cadence.model_dump()),
    )
    people = load_people(config)
    revoked_people.note(ledger, people, signer, clock.utc_ns())
    required = config.approval == "required"
    approvals = partial(approved, ledger, people) if required else None
    intake = Intake(ledger, keys, policy, clock, approvals)
    recorder = Recorder(intake, ledger, open_store(config), signer, clock)
    checkpointer = of_config(ledger, config)
    recorder.before_writing(checkpointer.close_days)
    return recorder, keys, checkpointer


def witnesses(config: GatewayConfig) -> list[WitnessClient]:
    """The configured witnesses.

    Raises:
        ConfigError: a key file cannot be read as an Ed25519 public key.
    """
    clients = []
    for one in config.log.witnesses:
        try:
            spki = public_key(one.public_key.read_bytes()).spki
            key = notes.note_key(one.name, spki)
        except (OSError, CarbonError, ValueError) as error:
            message = f"witness {one.name}: {one.public_key}: {error}"
            right = "a PEM file with an Ed25519 public key is right"
            raise ConfigError(message, key="log.witnesses", right=right) from error
        clients.append(WitnessClient(key, one.url, config.log.witness_timeout_s))
    return clients


class _Service:
    def __init__(
        self, config: GatewayConfig, recorder: Recorder, executor: ThreadPoolExecutor, clock: Clock
    ) -> None:
        self._settings = config.ledger
        self._recorder = recorder
        self._executor = executor
        self._clock = clock
        self._journal = Journal(__name__, clock)
        self._intake = recorder.intake
        self._link = Link(config.mqtt, clock, FairQueue(self._intake.knows), self._subscribed)
        self._owed: set[Source] = set()
        self._published_ns: dict[Source, int] = {}
        self._agents: list[Source] = []
        self._loop = asyncio.get_running_loop()

    async def run(self, agents: list[Source], keeper: LogKeeper, stamping: Stamping) -> None:
        """Heal the store, then connect and work."""
        self._agents = agents
        await self._insist(self._recorder.start)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run(), name="mqtt")
            tasks.create_task(self._work(), name="ingest")
            tasks.create_task(keeper.run(), name="log")
            tasks.create_task(stamping.run(), name="timestamps")
            manager = ServiceManager(os.environ)
            tasks.create_task(report_alive(manager, self._clock), name="watchdog")

    def owe_everyone(self) -> None:
        """Every agent gets its ack again: there is news of the log, or a new session."""
        self._owed.update(self._agents)
        self._link.news.set()

    def _subscribed(self) -> None:
        self._journal.event(logging.INFO, "ready")
        self._published_ns.clear()
        self.owe_everyone()

    async def _work(self) -> None:
        while True:
            deliveries = await self._collect()
            arrived = (delivery.message for delivery in deliveries)
            self._recorder.put(arrived, self._link.queue.overflows())
            done = await self._insist(self._recorder.commit)
            self._owed |= done.repeat | done.progressed
            await self._publish(done.progressed)
            for delivery in deliveries:
                self._link.acknowledge(delivery)

    async def _collect(self) -> list[Delivery]:
        """What came within the group time, every sender in turn; nothing when acks are due."""
        queue, most = self._link.queue, self._settings.group_batches
        is_due = self._owed or self._intake.is_waiting()
        try:
            async with asyncio.timeout(_REPEAT_S if is_due else None):
                await self._link.news.wait()
        except TimeoutError:
            return []
        self._link.news.clear()
        if 0 < len(queue) < most:
            await asyncio.sleep(self._settings.group_ms / 1_000)
        taken = queue.take(most)
        if len(queue):
            self._link.news.set()
        return taken

    async def _publish(self, progressed: set[Source]) -> None:
        """Publish news at once, and what is owed when the last ack is long enough ago."""
        now_ns = self._clock.monotonic_ns()
        wait_ns = int(_REPEAT_S * NS_PER_S)
        due = {
            source
            for source in self._owed
            if source in progressed
            or now_ns - self._published_ns.get(source, now_ns - wait_ns) >= wait_ns
        }
        self._owed -= due
        for topic, ack in await self._insist(lambda: self._recorder.acks(sorted(due))):
            self._link.publish(topic, ack)
        self._published_ns.update(dict.fromkeys(due, now_ns))

    async def _insist(self, work: Callable[[], _T]) -> _T:
        """Do it in the ledger's thread, again and again while ledger or store fail."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                return await self._loop.run_in_executor(self._executor, work)
            except StoreError as error:
                self._journal.event(logging.ERROR, "store_failed", error=error, retry_s=delay_s)
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_DELAY_S)

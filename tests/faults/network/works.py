"""A small plant in one process: a real agent and gateway, and a real mosquitto beside them.

Plant time moves a minute when told, with one reading in it, so that every minute is a batch; the
readings fed are the truth. Waiting is real but short, and no test measures it.
"""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time

import pytest
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import config as agent_config
from edge_agent.agent import Agent
from edge_agent.clock import Synchronisation, SystemClock
from edge_agent.readings import Sample
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import messages, topics
from edge_agent.wire.keys import create_signer, load_signer, public_key
from gateway import audit
from gateway.config import load
from gateway.ingest.service import serve
from gateway.ledger import Ledger
from gateway.store import open_store

SITE, AGENT, TAG = "al-001", "gw-01", "hall"
DEADLINE_S = 60
MINUTE_NS = 60 * 10**9
T0 = 1_790_784_000 * 10**9
PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
needs_broker = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
# paho leaves the pair of sockets behind that wakes its thread, whenever it is restarted.
restarts_paho = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def until(condition, what, limit_s=DEADLINE_S):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true in time"
        await asyncio.sleep(0.02)


class Broker:
    """mosquitto on a port of its own, to be killed and started again."""

    def __init__(self, folder, *, persistence=False):
        self.folder, self.port, self.process = folder / "broker", free_port(), None
        self.folder.mkdir()
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "message_size_limit 270000",
            "max_queued_messages 0",
            "log_type error",
            "log_type warning",
        ]
        if persistence:
            # Started by root, mosquitto would give up its rights and could not write the file.
            lines += ["user root", "persistence true", f"persistence_location {self.folder}/"]
            lines += ["autosave_on_changes true", "autosave_interval 1"]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self):
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )
        end = time.monotonic() + DEADLINE_S
        while not self._listens():
            assert self.process.poll() is None, (self.folder / "mosquitto.log").read_text()
            assert time.monotonic() < end, "the broker did not start"
            time.sleep(0.02)

    def _listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)


class PlantClock:
    """Plant time moves when told; waiting is cut short, intervals are real."""

    def __init__(self, now_ns=T0):
        self._real, self.now_ns = SystemClock(), now_ns

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self._real.monotonic_ns()

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.05))


class ShortWaits(SystemClock):
    """The machine's clock for the gateway; back-off takes no longer than a moment."""

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.2))


class Works:
    """Files of a site with one agent and its gateway, which run in this process."""

    def __init__(self, folder, *, agent_port, gateway_port, **changes):
        self.folder = folder
        for name in ("agent", "gateway"):
            create_signer(folder / "keys" / f"{name}.pem")
        self.agent_file, self.gateway_file = folder / "agent.yaml", folder / "gateway.yaml"
        tag = {"id": TAG, "address": 1, "type": "float32", "unit": "degC"}
        device = {"id": "plc", "driver": "modbus", "host": "127.0.0.1", "port": 9, "unit": 1,
                  "interval_s": 60, "enabled": False, "tags": [tag]}  # fmt: skip
        agent = {
            "site": SITE,
            "agent": AGENT,
            "state_dir": "state",
            "keys": {"signing": "keys/agent.pem", "gateway": ["keys/gateway.pub.pem"]},
            "mqtt": {"port": agent_port, "resend_s": 1},
            "time": {"lateness_s": 0, "max_clock_step_s": 10**9, "status_s": 5},
            "factor_set": "ipcc-2006",
            "devices": [device],
        }
        self.agent_file.write_text(yaml.safe_dump(agent | changes))
        gateway = {
            "state_dir": "gateway",
            "keys": {"ack": "keys/gateway.pem"},
            "mqtt": {"host": "127.0.0.1", "port": gateway_port, "client_id": "ingest",
                     "keepalive_s": 2},
            "agents": [{"site": SITE, "agent": AGENT, "public_key": "keys/agent.pub.pem"}],
            "late_after_s": None,
            "future_after_s": None,
            "clock_drift_ppm": None,
        }  # fmt: skip
        self.gateway_file.write_text(yaml.safe_dump(gateway))

    def signer(self, name="agent"):
        return load_signer(self.folder / "keys" / f"{name}.pem")

    @contextlib.asynccontextmanager
    async def gateway(self):
        """The gateway while the block runs."""
        async with _running(serve(load(self.gateway_file), ShortWaits())):
            yield

    @contextlib.asynccontextmanager
    async def agent(self, state_dir=None, *, clock=None, broker_port=None):
        """An agent while the block runs; with a state folder or a broker of its own if told."""
        config = agent_config.load(self.agent_file)
        # Half-open connections are found by the keep-alive; five seconds are the least in a file.
        mqtt = config.mqtt.model_copy(
            update={"keepalive_s": 2, "port": broker_port or config.mqtt.port}
        )
        changes = {"mqtt": mqtt, "state_dir": state_dir or config.state_dir}
        agent = Agent(config.model_copy(update=changes), clock or PlantClock())
        before = agent._head.seq
        async with _running(agent.run()):
            # Both are gone again once the first batch, which may be at once, has told the start.
            await until(
                lambda: agent._announce or agent._pending or agent._head.seq > before,
                "the restored state",
            )
            yield agent

    @contextlib.contextmanager
    def ledger(self):
        ledger = Ledger(load(self.gateway_file).ledger_path)
        try:
            yield ledger
        finally:
            ledger.close()

    def head(self):
        with self.ledger() as ledger:
            return ledger.head(SITE, AGENT).seq

    def rows(self):
        """(time, value) of the tag in the ledger, in the order of the chain; batches verified."""
        found = []
        with self.ledger() as ledger:
            keys = ledger.key_ring()
            for row in ledger.batches(SITE, AGENT):
                columns = wire_batch.verify(row.raw, SITE, AGENT, keys).batch.columns
                found += [
                    (record.time_ns, record.value)
                    for record in columns.records()
                    if record.series == TAG
                ]
        return found

    def assert_whole(self, agent, truth):
        """The ledger holds every reading once and in order, the agent's own bytes, no more."""
        with self.ledger() as ledger:
            raws = [row.raw for row in ledger.batches(SITE, AGENT)]
            assert ledger.contiguous(SITE, AGENT)
            assert ledger.forks(SITE, AGENT) == []
            assert ledger.quarantine_counts() == []
            store = open_store(load(self.gateway_file))
            differences = audit.compare(ledger, store, SITE)
            store.close()
        assert raws == [one.raw for one in agent._outbox.after(0, 10**6)]
        assert self.rows() == truth
        assert differences == []
        assert (agent._outbox.acked, agent._outbox.unacked_bytes) == (len(raws), 0)


class Listener:
    """A stranger at the broker who sends what he likes and hears every ack."""

    def __init__(self, works, port):
        key = public_key(works.signer("gateway").public_spki())
        self.acks = []
        self._client = Client(CallbackAPIVersion.VERSION2)
        self._client.max_inflight_messages_set(1_000)
        self._client.on_connect = lambda *_: self._client.subscribe(self._topic("ack"), 1)
        self._client.on_message = lambda _c, _u, message: self.acks.append(
            messages.verify_ack(message.payload, lambda _: key)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _topic(self, kind):
        return topics.topic(SITE, AGENT, kind)

    def send(self, raw):
        return self._client.publish(self._topic("batch"), raw, qos=1)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


class Meter:
    """Feeds readings that are all different, and remembers them: the truth."""

    def __init__(self, clock, first=20.5, step=0.25):
        self.clock, self._next, self._step = clock, first, step
        self.truth = []

    async def minute(self, agent, minutes=1):
        """Time passes, with one reading at its beginning."""

        def step():
            # In the worker, so that no tick of the agent's sees the time without the reading.
            now_ns, value = self.clock.now_ns, self._next
            self._next += self._step
            self.truth.append((now_ns, value))
            self.clock.now_ns += minutes * MINUTE_NS
            agent._take([Sample(TAG, now_ns, value)])

        await asyncio.get_running_loop().run_in_executor(agent._worker, step)


@contextlib.asynccontextmanager
async def _running(work):
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done(), "it ended by itself"
    finally:
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError), outcome

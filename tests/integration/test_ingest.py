"""The gateway as a process, a real mosquitto, and an agent written by hand."""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.clock import SystemClock
from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, messages, notes
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import create_signer, public_key
from gateway import audit, cli
from gateway.config import load
from gateway.ledger import Ledger
from gateway.store import open_store
from gateway.witness import Witness
from gateway.witness_http import serving

ROOT = Path(__file__).parents[2]
SITE = "al-001"
DEADLINE_S = 40
CONFIG = """\
state_dir: state
keys: {{ack: ack.pem}}
mqtt: {{host: 127.0.0.1, port: {port}, client_id: ingest, keepalive_s: 5}}
agents:
  - {{site: al-001, agent: gw-01, public_key: gw-01.pub.pem}}
  - {{site: al-001, agent: gw-02, public_key: gw-02.pub.pem}}
late_after_s: null
"""


def until(condition, what="the condition"):
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come true in time"
        time.sleep(0.02)
    return found


class Broker:
    """mosquitto on a port of its own."""

    def __init__(self, folder):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
            "message_size_limit 300000\npersistence false\nlog_type error\n"
        )
        self.process = None

    def start(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
            )

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        until(listens, "the broker's start")

    def stop(self):
        self.process.terminate()
        self.process.wait(DEADLINE_S)


class Gateway:
    """The command ``run`` as a process that can be killed."""

    def __init__(self, folder, port):
        self.folder = folder
        self.path = folder / "gateway.yaml"
        self.path.write_text(CONFIG.format(port=port), encoding="utf-8")
        self.signer = create_signer(folder / "ack.pem")
        self.log = folder / "gateway.log"
        self.process = None

    def start(self, *, wait=True):
        before = self.ready_lines()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", str(self.path)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        if wait:
            until(lambda: self.ready_lines() > before, "the gateway's start")

    def ready_lines(self):
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        assert "Traceback" not in text, text
        return sum(line.endswith(" ready") for line in text.splitlines())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def ledger(self):
        return Ledger(load(self.path).ledger_path)

    def rows(self, agent="gw-01"):
        ledger = self.ledger()
        rows = [row.raw for row in ledger.batches(SITE, agent)]
        ledger.close()
        return rows

    def reasons(self):
        ledger = self.ledger()
        found = {}
        for count in ledger.quarantine_counts():
            found[count.reason] = found.get(count.reason, 0) + count.messages
        ledger.close()
        return found

    def differences(self):
        config = load(self.path)
        ledger, store = Ledger(config.ledger_path), open_store(config)
        found = audit.compare(ledger, store, SITE)
        store.close()
        ledger.close()
        return found


class Agent:
    """Signs with the wire's functions, publishes, and collects the acks it is sent."""

    content = cbor.encode({"site": SITE, "factor_set": "x"})

    def __init__(self, broker, gateway, name="gw-01"):
        self.name = name
        self.signer = create_signer(gateway.folder / f"{name}.pem")
        (gateway.folder / f"{name}.pem").with_suffix(".pub.pem").chmod(0o644)
        self._key = public_key(gateway.signer.public_spki())
        self.acks = []
        self._broker = broker
        self._client = None

    def connect(self):
        connected = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=f"agent-{self.name}")
        self._client.reconnect_delay_set(1, 1)
        self._client.max_inflight_messages_set(1_000)
        self._client.on_connect = lambda *_: self._client.subscribe(self.topic("ack"), 1)
        self._client.on_subscribe = lambda *_: connected.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", self._broker.port)
        self._client.loop_start()
        assert connected.wait(DEADLINE_S)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()

    def topic(self, kind, agent=None):
        return f"carbon/v1/{SITE}/{agent or self.name}/{kind}"

    def _on_message(self, _client, _data, message):
        if message.payload:
            self.acks.append(messages.verify_ack(message.payload, lambda _: self._key))

    def send(self, payload, kind="batch", *, retain=False, topic=None):
        self._client.publish(topic or self.topic(kind), payload, qos=1, retain=retain)

    def configure(self):
        self.send(cose.sign(MessageType.CONFIG, self.content, self.signer), "config", retain=True)

    def status(self):
        status = messages.Status(SITE, self.name, bytes(16), 1, "up", 0, 0, {})
        self.send(messages.sign_status(status, self.signer), "status")

    def acked(self, seq):
        return until(
            lambda: next((ack for ack in self.acks if ack.seq >= seq), None), f"ack of {seq}"
        )

    def batch(self, seq, prev=bytes(32), value=None):
        at = 1_767_196_800_000_000_000 + seq * 60_000_000_000
        columns = Columns(
            ("pot.001.v", "line.kwh"), [0, 1], [at, at], [value or seq / 8, 10**9 + seq], [0, 0]
        )
        batch = Batch(
            SITE, self.name, seq, prev, bytes(16), at, at, (seq, seq), ClockState(),
            hashlib.sha256(self.content).digest(), "edge-agent/0.1.0", columns,
        )  # fmt: skip
        return wire_batch.sign(batch, self.signer)

    def batches(self, count, after=b"", first=1):
        made = []
        prev = hashlib.sha256(after).digest() if after else bytes(32)
        for seq in range(first, first + count):
            made.append(self.batch(seq, prev))
            prev = hashlib.sha256(made[-1]).digest()
        return made


@pytest.fixture
def broker(tmp_path):
    started = Broker(tmp_path)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def gateway(broker, tmp_path):
    prepared = Gateway(tmp_path, broker.port)
    yield prepared
    if prepared.process is not None and prepared.process.poll() is None:
        prepared.kill()


@pytest.fixture
def agents(broker, gateway):
    made = [Agent(broker, gateway, name) for name in ("gw-01", "gw-02")]
    for one in made:
        one.connect()
    yield made
    for one in made:
        one.close()


@pytest.fixture
def agent(agents):
    return agents[0]


def test_batches_in_order_reach_ledger_and_store_and_are_acked(gateway, agent, broker, capsys):
    gateway.start()
    agent.configure()
    made = agent.batches(120)
    for raw in made:
        agent.send(raw)
    ack = agent.acked(120)
    assert (ack.seq, ack.sha256) == (120, hashlib.sha256(made[-1]).digest())
    assert (ack.held, ack.want_config) == (None, False)
    seqs = [ack.seq for ack in agent.acks]
    assert seqs == sorted(seqs)
    assert gateway.rows() == made
    assert gateway.differences() == []
    assert cli.main(["status", str(gateway.path), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["agents"][0]["seq"] == 120
    assert status["points"] == {SITE: 240}
    assert gateway.stop() == 0
    agent.acks.clear()
    agent.close()
    agent.connect()
    assert agent.acked(120).seq == 120, "the ack is retained"


def test_any_order_with_duplicates_gives_the_same_ledger(gateway, agent):
    gateway.start()
    agent.configure()
    made = agent.batches(200)
    order = made + made[::4]
    random.Random(3).shuffle(order)
    for raw in order:
        agent.send(raw)
    agent.acked(200)
    assert gateway.rows() == made
    assert gateway.reasons() == {}
    assert gateway.differences() == []


def test_a_gap_is_told_in_the_ack_and_closes(gateway, agent):
    gateway.start()
    agent.configure()
    made = agent.batches(5)
    for place in (0, 4, 2):
        agent.send(made[place])
    until(lambda: agent.acks and agent.acks[-1].held == (3, 5), "the ack with the held range")
    assert agent.acks[-1].seq == 1
    for place in (1, 3):
        agent.send(made[place])
    agent.acked(5)
    assert gateway.rows() == made


def test_a_replay_is_acked_again_at_a_limited_rate(gateway, agent):
    gateway.start()
    agent.configure()
    (raw,) = agent.batches(1)
    agent.send(raw)
    agent.acked(1)
    before, began = len(agent.acks), time.monotonic()
    for _ in range(400):
        agent.send(raw)
    follower = agent.batches(1, raw, 2)[0]
    until(lambda: len(agent.acks) > before, "the repeated ack")
    agent.send(follower)
    agent.acked(2)
    most = (time.monotonic() - began) / 0.2 + 3
    assert len(agent.acks) - before <= most
    assert gateway.rows() == [raw, follower]


def test_a_fork_keeps_both_and_freezes_until_released(gateway, agents):
    agent, neighbour = agents
    gateway.start()
    for one in agents:
        one.configure()
    made = agent.batches(4)
    for raw in made[:3]:
        agent.send(raw)
    agent.acked(3)
    other = agent.batch(3, hashlib.sha256(made[1]).digest(), value=99.5)
    agent.send(other)
    ledger = gateway.ledger()
    until(lambda: ledger.is_frozen(SITE, "gw-01"), "the freeze")
    assert [raw for _, _, raw in ledger.forks(SITE, "gw-01")] == [other]
    agent.acks.clear()
    agent.send(made[3])
    assert agent.acked(3).seq == 3, "the last ack is repeated"
    neighbour.send(neighbour.batches(1)[0])
    neighbour.acked(1)
    assert gateway.rows() == made[:3]
    words = ["release", str(gateway.path), SITE, "gw-01", "--reason", "the clone is switched off"]
    assert cli.main(words) == 0
    agent.send(made[3])
    agent.acked(4)
    ledger.close()


def test_what_is_no_evidence_is_quarantined_under_its_reason(gateway, agents):
    agent, neighbour = agents
    gateway.start()
    agent.configure()
    good = agent.batches(1)[0]
    stranger = Agent(agent._broker, gateway, "gw-09")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    agent.send(bytes(flipped))
    agent.send(neighbour.batch(1))
    agent.send(stranger.batch(1))
    agent.send(good, topic=f"carbon/v1/{SITE}/GW 01/batch")
    agent.send(good, "config")
    agent.send(good + b"\x00")
    agent.send(bytes(262_401))
    expected = {
        "signature": 1, "wrong_agent": 1, "unknown_key": 1, "topic": 1, "type": 1,
        "envelope": 1, "size": 1,
    }  # fmt: skip
    until(lambda: gateway.reasons() == expected, f"{expected}, not {gateway.reasons()}")
    assert gateway.rows() == []
    agent.send(good)
    agent.acked(1)


def test_batches_wait_for_their_configuration(gateway, agent):
    gateway.start()
    made = agent.batches(3)
    for raw in made:
        agent.send(raw)
    until(lambda: agent.acks and agent.acks[-1].want_config, "the question for the configuration")
    until(lambda: agent.acks[-1].held == (1, 3), "the held range")
    assert gateway.rows() == []
    agent.configure()
    assert not agent.acked(3).want_config
    assert gateway.rows() == made


def test_a_status_brings_back_an_ack_that_was_deleted(gateway, agent):
    gateway.start()
    agent.configure()
    agent.send(agent.batches(1)[0])
    agent.acked(1)
    agent.send(b"", "ack", retain=True)
    agent.acks.clear()
    agent.status()
    assert agent.acked(1).seq == 1


def test_a_gateway_killed_again_and_again_loses_nothing(gateway, agent):
    made = agent.batches(600)
    dice = random.Random(11)
    gateway.start()
    agent.configure()
    sent = 0
    for _ in range(4):
        target = sent + 120
        for raw in made[sent:target]:
            agent.send(raw)
        reached = sent + dice.randrange(1, 100)
        until(lambda limit=reached: len(gateway.rows()) >= limit, "some progress")
        gateway.kill()
        sent = target
        gateway.start(wait=False)
    for raw in made[sent:]:
        agent.send(raw)
    agent.acked(600)
    assert gateway.rows() == made
    assert gateway.differences() == []
    assert gateway.reasons() == {}


def test_what_did_not_become_durable_stays_with_the_broker(gateway, agent):
    gateway.start()
    agent.configure()
    made = agent.batches(40)
    agent.send(made[0])
    agent.acked(1)
    disk = sqlite3.connect(load(gateway.path).ledger_path, isolation_level=None)
    disk.execute(
        "CREATE TRIGGER full BEFORE INSERT ON batches BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    for raw in made[1:]:
        agent.send(raw)
    until(lambda: gateway.log.read_text().count("disk full") >= 2, "the alarm")
    assert max(ack.seq for ack in agent.acks) == 1
    gateway.kill()
    disk.execute("DROP TRIGGER full")
    disk.close()
    gateway.start()
    agent.acked(40)
    assert gateway.rows() == made


def test_a_broker_that_comes_back_is_found_again(gateway, agent, broker):
    gateway.start()
    agent.configure()
    made = agent.batches(6)
    for raw in made[:3]:
        agent.send(raw)
    agent.acked(3)
    broker.stop()
    agent.acks.clear()
    ready = gateway.ready_lines()
    broker.start()
    until(lambda: gateway.ready_lines() > ready, "the reconnection")
    assert agent.acked(3).seq == 3, "the forgetful broker got the ack again"
    for raw in made[3:]:
        agent.send(raw)
    agent.acked(6)
    assert gateway.rows() == made


def test_a_gateway_started_before_its_broker_waits_for_it(gateway, agent, broker):
    broker.stop()
    gateway.start(wait=False)
    until(lambda: gateway.log.exists() and "mqtt_unreachable" in gateway.log.read_text(), "try")
    broker.start()
    until(lambda: gateway.ready_lines() == 1, "the connection")
    agent.configure()
    agent.send(agent.batches(1)[0])
    agent.acked(1)


def test_nothing_is_acked_while_the_store_is_locked(gateway, agent):
    gateway.start()
    agent.configure()
    made = agent.batches(2)
    agent.send(made[0])
    agent.acked(1)
    lock = sqlite3.connect(load(gateway.path).store_path, isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    agent.send(made[1])
    until(lambda: len(gateway.rows()) == 2, "the ledger's row")
    assert max(ack.seq for ack in agent.acks) == 1
    gateway.kill()
    lock.execute("ROLLBACK")
    lock.close()
    assert gateway.differences() != []
    gateway.start()
    agent.acked(2)
    assert gateway.differences() == []


def test_wrong_configuration_ends_with_two_and_one_line(gateway):
    text = gateway.path.read_text(encoding="utf-8").replace("keepalive_s: 5", "keepalive: 5")
    gateway.path.write_text(text, encoding="utf-8")
    gateway.start(wait=False)
    assert gateway.process.wait(DEADLINE_S) == 2
    (line,) = gateway.log.read_text(encoding="utf-8").splitlines()
    assert "gateway.yaml:3: mqtt.keepalive: unknown key (did you mean 'keepalive_s'?)" in line


def test_a_running_gateway_states_its_log_and_has_it_witnessed(gateway, agent, tmp_path, capsys):
    log_signer, own = create_signer(tmp_path / "log.pem"), create_signer(tmp_path / "witness.pem")
    origin, name = "carbon-log/local", "witness.example"
    known = [notes.note_key(origin, log_signer.public_spki())]
    witness = Witness(tmp_path / "w" / "witness.sqlite", name, own, known, SystemClock())
    key = notes.note_key(name, own.public_spki())
    with serving(witness, "127.0.0.1", 0) as (host, port):
        text = gateway.path.read_text(encoding="utf-8").replace(
            "keys: {ack: ack.pem}", "keys: {ack: ack.pem, log: log.pem}"
        )
        text += (
            "log:\n  checkpoint_s: 1\n  witnesses:\n"
            f"    - {{name: {name}, public_key: witness.pub.pem, url: 'http://{host}:{port}'}}\n"
        )
        gateway.path.write_text(text, encoding="utf-8")
        gateway.start()
        agent.configure()
        made = agent.batches(2)
        for number, raw in enumerate(made, 1):
            agent.send(raw)
            told = until(
                lambda size=number + 1: next(
                    (ack for ack in agent.acks if ack.log and notes.parse(ack.log)[0].size == size),
                    None,
                ),
                "the checkpoint in an ack",
            )
            head = notes.verify_checkpoint(told.log, known[0])
            ledger = gateway.ledger()
            assert head.root == ledger.tree.root(head.size)
            lines = until(
                lambda tree=ledger.tree, size=head.size: tree.cosignatures(size), "the cosignature"
            )
            assert notes.cosigned_at(head, lines, key)
            ledger.close()
    assert cli.main(["log", str(gateway.path)]) == 0
    assert f"{name}" in capsys.readouterr().out

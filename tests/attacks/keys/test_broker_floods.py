"""Floods at a real mosquitto with the generated configuration, with the real gateway behind it (87, 88)."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tls_broker import DEADLINE_S, PROGRAM, Site, topic, until

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, messages
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import create_signer, public_key
from edge_agent.wire.tls import TlsClient
from gateway.ledger import Ledger

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
ROOT = Path(__file__).parents[3]
CONNECTIONS = 40
CONFIG = cbor.encode({"site": "al-001"})
GATEWAY = """\
state_dir: state
keys: {{ack: ack.pem}}
mqtt:
  host: 127.0.0.1
  port: {port}
  client_id: ingest
  tls: {{ca: ca/ca.crt, cert: tls/ingest.crt, key: tls/ingest.pem}}
agents:
  - {{site: al-001, agent: gw-01, public_key: gw-01.pub.pem}}
  - {{site: al-001, agent: gw-02, public_key: gw-02.pub.pem}}
late_after_s: null
"""


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path, connections=CONNECTIONS)
    yield made
    made.close()


def memory_kib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def raw_client(site, agent):
    """A connection past CONNECT whose bytes the test writes and reads, or not, itself."""
    tls = TlsClient(site.folder / "ca/ca.crt", *site.files(agent)).context
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.connect(("127.0.0.1", site.port))
    made = tls.wrap_socket(plain, server_hostname="127.0.0.1")
    made.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a")
    assert made.recv(4)[:1] == b"\x20"
    return made


def test_a_flood_of_connections_leaves_who_is_connected_alone(site, peers):
    gateway = peers(site.ingest())
    victim = peers(site.client(site.files("gw-02"))).subscribe(topic("gw-02", "ack"))
    flood = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(3 * CONNECTIONS)]
    try:
        closed = 0
        for one in flood:
            one.settimeout(0.01)

        def turned_away():
            nonlocal closed
            for one in list(flood):
                try:
                    if one.recv(1) == b"":
                        flood.remove(one)
                        one.close()
                        closed += 1
                except TimeoutError:
                    continue
                except OSError:
                    flood.remove(one)
                    closed += 1
            return closed >= 2 * CONNECTIONS

        until(turned_away, "refusals beyond the limit")
        assert len(flood) <= CONNECTIONS
        gateway.publish(topic("gw-02", "ack"), b"still there")
        until(lambda: (topic("gw-02", "ack"), b"still there") in victim.received, "the ack")
        assert not victim.refused.is_set()
    finally:
        for one in flood:
            one.close()
    newcomer = None

    def gets_in():
        nonlocal newcomer
        newcomer = site.client(site.files("gw-03"))
        until(lambda: newcomer.connected.is_set() or newcomer.refused.is_set(), "an answer")
        if newcomer.connected.is_set():
            return True
        newcomer.close()
        return False

    until(gets_in, "room for a newcomer")
    newcomer.close()


def test_a_client_that_never_reads_costs_the_broker_a_bounded_queue(site, peers):
    """It subscribes to its own ack and stops reading; acks of 100 KiB come for it, 800 MB in all."""
    gateway = peers(site.ingest())
    victim = peers(site.client(site.files("gw-02"))).subscribe(topic("gw-02", "ack"))
    with closing(raw_client(site, "gw-01")) as lazy:
        name = topic("gw-01", "ack").encode()
        lazy.sendall(
            b"\x82"
            + bytes([len(name) + 5])
            + b"\x00\x01"
            + len(name).to_bytes(2, "big")
            + name
            + b"\x01"
        )
        assert lazy.recv(5)[:1] == b"\x90"
        before = memory_kib(site.process.pid)
        for place in range(8_000):
            # Waited for, so that paho itself keeps nothing.
            sent = gateway.client.publish(topic("gw-01", "ack"), bytes(100_000), qos=1)
            if place % 100 == 0:
                sent.wait_for_publish(DEADLINE_S)
        sent.wait_for_publish(DEADLINE_S)
        gateway.publish(topic("gw-02", "ack"), b"still there")
        until(lambda: (topic("gw-02", "ack"), b"still there") in victim.received, "the ack")
        grown = memory_kib(site.process.pid) - before
    assert grown < 600_000, "twice the window and once the queue; without limits it is 1.5 GB"


# -- with the gateway behind the broker --------------------------------------------------------


class Gateway:
    """The command ``run`` as a process, two enrolled agents, and what its ledger says."""

    def __init__(self, site):
        self.folder = site.folder
        (self.folder / "gateway.yaml").write_text(GATEWAY.format(port=site.port))
        self.ack_key = create_signer(self.folder / "ack.pem")
        self.signers = {
            agent: create_signer(self.folder / f"{agent}.pem") for agent in ("gw-01", "gw-02")
        }
        self.log = self.folder / "gateway.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", str(self.folder / "gateway.yaml")],
                stdout=log, stderr=log, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        until(lambda: " ready" in self.log.read_text(), "the gateway's start")

    def counted(self, agent):
        with closing(Ledger(self.folder / "state/ledger.sqlite")) as ledger:
            counts = ledger.quarantine_counts()
        return {one.reason: one.messages for one in counts if one.agent == agent}

    def rows(self, agent):
        with closing(Ledger(self.folder / "state/ledger.sqlite")) as ledger:
            return [row.raw for row in ledger.batches("al-001", agent)]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(DEADLINE_S) == 0
        assert "Traceback" not in self.log.read_text()


@pytest.fixture
def gateway(site):
    started = Gateway(site)
    yield started
    started.stop()


def batches(signer, agent, count):
    at, prev, made = 1_767_196_800 * 10**9, bytes(32), []
    for seq in range(1, count + 1):
        time_ns = at + seq * 60 * 10**9
        columns = Columns((f"{agent}.kwh",), [0], [time_ns], [seq], [0])
        made.append(
            wire_batch.sign(
                Batch(
                    "al-001", agent, seq, prev, bytes(16), time_ns, time_ns, (seq, seq),
                    ClockState(), hashlib.sha256(CONFIG).digest(), "x", columns,
                ),
                signer,
            )
        )  # fmt: skip
        prev = hashlib.sha256(made[-1]).digest()
    return made


def publish_packet(name, payload):
    """QoS 0, so that nothing at all slows the flooder down."""
    body = len(name).to_bytes(2, "big") + name.encode() + payload
    assert len(body) < 128
    return b"\x30" + bytes([len(body)]) + body


def test_a_flood_through_the_broker_does_not_stop_another_agent_s_acks(site, peers, gateway):
    victim = peers(site.client(site.files("gw-02"))).subscribe(topic("gw-02", "ack"))
    signer = gateway.signers["gw-02"]
    victim.publish(topic("gw-02", "config"), cose.sign(MessageType.CONFIG, CONFIG, signer))
    made = batches(signer, "gw-02", 20)
    key = public_key(gateway.ack_key.public_spki())

    def acked():
        acks = [messages.verify_ack(raw, lambda _: key) for _, raw in list(victim.received)]
        return max((ack.seq for ack in acks), default=0)

    sent, before = 0, memory_kib(gateway.process.pid)
    with closing(raw_client(site, "gw-01")) as flooder:
        for seq, raw in enumerate(made, 1):
            flooder.sendall(
                b"".join(
                    publish_packet(topic("gw-01", "batch"), b"%010d" % number)
                    for number in range(sent, sent + 5_000)
                )
            )
            sent += 5_000
            while acked() < seq:
                victim.publish(topic("gw-02", "batch"), raw)
                end = time.monotonic() + 10  # an agent sends again what nobody acked
                while acked() < seq and time.monotonic() < end:
                    time.sleep(0.01)
    assert gateway.rows("gw-02") == made

    def handled():
        return sum(gateway.counted("gw-01").values())

    last = until(lambda: handled() or None, "the flood in the counters")
    while (now := handled()) != last:
        last = now
        time.sleep(0.5)
    assert 1_000 < last <= sent
    assert set(gateway.counted("gw-01")) <= {"envelope", "flood"}
    assert gateway.counted("gw-02") == {}
    assert memory_kib(gateway.process.pid) - before < 200_000

"""How fast a backlog leaves an agent: a month of minute batches after the broker comes back.

An outbox full of signed batches, the agent's uplink, mosquitto, and the gateway as a process with
ledger and store on disk. Timed from the start of the uplink until the last batch is acked. The
baseline is a bare paho loop that publishes the same messages with QoS 1 through the same broker to a
bare subscriber in a process of its own, with the same window and nothing kept on disk.

    python benchmarks/backlog.py [--batches 44640] [--rows 60]
"""

import argparse
import asyncio
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.acks import Identity
from edge_agent.clock import SystemClock
from edge_agent.config import Mqtt
from edge_agent.health import Health
from edge_agent.outbox import Outbox
from edge_agent.readings import Columns
from edge_agent.uplink import Uplink
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import create_signer, load_signer, public_key
from simulators.stage import Plan, Stage

SITE, AGENT = "al-001", "gw-01"
T0 = 1_790_784_000 * 10**9
MINUTE_NS = 60 * 10**9
CONFIG = cbor.encode({"site": SITE, "purpose": "benchmark"})
GROUP = 500
LIMIT_S = 1_800
_SUBSCRIBER = """
import sys, threading
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
port, count = int(sys.argv[1]), int(sys.argv[2])
done, seen = threading.Event(), 0
def on_message(client, data, message):
    global seen
    seen += 1
    if seen == count:
        done.set()
client = Client(CallbackAPIVersion.VERSION2)
client.on_connect = lambda *_: client.subscribe("bare", 1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_message = on_message
client.connect("127.0.0.1", port)
client.loop_start()
done.wait()
print("done", flush=True)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run both and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=44_640, help="44,640 minutes are 31 days")
    parser.add_argument("--rows", type=int, default=60, help="rows of a batch")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name, staged(Path(name)) as stage:
        outbox = fill(stage, args.batches, args.rows)
        size = outbox.unacked_bytes
        stage.launch("gateway", stage.cli("carbon-gateway", "run", str(stage.gateway_file)))
        log = stage.folder / "logs/gateway.log"
        stage.wait("the gateway", lambda: log.read_text().rstrip().endswith(" ready"))
        before_mb = peak_mb()
        ours_s = asyncio.run(drain(stage, outbox, args.batches))
        growth_mb = peak_mb() - before_mb
        bare_s = bare([one.raw for one in outbox.after(0, args.batches)], stage.broker_port)
        figures = {
            "batches": args.batches,
            "rows_a_batch": args.rows,
            "megabytes": round(size / 2**20),
            "bare_paho_per_s": round(args.batches / bare_s),
            "ours_per_s": round(args.batches / ours_s),
            "ours_over_bare": round(bare_s / ours_s, 3),
            "drained_in_s": round(ours_s, 1),
            "uplink_growth_mb": round(growth_mb, 1),
        }
        outbox.close()
    print(json.dumps(figures, indent=2))
    return 0


def peak_mb() -> float:
    """Highest resident memory of this process so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Broker, keys and the gateway's file."""
    stage = Stage(folder, Plan(broker="mosquitto"))
    try:
        stage.prepare()
        stage.start_broker()
        settings = {
            "state_dir": "gateway",
            "keys": {"ack": "keys/gateway.pem"},
            "mqtt": {"host": "127.0.0.1", "port": stage.broker_port, "client_id": "gateway"},
            "agents": [{"site": SITE, "agent": AGENT, "public_key": "keys/bench.pub.pem"}],
        }
        stage.gateway_file.write_text(yaml.safe_dump(settings))
        yield stage
    finally:
        stage.stop()


def fill(stage: Stage, count: int, rows: int) -> Outbox:
    """An outbox as a month without a broker leaves it."""
    signer = create_signer(stage.folder / "keys/bench.pem")
    outbox = Outbox(stage.folder / "outbox.sqlite", 2**40, 2**29)
    outbox.put_config(
        hashlib.sha256(CONFIG).digest(), cose.sign(MessageType.CONFIG, CONFIG, signer)
    )
    head = ChainHead()
    while head.seq < count:
        raws: list[bytes] = []
        for _ in range(min(GROUP, count - head.seq)):
            raws.append(wire_batch.sign(batch(head, rows), signer))
            head = ChainHead(head.seq + 1, hashlib.sha256(raws[-1]).digest())
        outbox.commit(raws, head, b"state")
    return outbox


def batch(head: ChainHead, rows: int) -> Batch:
    """The minute after ``head``."""
    first_ns = T0 + head.seq * MINUTE_NS
    columns = Columns(
        tuple(f"line1.pot{number:03d}.v" for number in range(rows)),
        list(range(rows)),
        [first_ns] * rows,
        [4.2 + (head.seq * 7 + number) % 64 / 64 for number in range(rows)],
        [0] * rows,
    )
    return Batch(
        site=SITE, agent=AGENT, seq=head.seq + 1, prev=head.sha256, boot=bytes(16),
        first_ns=first_ns, last_ns=first_ns + MINUTE_NS,
        mono=(first_ns, first_ns + MINUTE_NS), clock=ClockState("ntp", sync=True),
        config_sha256=hashlib.sha256(CONFIG).digest(), software="edge-agent/0.1.0",
        columns=columns,
    )  # fmt: skip


def bare(raws: Sequence[bytes], port: int) -> float:
    """Seconds for the same messages with nothing around: publish, broker, subscriber."""
    command = [sys.executable, "-c", _SUBSCRIBER, str(port), str(len(raws))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
        assert subscriber.stdout is not None  # noqa: S101  a pipe was asked for
        subscriber.stdout.readline()
        room = threading.Semaphore(Mqtt().window)
        client = Client(CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(Mqtt().window)
        client.on_publish = lambda *_: room.release()
        client.connect("127.0.0.1", port)
        client.loop_start()
        began = time.monotonic()
        for raw in raws:
            room.acquire()
            client.publish("bare", raw, qos=1)
        subscriber.stdout.readline()
        spent_s = time.monotonic() - began
        client.disconnect()
        client.loop_stop()
    return spent_s


async def drain(stage: Stage, outbox: Outbox, count: int) -> float:
    """Seconds until the gateway has acked the whole backlog."""
    signer = load_signer(stage.folder / "keys/bench.pem")
    gateway = public_key((stage.folder / "keys/gateway.pub.pem").read_bytes())
    identity = Identity(SITE, AGENT, bytes(16), signer, (gateway,))
    with ThreadPoolExecutor(1) as executor:
        uplink = Uplink(
            Mqtt(port=stage.broker_port), identity, outbox, executor, SystemClock(), Health()
        )
        began = time.monotonic()
        task = asyncio.create_task(uplink.run())
        while outbox.acked < count:
            await asyncio.sleep(0.1)
            stage.check_alive()
            if task.done() or time.monotonic() - began > LIMIT_S:
                message = f"only {outbox.acked} of {count} batches were acked"
                raise SystemExit(message)
        spent_s = time.monotonic() - began
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return spent_s


if __name__ == "__main__":
    sys.exit(main())

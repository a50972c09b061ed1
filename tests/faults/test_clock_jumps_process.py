"""The wall clock of a running agent process is set to +1 h, 2099 and 1970, and right again each time.

A shim moves the process's clock; device, broker and gateway are processes with the right time.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from edge_agent.clock import SystemClock
from gateway import audit
from gateway.ledger import Ledger
from gateway.store.sqlite import SqliteStore
from gateway.trust.clocks import Aside
from simulators.stage import free_port, listens, mosquitto_configuration

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SITE, AGENT = "al-001", "gw-01"
S = 10**9
WRONG = {"hour_ahead": 3_600, "2099": 73 * 365 * 86_400, "1970": None}
DEADLINE_S = 90


def until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} did not come true in time"
        time.sleep(0.1)
    return found


class Processes:
    """Broker, meter, gateway and agent, each a process in one folder."""

    def __init__(self, folder, shim):
        self.folder, self.stack = folder, contextlib.ExitStack()
        self.shift = folder / "shift"
        self.set_clock(0)
        self.port = free_port()
        self.shim = {"LD_PRELOAD": str(shim("clock_shim")), "CLOCK_SHIFT": str(self.shift)}

    def set_clock(self, wrong_ns):
        with self.shift.open("r+b" if self.shift.exists() else "wb") as file:
            file.write(struct.pack("<q", wrong_ns))

    def start(self):
        for name in ("agent", "gateway"):
            program = "edge-agent" if name == "agent" else "carbon-gateway"
            words = ["keys-new"] if name == "agent" else ["keys", "new"]
            subprocess.run(
                [BIN / program, *words, self.folder / f"keys/{name}.pem"], check=True, cwd=ROOT
            )
        conf = self.folder / "mosquitto.conf"
        conf.write_text(mosquitto_configuration(self.port, self.folder), encoding="utf-8")
        self._launch("broker", [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", conf])
        until(lambda: listens(self.port), "the broker's start")
        meter = self._launch(
            "meter", [sys.executable, "-m", "simulators.fast_modbus", "--moving"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._configure(json.loads(meter.stdout.readline())["ports"][0])
        self._launch("gateway", [BIN / "carbon-gateway", "run", self.folder / "gateway.yaml"])
        self._launch("agent", [BIN / "edge-agent", "run", self.folder / "agent.yaml"], **self.shim)

    def _launch(self, name, command, *, stdin=subprocess.DEVNULL, stdout=None, **environment):
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdin=stdin, stdout=stdout or log,
            stderr=log,
        )  # fmt: skip
        self.stack.callback(self._end, process)
        return process

    @staticmethod
    def _end(process):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _configure(self, meter):
        gateway = {
            "state_dir": "gateway",
            "keys": {"ack": "keys/gateway.pem"},
            "mqtt": {"host": "127.0.0.1", "port": self.port, "client_id": "gateway"},
            "agents": [{"site": SITE, "agent": AGENT, "public_key": "keys/agent.pub.pem"}],
        }
        tag = {"id": "kwh", "address": 0, "type": "uint16", "unit": "kWh"}
        other = {"id": "hall.temperature", "address": 1, "type": "uint16"}
        agent = {
            "site": SITE,
            "agent": AGENT,
            "timezone": "Asia/Shanghai",
            "state_dir": "agent",
            "keys": {"signing": "keys/agent.pem", "gateway": ["keys/gateway.pub.pem"]},
            "factor_set": "cets-ag-04.01-v01-2024",
            "mqtt": {"port": self.port},
            "time": {"lateness_s": 0},
            "devices": [
                {"id": "meter", "driver": "modbus", "host": "127.0.0.1", "port": meter, "unit": 1,
                 "interval_s": 0.5, "timeout_s": 5,
                 "tags": [tag | {"totaliser": {"modulus": 65_536}}, other]}
            ],
            "meters": [{"id": "energy", "tag": "kwh", "role": "electricity"}],
        }  # fmt: skip
        for name, plain in (("gateway", gateway), ("agent", agent)):
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")

    def events(self, kind):
        """Events of every batch in the ledger, with their batch."""
        with contextlib.closing(Ledger(self.folder / "gateway/ledger.sqlite")) as ledger:
            ring = ledger.key_ring()
            return [
                (row, event)
                for row in ledger.batches(SITE, AGENT)
                for event in audit.contents(row, ring, Aside()).events
                if event["type"] == kind
            ]

    def readings(self):
        """How many readings the agent has taken in, by its journal and batches."""
        path = self.folder / "agent/outbox.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as outbox:
            return outbox.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]


@pytest.fixture
def plant(tmp_path, shim):
    (tmp_path / "keys").mkdir(mode=0o700)
    made = Processes(tmp_path, shim)
    with made.stack:
        made.start()
        yield made


@pytest.mark.timeout(400)
def test_a_process_whose_clock_jumps_tells_it_and_goes_on_at_the_right_time(plant):
    began_ns = SystemClock().utc_ns()
    until((plant.folder / "gateway/ledger.sqlite").exists, "the gateway's start")
    until(lambda: plant.events("started"), "the first batch")
    steps = 0
    for name, wrong_s in WRONG.items():
        until(lambda: plant.readings() > 2, "readings at the right time")
        wrong_ns = 5_000 * S - SystemClock().utc_ns() if wrong_s is None else wrong_s * S
        for shift_ns in (wrong_ns, 0):
            plant.set_clock(shift_ns)
            steps += 1
            told = until(
                lambda wanted=steps: (
                    found if len(found := plant.events("clock_step")) >= wanted else None
                ),
                f"the event of {name}",
            )
            assert len(told) == steps
            row, event = told[-1]
            sign = 1 if (shift_ns > 0) or (shift_ns == 0 and wrong_ns < 0) else -1
            assert abs(event["step_ns"] - sign * abs(wrong_ns)) < 10 * S
            assert ("clock_future" in row.flags) is (shift_ns > 0)
    until(lambda: minutes(plant, SystemClock().utc_ns() - 90 * S), "a minute of the right time")
    check(plant, began_ns)


def minutes(plant, since_ns):
    """Rows of the totaliser in the store since a time."""
    with contextlib.closing(SqliteStore(plant.folder / "gateway/store.sqlite")) as store:
        now_ns = SystemClock().utc_ns()
        return [
            (one.time_ns, one.value) for one in store.read(SITE, "energy.count", since_ns, now_ns)
        ]


def check(plant, began_ns):
    """Chain, store and totaliser are whole; the agent lived through all of it."""
    with (
        contextlib.closing(Ledger(plant.folder / "gateway/ledger.sqlite")) as ledger,
        contextlib.closing(SqliteStore(plant.folder / "gateway/store.sqlite")) as store,
    ):
        assert ledger.contiguous(SITE, AGENT)
        rows = list(ledger.batches(SITE, AGENT))
        marks = {flag for row in rows for flag in row.flags}
        assert marks <= {"clock_future", "clock_unsynced", "late"}
        assert audit.compare(ledger, store, SITE) == []
    assert len(plant.events("started")) == 1
    counts = minutes(plant, began_ns)
    # The meter counts seconds: a row at another time than its own would not lie on this line.
    offsets = {round(count - time_ns / S) for time_ns, count in counts}
    assert max(offsets) - min(offsets) <= 3
    assert [count for _, count in counts] == sorted(count for _, count in counts)

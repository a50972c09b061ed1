"""Agent and gateway as services on full disks, over a real broker: nothing lost, nothing doubled.

First the gateway's disk is full: nothing is acked any more, the agent keeps everything. Then the
agent's is full as well: it says what it could not keep. When there is room again both go on by
themselves, and the totalisers' month is the truth (row 98).
"""

import contextlib
import json
import sqlite3
import struct
import time

import pytest

from edge_agent.reserve import RESERVE_BYTES
from gateway.store.sqlite import SqliteStore
from simulators.compare import Truth, value
from simulators.demo import follow, make_report, verify
from simulators.stage import SITE, Plan, Stage
from tests.faults.full_disk import Room

PLAN = Plan(
    pots=3,
    seed=15,
    seconds=86_400,
    block_s=600,
    pace_min_s=0.25,
    pace_max_s=0.5,
    aef=3.0,
    broker="mosquitto",
)


class SmallDisks(Stage):
    """The demo's processes; the folders of agent and gateway have sizes."""

    shim = None

    def launch(self, name, command):
        if name in ("agent", "gateway"):
            watched, room = self.folder / name, self.folder / f"{name}.room"
            room.write_bytes(struct.pack("<q", -1))
            settings = {"LD_PRELOAD": self.shim, "DISK_WATCH": watched, "DISK_ROOM": room}
            command = ["env", *(f"{key}={text}" for key, text in settings.items()), *command]
        super().launch(name, command)

    def room(self, name):
        return Room(self.folder / name, self.folder / f"{name}.room")

    def log(self, name):
        return (self.folder / "logs" / f"{name}.log").read_text(encoding="utf-8")

    def outbox(self):
        """Number of the newest batch made, and of the newest acked one."""
        path = self.folder / "agent/outbox.sqlite"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as outbox:
            rows = dict(
                outbox.execute("SELECT key, value FROM meta WHERE key IN ('head', 'acked')")
            )
        return tuple(int.from_bytes(rows.get(key, b"")[:8], "big") for key in ("head", "acked"))

    def in_ledger(self):
        """Number of the newest batch in the gateway's ledger."""
        return self.gateway_status().get("seq") or 0


@pytest.mark.timeout(240)
def test_services_on_full_disks_lose_and_double_nothing_and_go_on_by_themselves(tmp_path, shim):
    stage = SmallDisks(tmp_path, PLAN)
    stage.shim = shim("disk_shim")
    gateway, agent = stage.room("gateway"), stage.room("agent")
    try:
        stage.prepare()
        stage.start()
        stage.wait("some batches", lambda: stage.in_ledger() >= 4)
        gateway.leave(1_000)
        stage.wait("the gateway's complaint", lambda: "store_failed" in stage.log("gateway"))
        made, acked = stage.outbox()
        assert acked <= stage.in_ledger()
        stage.wait("batches without an ack", lambda: stage.outbox()[0] >= made + 3)
        assert stage.outbox()[1] <= stage.in_ledger()

        stage.wait("the agent's complaint", lambda: squeezed(stage, agent))
        stage.wait("an outbox that stands still", lambda: stands_still(stage))
        made, acked = stage.outbox()
        assert acked <= stage.in_ledger()

        gateway.set(-1)
        stage.wait("the gateway to go on", lambda: stage.in_ledger() >= made)
        agent.set(-1)
        stage.wait("the agent to go on", lambda: stage.outbox()[0] > made)
        follow(stage, 150)
        stage.wait("an agent without complaint", lambda: alarm(stage) == "")
        done = stage.run("carbon-gateway", "audit", str(stage.gateway_file), check=False)
        assert done.returncode == 0, done.stdout
        check_the_truth(stage)
    finally:
        stage.stop()


def stands_still(stage):
    """No batch is made for a second; one more may find room in the agent's own files."""
    before = stage.outbox()
    time.sleep(1)
    return stage.outbox() == before


def squeezed(stage, room):
    """Leave the agent no room, again and again: it finds some in its own files."""
    reserve = stage.folder / "agent/outbox.reserve"
    if reserve.exists() and reserve.stat().st_size == RESERVE_BYTES:
        room.leave(1_000)
    return "outbox_full" in stage.log("agent")


def alarm(stage):
    status = json.loads((stage.folder / "agent/status.json").read_text(encoding="utf-8"))
    return status["health"]["alarm"]


def check_the_truth(stage):
    """The chain is whole, what was lost is told, and the totalisers' month is the truth."""
    told = json.loads(
        stage.run("carbon-gateway", "status", str(stage.gateway_file), "--json").stdout
    )
    (found,) = told["agents"]
    assert (found["contiguous"], found["forks"], found["quarantine"]) == (True, 0, {})
    store = SqliteStore(stage.folder / "gateway/store.sqlite")
    losses = list(store.read_events(SITE, 0, 2**62, ("lost_records",)))
    starts = list(store.read_events(SITE, 0, 2**62, ("started",)))
    store.close()
    assert len(starts) == 1
    assert losses
    report, truth = make_report(stage), Truth.read(stage.folder / "truth")
    assert any("records lost" in text for text in report["reservations"])
    assert verify(stage).startswith("match")
    for parameter, scope, meter, per_unit in (
        ("electricity_mwh", "rectifier1_energy", "R1.energy", 1_000),
        ("electricity_mwh", "rectifier2_energy", "R2.energy", 1_000),
        ("fuel_amount", "natural_gas", "gas.total", 10_000),
        ("metal_t", "line1", "scale.total", 1_000),
    ):
        assert value(report, parameter, scope) == str(truth.counted(meter) / per_unit), meter

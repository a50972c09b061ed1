"""Full disks (row 98): loud, nothing promised that is not durable, and on again by itself.

A shim gives the folder of the real program a size; see ``tests/stacks/disk_shim.c``.
"""

import base64
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from tests.faults.step_agent import (
    AGENT,
    SITE,
    STEPS,
    StepClock,
    content,
    finish,
    live_steps,
    open_agent,
    told,
)

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 9)
ALARMS = {"", "disk_full", "outbox_full"}


@pytest.fixture
def run(tmp_path, shim):
    """Runs ``full_disk`` with these seeds; gives what it said of each."""

    def start(what):
        watched, room = tmp_path / "disk", tmp_path / "room"
        watched.mkdir(exist_ok=True)
        room.write_bytes(struct.pack("<q", -1))
        environment = os.environ | {
            "LD_PRELOAD": str(shim("disk_shim")),
            "DISK_WATCH": str(watched),
            "DISK_ROOM": str(room),
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.full_disk", what, watched, *map(str, SEEDS)],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return start


def test_an_agent_on_a_full_disk_says_so_keeps_what_it_has_and_tells_what_it_lost(
    tmp_path, run, make_config
):
    create_signer(tmp_path / "k/agent.pem")
    keys = {
        "signing": tmp_path / "k/agent.pem",
        "gateway": [tmp_path / "k/agent.pub.pem"],
    }
    ring = KeyRing(
        [Enrolment(SITE, AGENT, public_key((tmp_path / "k/agent.pub.pem").read_bytes()))]
    )
    config = make_config(state_dir=tmp_path / "state", keys=keys)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/agent.json").write_text(json.dumps(config.model_dump(mode="json")))
    clock = StepClock()
    agent = open_agent(config, clock)
    for _ in live_steps(agent, clock, range(STEPS)):
        pass
    whole, _ = content(finish(agent, clock), ring)
    lost = 0
    for seed, found in zip(SEEDS, run("agent"), strict=True):
        batches = [SimpleNamespace(raw=base64.b64decode(raw)) for raw in found["batches"]]
        rows, events = content(batches, ring)
        missing = whole.keys() - rows.keys()
        losses = told(events, "lost_records")
        assert rows.items() <= whole.items(), seed
        assert sum(one["count"] for one in losses) == len(missing) == found["lost"], seed
        for _, time_ns in missing:
            assert any(one["from"] <= time_ns <= one["to"] for one in losses), seed
        assert found["kept"], seed
        assert found["alarm_at_the_end"] == "", seed
        first, _ = found["full"]
        assert set(found["alarms"][:first]) == {""}, seed
        if losses:
            assert {"outbox_full"} <= set(found["alarms"]) <= ALARMS, seed
        lost += bool(losses)
    assert lost >= 4


def test_whatever_an_outbox_cannot_write_it_refuses_whole_and_the_oldest_acked_batches_go_first(
    run,
):
    found = run("outbox")
    kinds = {name for one in found for name in one["failed"]}
    # An ack, and what goes with it, is noted on the fullest disk: it is what makes room.
    assert kinds == {"put_config", "commit", "journal", "save_state"}
    for one in found:  # what was given up are the oldest
        assert one["left"] == list(range(one["left"][0], one["made"] + 1))
    assert any(one["left"][0] > 1 for one in found)


def test_a_gateway_on_a_full_disk_acks_nothing_that_is_not_durable_and_goes_on_with_room(run):
    found = run("gateway")
    assert all("full" in text or "I/O" in text for one in found for text in one["failures"])
    where = {text.partition(":")[0] for one in found for text in one["failures"]}
    assert where == {"ledger", "store"}

"""kill -9 of agent, gateway or broker at random moments of the demo loses and doubles nothing."""

import contextlib
import json
import math
import random
import sqlite3
import time

import pytest

from gateway.store.sqlite import SqliteStore
from simulators.compare import Truth, match_effects, value
from simulators.demo import follow, make_report, verify
from simulators.stage import AGENT, SITE, Plan, Stage

SEED = 20261124
KILLS = 21
NS = 10**9
GRACE_NS = 2_000 * NS
PLAN = Plan(
    pots=8,
    seed=5,
    seconds=2 * 86_400,
    block_s=1_200,
    pace_min_s=0.5,
    pace_max_s=1.5,
    aef=4.0,
    broker="mosquitto",
    plant_arguments=("--outages", "1", "--cutout-pots", "1", "--starting-pots", "1"),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """The demo's processes after all kills, when the gateway holds the whole period."""
    stage = Stage(tmp_path_factory.mktemp("kill"), PLAN)
    rng = random.Random(SEED)
    try:
        stage.prepare()
        stage.start()
        # A gap is told from the last sample before it: time before the first sample has none.
        stage.wait("the first rows", lambda: (stage.gateway_status().get("points") or 0) > 0)
        for number in range(KILLS):
            until = time.monotonic() + rng.uniform(0.3, 2.5)
            while time.monotonic() < until:
                time.sleep(0.01)
            victim = ("agent", "gateway", "broker")[number % 3]
            stage.kill(victim)
            time.sleep(rng.uniform(0.0, 0.5))
            stage.restart(victim)
            if number % 6 == 0:  # this life of the agent lasts for a batch at least
                before = sealed(stage)
                stage.wait("a batch of this life", lambda made=before: sealed(stage) > made)
        follow(stage, 240)
        yield stage
    finally:
        stage.stop()


def sealed(stage):
    """Number of the newest batch that the agent has made."""
    path = stage.folder / "agent" / "outbox.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as outbox:
        row = outbox.execute("SELECT value FROM meta WHERE key = 'head'").fetchone()
    return int.from_bytes(row[0][:8], "big") if row else 0


@pytest.fixture(scope="module")
def report(stage):
    return make_report(stage)


@pytest.fixture(scope="module")
def events(stage):
    store = SqliteStore(stage.folder / "gateway" / "store.sqlite")
    found = list(store.read_events(SITE, 0, 2**62))
    store.close()
    return found


@pytest.fixture(scope="module")
def truth(stage):
    return Truth.read(stage.folder / "truth")


@pytest.mark.timeout(420)
def test_the_ledger_is_contiguous_and_the_store_equals_it(stage):
    status = stage.gateway_status()
    assert status["contiguous"] is True
    assert status["agent"] == AGENT
    done = stage.run("carbon-gateway", "audit", str(stage.gateway_file), check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_life_of_the_agent_that_made_a_batch_is_told(events):
    starts = [event for event in events if event["type"] == "started"]
    assert 1 + -(-KILLS // 6) <= len(starts) <= 1 + -(-KILLS // 3)


def test_nothing_was_refused_or_forked(stage):
    done = stage.run("carbon-gateway", "status", str(stage.gateway_file), "--json")
    told = json.loads(done.stdout)
    (agent,) = told["agents"]
    assert agent["frozen"] is False
    assert agent["forks"] == 0
    assert agent["quarantine"] == {}
    assert told["quarantine_unknown_source"] == {}


def test_totaliser_totals_are_the_truth_in_spite_of_outages(report, truth):
    for parameter, scope, meter, per_unit in (
        ("electricity_mwh", "rectifier1_energy", "R1.energy", 1_000),
        ("electricity_mwh", "rectifier2_energy", "R2.energy", 1_000),
        ("fuel_amount", "natural_gas", "gas.total", 10_000),
        ("metal_t", "line1", "scale.total", 1_000),
    ):
        assert value(report, parameter, scope) == str(truth.counted(meter) / per_unit), meter


def test_pot_time_is_observed_or_told_as_a_gap(stage, truth, events):
    store = SqliteStore(stage.folder / "gateway" / "store.sqlite")
    start_ns, end_ns = truth.summary["start_ns"], truth.summary["end_ns"]
    for number, true_pot in truth.summary["pots"].items():
        name = f"pot{int(number):03d}"
        observed = math.fsum(
            record.value
            for record in store.read(SITE, f"line1.{name}.observed_s", start_ns, end_ns)
        )
        missing = math.fsum(
            (min(event["to"], end_ns) - max(event["from"], start_ns)) / NS
            for event in events
            if event["type"] == "gap"
            and name in event["pots"]
            and event["from"] < end_ns
            and event["to"] > start_ns
        )
        assert observed <= true_pot["in_circuit_s"] + 1, name
        # A gap next to a change of the pot's status may cover time out of circuit.
        assert observed + missing >= true_pot["in_circuit_s"] - 1, name
    store.close()


def test_effects_away_from_gaps_are_exact_and_none_is_invented(report, truth, events):
    gaps = [event for event in events if event["type"] == "gap"]

    def undisturbed(pot, start_ns, end_ns):
        return not any(
            pot in gap["pots"]
            and gap["from"] < end_ns + GRACE_NS
            and gap["to"] > start_ns - GRACE_NS
            for gap in gaps
        )

    clear = [
        effect
        for effect in truth.effects
        if undisturbed(f"pot{effect['pot']:03d}", effect["start_ns"], effect["end_ns"])
    ]
    assert len(clear) >= 10
    found, worst = match_effects(clear, report["effects"])
    assert found == len(clear)
    assert worst <= 1.0
    for effect in report["effects"]:
        near = [
            item
            for item in truth.effects
            if f"pot{item['pot']:03d}" == effect["pot"]
            and item["start_ns"] - 2 * NS <= effect["start"] <= item["end_ns"] + 2 * NS
        ]
        assert near, effect


def test_no_effect_is_reported_twice(report):
    keys = [(item["line"], item["pot"], item["start"]) for item in report["effects"]]
    assert len(set(keys)) == len(keys)


def test_the_bundle_of_the_killed_month_verifies(stage, report):
    assert report["evidence"][0]["batches"] > 0
    assert verify(stage).startswith("match")

"""The power cut at hundreds of places (row 97): what was promised is there, nothing is half there.

A real agent, and a real gateway, run below a shim that records every write and flush. From the
record the disks are made that a power cut may leave at a place (see ``power_loss``); each is
opened by the real code. A database must then hold exactly what it held after some transaction:
the last one that had ended, or the one that was just ending.
"""

import contextlib
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent import reserve
from edge_agent.config import AgentConfig
from edge_agent.errors import CarbonError
from edge_agent.outbox import Outbox
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from gateway import audit, ledger_audit
from gateway.checkpoints import Checkpointer
from gateway.ledger import Ledger
from gateway.store.sqlite import SqliteStore
from tests.faults.crashing import memory_folder
from tests.faults.power_loss import Disk, read_log
from tests.faults.recorded import content_digest
from tests.faults.step_agent import (
    AGENT,
    SITE,
    STEP_S,
    STEPS,
    T0,
    S,
    StepClock,
    content,
    finish,
    live_steps,
    open_agent,
    told,
    totaliser,
)
from tests.faults.step_gateway import COUNT, GATEWAY_KEY, ORIGIN, GatewayRun

ROOT = Path(__file__).parents[2]
CUTS, LIVES = 120, 24
KEEP = (0.0, 0.5, 0.9)
"""Chance of each unflushed sector to have reached the disk."""
EMPTY = hashlib.sha256().hexdigest()


class Recording:
    """A recorded run: its log, and what it said after each transaction."""

    def __init__(self, folder, shim, what, seed, *, flush=True):
        self.folder, self.disk = folder, Disk(folder / "disk")
        (folder / "disk").mkdir()
        log = folder / "log"
        environment = os.environ | {
            "LD_PRELOAD": str(shim("disk_shim")),
            "DISK_WATCH": str(folder / "disk"),
            "DISK_LOG": str(log),
        }
        program = [sys.executable, "-m", "tests.faults.recorded", what, folder / "disk", str(seed)]
        subprocess.run(
            [*program, "flush" if flush else "no_flush"], env=environment, cwd=ROOT, check=True
        )
        self.records = list(read_log(log))

    def cuts(self, dice, count):
        """The disk after each of ``count`` records chosen by the dice, in order."""
        chosen = set(dice.sample(range(len(self.records)), count))
        for place, record in enumerate(self.records):
            self.disk.play(*record)
            if place in chosen:
                yield self.disk

    def said(self):
        """What the marks up to now say, oldest first."""
        return [json.loads(mark) for mark in self.disk.marks]


class History:
    """A database's states over the whole run, by digest."""

    def __init__(self, recording, name):
        self.name = name
        marks = map(
            json.loads, (data for kind, _, _, data in recording.records if is_mark(kind, data))
        )
        self.states = [EMPTY, *(mark["state"] for mark in marks if mark.get("db") == name)]

    def reached(self, said):
        """Place of the last state that was marked by then."""
        return sum(one.get("db") == self.name for one in said)


def is_mark(kind, data):
    return kind == "W" and data[:1] == b"{"


def found_state(path):
    """Digest of a database's content; nothing where it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            return content_digest(db)
    except sqlite3.DatabaseError:
        return ""


@pytest.fixture(autouse=True)
def _small_reserve(monkeypatch):
    monkeypatch.setattr(reserve, "RESERVE_BYTES", 1_000)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "k"
    create_signer(folder / "agent.pem")
    create_signer(folder / "gw.pem")
    return folder


@pytest.fixture
def settings(make_config, keys):
    """The agent's settings as JSON, for a state folder."""

    def make(folder, **outbox):
        config = make_config(
            state_dir=folder / "state",
            keys={"signing": keys / "agent.pem", "gateway": [keys / "gw.pub.pem"]},
            outbox=outbox,
        )
        return config.model_dump(mode="json")

    return make


def record_agent(folder, shim, settings, seed, *, flush=True, **outbox):
    plain = settings(folder / "disk", **outbox)
    (folder / "agent.json").write_text(json.dumps(plain), encoding="utf-8")
    return Recording(folder, shim, "agent", seed, flush=flush)


def misses(recording, open_, names, dice):
    """Cuts after which a database holds no state that it may hold; name, place and what it is.

    ``names`` say of each database whether it may lag behind what was marked: the store may, as
    long as it holds what it held at some time.
    """
    histories = [(History(recording, name), lags) for name, lags in names.items()]
    found, images = [], 0
    for disk in recording.cuts(dice, CUTS):
        said = recording.said()
        for keep in KEEP:
            with memory_folder() as folder:
                disk.after_the_cut(dice, keep, folder / "disk")
                open_(folder / "disk/state", said)
                for history, lags in histories:
                    reached = history.reached(said)
                    allowed = history.states[0 if lags else reached : reached + 2]
                    path = folder / "disk/state" / history.name
                    state = found_state(path)
                    if not (state in allowed or ((lags or reached <= 1) and is_new(path))):
                        place = history.states.index(state) if state in history.states else None
                        found.append((history.name, reached, place))
            images += 1
    assert images == CUTS * len(KEEP)
    return found


def is_new(path):
    """Whether a database has nothing but its tables."""
    if found_state(path) == "":
        return False
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return not any(db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for (t,) in tables)


def open_outbox(state, said):
    """Opens as the agent does; everything that was said of batches and acks holds."""
    outbox = Outbox(state / "outbox.sqlite", 2**30)
    heads = [one for one in said if "head" in one]
    if heads:
        last = heads[-1]
        assert outbox.head.seq >= last["head"]
    for item in outbox.after(0, 1_000):
        assert hashlib.sha256(item.raw).digest() == item.sha256
        assert item.seq <= outbox.head.seq
    outbox.close()


@pytest.mark.parametrize(("seed", "retain_mb"), [(11, 200), (12, 0)])
def test_after_a_power_cut_the_outbox_holds_its_last_transaction_whole(
    tmp_path, shim, settings, seed, retain_mb
):
    recording = record_agent(tmp_path, shim, settings, seed, retain_mb=retain_mb)
    dice = random.Random(seed)
    assert misses(recording, open_outbox, {"outbox.sqlite": False}, dice) == []
    # The cuts fell into copying back of the log as well.
    assert recording.disk.writes["state/outbox.sqlite"] > 20


def test_without_flushing_the_same_cuts_lose_what_was_promised(tmp_path, shim, settings):
    recording = record_agent(tmp_path, shim, settings, 11, flush=False)
    lost = misses(recording, lambda *_: None, {"outbox.sqlite": False}, random.Random(11))
    assert len(lost) > CUTS


@pytest.mark.timeout(120)
def test_after_a_power_cut_the_agent_goes_on_and_its_chain_is_the_truth(
    tmp_path, shim, settings, keys
):
    ring = KeyRing([Enrolment(SITE, AGENT, public_key((keys / "agent.pub.pem").read_bytes()))])
    with memory_folder() as folder:
        config, clock = AgentConfig.model_validate(settings(folder)), StepClock()
        agent = open_agent(config, clock)
        for _ in live_steps(agent, clock, range(STEPS)):
            pass
        whole, events = content(finish(agent, clock), ring)
    (effect,) = told(events, "effect_ended")
    dice = random.Random(13)
    recording = record_agent(tmp_path, shim, settings, 13)
    step = 0
    for number, disk in enumerate(recording.cuts(dice, LIVES)):
        step = max((one["step"] for one in recording.said() if "step" in one), default=-1) + 1
        with memory_folder() as folder:
            disk.after_the_cut(dice, KEEP[number % len(KEEP)], folder / "disk")
            config, clock = AgentConfig.model_validate(settings(folder / "disk")), StepClock()
            clock.now_ns = T0 + step * STEP_S * S
            agent = open_agent(config, clock)
            # The step that the cut fell into is lost, as a device's reading nobody took.
            for _ in live_steps(agent, clock, range(min(step + 1, STEPS), STEPS)):
                pass
            rows, events = content(finish(agent, clock), ring)
        minutes = {key for key in whole if not key[0].endswith("count")}
        assert {key for key in rows if not key[0].endswith("count")} == minutes, step
        counts, expected = totaliser(rows), totaliser(whole)
        assert all(abs(x - y) <= 1 for x, y in zip(counts, expected, strict=True)), step
        (again,) = told(events, "effect_ended")
        assert abs(again["net_s"] - effect["net_s"]) <= 2 * STEP_S, step
        assert len(told(events, "totaliser_rollover")) == 1


def open_gateway(state, said):
    """Opens as the gateway does: nothing was acked that is not there, the store is healed."""
    ledger, store = Ledger(state / "ledger.sqlite"), SqliteStore(state / "store.sqlite")
    acked = max((one["acked"] for one in said if "acked" in one), default=0)
    assert ledger.head(SITE, AGENT).seq >= acked
    assert ledger.contiguous(SITE, AGENT)
    ledger.close()
    store.close()


def test_after_a_power_cut_the_ledger_holds_its_last_transaction_and_all_that_was_acked(
    tmp_path, shim
):
    recording = Recording(tmp_path, shim, "gateway", 21)
    names = {"ledger.sqlite": False, "store.sqlite": True}
    assert misses(recording, open_gateway, names, random.Random(21)) == []
    assert recording.disk.writes["state/ledger.sqlite"] > 20
    assert recording.said()[-1] == {"acked": COUNT}


@pytest.mark.timeout(120)
def test_after_a_power_cut_the_gateway_goes_on_and_ledger_store_and_log_are_the_truth(
    tmp_path, shim
):
    recording, dice = Recording(tmp_path, shim, "gateway", 22), random.Random(22)
    for number, disk in enumerate(recording.cuts(dice, LIVES)):
        with memory_folder() as folder:
            disk.after_the_cut(dice, KEEP[number % len(KEEP)], folder / "disk")
            run = GatewayRun(folder / "disk/state")
            run.acked = max((one["acked"] for one in recording.said() if "acked" in one), default=0)
            run.live()


def judged(folder):
    """What opening and auditing a gateway's files finds; nothing when all is the truth."""
    run = GatewayRun(folder)
    run.acked = COUNT
    try:
        run.live(check=False)
        ledger, store = Ledger(folder / "ledger.sqlite"), SqliteStore(folder / "store.sqlite")
        with contextlib.closing(ledger), contextlib.closing(store):
            key = Checkpointer(ledger, GATEWAY_KEY, ORIGIN, 3_600).key
            return [*ledger_audit.check(ledger, key).findings, *audit.compare(ledger, store, SITE)]
    except CarbonError as error:
        return [str(error)]


@pytest.mark.parametrize(
    ("name", "remedy"), [("ledger.sqlite", "newest backup"), ("store.sqlite", "rebuild")]
)
def test_a_truncated_database_of_the_gateway_is_refused_with_the_remedy(tmp_path, name, remedy):
    GatewayRun(tmp_path).live()
    path = tmp_path / name
    content, dice = path.read_bytes(), random.Random(31)
    for page in dice.sample(range(1, len(content) // 4_096), 6):
        path.write_bytes(content[: page * 4_096])
        (found,) = judged(tmp_path)
        assert "damaged" in found
        assert remedy in found
    named = 0
    for _ in range(20):  # a torn last page is a page to SQLite: the audit sees what is missing
        path.write_bytes(content[: len(content) - dice.randrange(1, 4_096)])
        named += bool(judged(tmp_path))
    assert named > 5
    path.write_bytes(content)
    assert judged(tmp_path) == []

"""The agent killed before and after every SQL statement: the chain goes on, nothing doubles.

What a crash may cost is the readings that were in memory: those of one step. Everything else
must be as if nothing had happened: each series' minutes, the totaliser, the one anode effect.
"""

import sqlite3

import pytest

from edge_agent.config import Limits
from edge_agent.pipeline.journal import encode_readings
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from tests.faults.crashing import Bomb, Crash, connect_with, memory_folder, survivors
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
    readings,
    told,
    totaliser,
)


class Plant:
    """One agent over its lives: the same steps, wherever it was killed."""

    def __init__(self, make_config, keys):
        self.clock = StepClock()
        self.step = 0
        self._make, self._keys = make_config, keys

    def live(self, folder):
        """From start to the last step; goes on with the step after the one it died in."""
        agent = self.open(folder)
        for _ in live_steps(agent, self.clock, self._steps()):
            pass
        return finish(agent, self.clock)

    def open(self, folder, **changes):
        config = self._make(
            state_dir=folder / "state",
            keys={"signing": self._keys / "agent.pem", "gateway": [self._keys / "gw.pub.pem"]},
        )
        return open_agent(config.model_copy(update=changes), self.clock)

    def _steps(self):
        while self.step < STEPS:
            self.step += 1
            yield self.step - 1


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys") / "k"
    create_signer(folder / "agent.pem")
    create_signer(folder / "gw.pem")
    return folder


@pytest.fixture(scope="module")
def ring(keys):
    return KeyRing([Enrolment(SITE, AGENT, public_key((keys / "agent.pub.pem").read_bytes()))])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_agent_killed_at_any_statement_goes_on_from_there(
    monkeypatch, make_config, keys, ring, after
):
    with memory_folder() as folder, monkeypatch.context() as patch:
        bomb = Bomb()
        patch.setattr(sqlite3, "connect", connect_with(bomb))
        whole, events = content(Plant(make_config, keys).live(folder), ring)
    (effect,) = told(events, "effect_ended")
    assert bomb.count > 110
    for at in range(1, bomb.count + 1):
        with memory_folder() as folder:
            plant = Plant(make_config, keys)
            with monkeypatch.context() as patch:
                patch.setattr(sqlite3, "connect", connect_with(Bomb(at, after=after)))
                with pytest.raises(Crash):
                    plant.live(folder / "first")
            target = folder / "second"
            (folder / "first").mkdir(exist_ok=True)
            rows, events = content(plant.live(survivors(folder / "first", target)), ring)
        minutes = {key for key in whole if not key[0].endswith("count")}
        assert {key for key in rows if not key[0].endswith("count")} == minutes, at
        counts, expected = totaliser(rows), totaliser(whole)
        assert all(abs(x - y) <= 1 for x, y in zip(counts, expected, strict=True)), at
        (again,) = told(events, "effect_ended")
        assert abs(again["net_s"] - effect["net_s"]) <= STEP_S, at
        assert len(told(events, "totaliser_rollover")) == 1


FULL = range(20, 66)
"""Steps at which the outbox takes no batch."""
LOSING = {*range(31, 36), *range(63, 72)}
"""Steps around the first minute that is refused, and around the batch that tells of it."""


class FullPlant(Plant):
    """The same plant, whose outbox is full for a while."""

    def live(self, folder):
        agent = self.open(folder)
        for _ in live_steps(agent, self.clock, self._filling(agent)):
            pass
        agent._outbox._max_bytes = 2**30
        return finish(agent, self.clock)

    def _filling(self, agent):
        for step in self._steps():
            full = step in FULL
            agent._outbox._max_bytes = agent._outbox.unacked_bytes if full else 2**30
            self.reached(step)
            yield step

    def reached(self, step):
        """Told of each step before it is taken."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_agent_with_a_full_outbox_killed_at_any_statement_tells_what_it_lost_once(
    monkeypatch, make_config, keys, ring, after
):
    with memory_folder() as folder:
        whole, _ = content(Plant(make_config, keys).live(folder), ring)
    with memory_folder() as folder, monkeypatch.context() as patch:
        bomb, plant, points = Bomb(), FullPlant(make_config, keys), {}
        plant.reached = lambda step: points.setdefault(step, bomb.count + 1)
        patch.setattr(sqlite3, "connect", connect_with(bomb))
        rows, events = content(plant.live(folder), ring)
    assert_told(whole, rows, events, None)
    assert len(rows) < len(whole)
    chosen = [at for step in LOSING for at in range(points[step], points[step + 1])]
    assert len(chosen) > 20
    for at in chosen:
        with memory_folder() as folder:
            plant = FullPlant(make_config, keys)
            with monkeypatch.context() as patch:
                patch.setattr(sqlite3, "connect", connect_with(Bomb(at, after=after)))
                with pytest.raises(Crash):
                    plant.live(folder / "first")
            target = folder / "second"
            (folder / "first").mkdir(exist_ok=True)
            rows, events = content(plant.live(survivors(folder / "first", target)), ring)
        assert_told(whole, rows, events, at)


def assert_told(whole, rows, events, at):
    """Every minute is a row or is told as lost, none is both."""
    losses = told(events, "lost_records")
    assert len(rows) + sum(one["count"] for one in losses) == len(whole), at
    for name, time_ns in whole.keys() - rows.keys():
        if not name.endswith("count"):
            assert any(one["from"] <= time_ns <= one["to"] for one in losses), at


class LongJournal(Plant):
    """An agent that never came to a batch: nine minutes of readings, a minute an entry."""

    def leave(self, folder):
        agent = self.open(folder)
        for first in range(0, 270, 30):
            steps = range(first, first + 30)
            entry = [reading for step in steps for reading in readings(step)]
            agent._outbox.journal(encode_readings(entry))
        agent._outbox.close()
        agent._worker.shutdown()

    def live(self, folder, waiting_mb=0):
        """Take it up, in pieces when there is no memory for it."""
        self.clock.now_ns = T0 + 540 * S
        limits = Limits.model_construct(waiting_mb=waiting_mb)
        return finish(self.open(folder, limits=limits), self.clock)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_an_agent_killed_while_it_takes_up_a_long_journal_loses_and_doubles_nothing(
    monkeypatch, make_config, keys, ring, after
):
    with memory_folder() as folder:
        journal = folder / "journal"
        LongJournal(make_config, keys).leave(journal)
        at_once = LongJournal(make_config, keys).live(survivors(journal, folder / "at-once"), 128)
        whole, _ = content(at_once, ring)
        with monkeypatch.context() as patch:
            bomb = Bomb()
            patch.setattr(sqlite3, "connect", connect_with(bomb))
            found = LongJournal(make_config, keys).live(survivors(journal, folder / "undisturbed"))
        assert len(found) >= len(at_once) + 2, "in pieces"
        assert content(found, ring)[0] == whole
        for at in range(1, bomb.count + 1):
            first, second = folder / f"{at}-first", folder / f"{at}-second"
            with monkeypatch.context() as patch:
                patch.setattr(sqlite3, "connect", connect_with(Bomb(at, after=after)))
                with pytest.raises(Crash):
                    LongJournal(make_config, keys).live(survivors(journal, first))
            rows, _ = content(LongJournal(make_config, keys).live(survivors(first, second)), ring)
            assert rows == whole, at

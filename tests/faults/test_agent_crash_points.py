"""The agent killed before and after every SQL statement: the chain goes on, nothing doubles.

What a crash may cost is the readings that were in memory: those of one step. Everything else
must be as if nothing had happened: each series' minutes, the totaliser, the one anode effect.
"""

import sqlite3

import pytest

from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from tests.faults.crashing import Bomb, Crash, connect_with, memory_folder, survivors
from tests.faults.step_agent import (
    AGENT,
    SITE,
    STEP_S,
    STEPS,
    StepClock,
    content,
    finish,
    live_steps,
    open_agent,
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
        config = self._make(
            state_dir=folder / "state",
            keys={"signing": self._keys / "agent.pem", "gateway": [self._keys / "gw.pub.pem"]},
        )
        agent = open_agent(config, self.clock)
        for _ in live_steps(agent, self.clock, self._steps()):
            pass
        return finish(agent, self.clock)

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

"""The agent's wall clock jumps while it runs, or is wrong at boot (rows 38 and 39, lesson 25).

A real agent's batches go through a real gateway whose clock is right. Whatever the agent's clock does:
the chain is whole, every step is told, no row of the sums stands twice, no time of the right clock
stays empty but what is told as late, and the totaliser's month is the truth.
"""

import random

import pytest

from edge_agent.calc.integration import TotaliserRule, total
from edge_agent.config import AgentConfig
from edge_agent.readings import Sample
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, load_signer, public_key
from gateway import audit
from gateway.ingest import Intake, Message, Policy
from gateway.ingest.recorder import Recorder
from gateway.ledger import Ledger
from gateway.store.sqlite import SqliteStore
from tests.faults.step_agent import AGENT, SITE, T0, S, StepClock, open_agent

STEP_S = 10
HOUR = 3_600
IN_2099 = 4_070_908_800 - T0 // S
IN_1970 = 5_000 - T0 // S
END_S = 2 * HOUR + 1_800
MONTH = (T0 - HOUR * S, T0 + 31 * 24 * HOUR * S)


class JumpingClock(StepClock):
    """UTC is off by ``wrong_s``; the gateway's is right."""

    def __init__(self):
        super().__init__()
        self.wrong_s = 0

    def utc_ns(self):
        return self.now_ns + self.wrong_s * S


class RightClock:
    def __init__(self, clock):
        self._clock = clock

    def utc_ns(self):
        return self._clock.now_ns

    def monotonic_ns(self):
        return self._clock.monotonic_ns()


class Plant:
    """Agent and gateway; ``live`` plays a second after the other."""

    def __init__(self, folder, make_config):
        for name in ("agent", "gw"):
            create_signer(folder / f"k/{name}.pem")
        keys = {"signing": folder / "k/agent.pem", "gateway": [folder / "k/gw.pub.pem"]}
        plain = make_config(state_dir=folder / "state", keys=keys).model_dump(mode="json")
        self.config, self.clock = AgentConfig.model_validate(plain), JumpingClock()
        public = public_key((folder / "k/agent.pub.pem").read_bytes())
        ring = KeyRing([Enrolment(SITE, AGENT, public)])
        self.ledger = Ledger(folder / "gw/ledger.sqlite")
        self.store = SqliteStore(folder / "gw/store.sqlite")
        right = RightClock(self.clock)
        intake = Intake(self.ledger, ring, Policy(), right)
        signer = load_signer(folder / "k/gw.pem")
        self.gateway = Recorder(intake, self.ledger, self.store, signer, right)
        self.agent, self.sent = None, 0

    def start(self):
        self.agent = open_agent(self.config, self.clock)
        for raw in self.agent._outbox.configs():
            self.deliver("config", raw)

    def stop(self):
        self.agent._outbox.close()
        self.agent._worker.shutdown()

    def deliver(self, kind, raw):
        self.gateway.put([Message(f"carbon/v1/{SITE}/{AGENT}/{kind}", raw, self.clock.now_ns)])
        self.gateway.commit()

    def live(self, until_s):
        """Up to this second of the right time."""
        while self.clock.now_ns < T0 + until_s * S:
            self.clock.now_ns += STEP_S * S
            now = self.clock.utc_ns()
            count = (self.clock.now_ns - T0) // (STEP_S * S)
            self.agent._take(
                [
                    Sample("line.ka", now, 300.0),
                    Sample("pot1.v", now, 4.2 + count % 5 / 64),
                    Sample("pot2.v", now, 4.1),
                    Sample("kwh", now, count),
                    Sample("hall.temperature", now, 21.5 + count % 4),
                ]
            )
            for item in self.agent._outbox.after(self.sent, 100):
                self.deliver("batch", item.raw)
                self.sent = item.seq

    def counts(self):
        """The totaliser's rows of the month in the store."""
        return [
            (record.time_ns, record.value)
            for record in self.store.read(SITE, "energy.count", *MONTH)
        ]

    def close(self):
        self.stop()
        self.gateway.close()


@pytest.fixture
def plant(tmp_path, make_config):
    made = Plant(tmp_path, make_config)
    yield made
    made.close()


def is_truth(counts):
    """The month's total is that of the first and the last row, whose times are right."""
    for time_ns, count in (counts[0], counts[-1]):
        assert time_ns == T0 + count * STEP_S * S
    found = total([count for _, count in counts], TotaliserRule(1_000_000))
    assert found.events == ()
    return found.total == counts[-1][1] - counts[0][1]


def minutes(plant, series="hall.temperature"):
    """Minutes since the start that have a row in the store."""
    start, end = MONTH
    return {(r.time_ns - T0) // (60 * S) for r in plant.store.read(SITE, series, start, end)}


def check(plant, jumps, *, unmarked=True):
    """What holds whatever happened; with ``unmarked`` no batch contradicts the clocks."""
    rows = list(plant.ledger.batches(SITE, AGENT))
    assert plant.ledger.contiguous(SITE, AGENT)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    marked = [row.seq for row in rows if {"clock_backward", "clock_inconsistent"} & {*row.flags}]
    assert not (marked and unmarked)
    assert audit.compare(plant.ledger, plant.store, SITE) == []
    assert is_truth(plant.counts())
    steps = [
        event["step_ns"]
        for row in rows
        for event in audit.contents(row, plant.ledger.key_ring(), Nothing()).events
        if event["type"] == "clock_step"
    ]
    assert len(steps) == jumps
    return rows


class Nothing:
    """Nothing is set aside."""

    @staticmethod
    def covers(_agent, _seq):
        return False


@pytest.mark.parametrize(
    ("wrong_s", "is_ahead"),
    [(HOUR, True), (2 * HOUR, True), (IN_2099, True), (IN_1970, False), (-HOUR, False)],
    ids=["hour_ahead", "two_hours_ahead", "2099", "1970", "hour_behind"],
)
def test_a_jump_and_the_way_back_are_told_and_cost_only_the_minutes_of_the_wrong_time(
    plant, wrong_s, is_ahead
):
    began, ended = HOUR + 610, HOUR + 910
    plant.start()
    plant.live(began)
    plant.clock.wrong_s = wrong_s
    plant.live(ended)
    plant.clock.wrong_s = 0
    plant.live(END_S)
    rows = check(plant, jumps=2)
    flagged = [row for row in rows if "clock_future" in row.flags]
    assert bool(flagged) is is_ahead
    found, wrong = minutes(plant), set(range(began // 60, ended // 60 + 1))
    again = {minute + wrong_s // 60 for minute in wrong} if is_ahead else set()
    assert found >= set(range(END_S // 60 - 1)) - wrong - again
    assert wrong - found


@pytest.mark.parametrize("wrong_s", [IN_1970, IN_2099, HOUR], ids=["1970", "2099", "hour_ahead"])
def test_a_boot_with_a_wrong_clock_is_told_and_the_right_time_is_whole_afterwards(plant, wrong_s):
    plant.clock.wrong_s = wrong_s
    plant.start()
    plant.live(605)
    plant.clock.wrong_s = 0
    plant.live(HOUR)
    check(plant, jumps=1)
    assert minutes(plant) >= set(range(11, HOUR // 60 - 1))


@pytest.mark.parametrize("wrong_s", [IN_2099, HOUR], ids=["2099", "hour_ahead"])
def test_a_clock_put_right_while_the_agent_was_stopped_is_followed_and_told(plant, wrong_s):
    plant.start()
    plant.live(1_205)
    plant.clock.wrong_s = wrong_s
    plant.live(1_505)
    plant.stop()
    plant.clock.wrong_s = 0
    plant.start()
    plant.live(END_S)
    check(plant, jumps=2, unmarked=False)  # nobody watched the clocks while it was stopped
    again = {minute + wrong_s // 60 for minute in range(20, 26)}
    assert minutes(plant) >= set(range(20)) | (set(range(26, END_S // 60 - 1)) - again)


def test_time_that_was_accounted_is_not_accounted_again_when_it_comes_a_second_time(plant):
    """An hour ahead for ten minutes, then right: that hour's minutes come again, and are left out."""
    plant.start()
    plant.live(605)
    plant.clock.wrong_s = HOUR
    plant.live(1_205)
    plant.clock.wrong_s = 0
    plant.live(END_S)
    check(plant, jumps=2)
    ring, seen = plant.ledger.key_ring(), set()
    for row in plant.ledger.batches(SITE, AGENT):
        for record in audit.contents(row, ring, Nothing()).columns.records():
            key = (record.series, record.time_ns)
            if record.series == "hall.temperature":
                assert key not in seen, "a row stands twice, whatever an operator decides"
                seen.add(key)
    again = set(range((HOUR + 660) // 60, (HOUR + 1_200) // 60))
    assert not again & minutes(plant)
    assert minutes(plant) >= set(range(21, 70)) | set(range(82, END_S // 60 - 1))


@pytest.mark.parametrize("seed", range(3))
def test_a_clock_that_jumps_at_random_tells_every_jump_and_keeps_the_totals(plant, seed):
    dice = random.Random(seed)
    plant.start()
    plant.live(HOUR + 600)
    at, jumps = HOUR + 600, 0
    for _ in range(6):
        at += 10 * dice.randrange(6, 60)
        plant.clock.wrong_s = dice.choice([HOUR, -HOUR, IN_2099, IN_1970, 86_400 * 3, 400, 90])
        plant.live(at)
        at += 10 * dice.randrange(6, 60)
        plant.clock.wrong_s = 0
        plant.live(at)
        jumps += 2
    plant.live(at + 2 * HOUR)
    check(plant, jumps, unmarked=False)  # small steps fall into a batch's own span

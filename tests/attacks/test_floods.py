"""Floods of invalid and of authentic messages (rows 87 and 88): everybody else goes on."""

import hashlib
import logging
import random
import sqlite3
from contextlib import closing

import pytest

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, topics
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.cose import MessageType
from gateway.ingest import Intake, Message, Policy, Verdict
from gateway.ingest.cadence import Allowance, Cadence
from gateway.ingest.fair import Delivery, FairQueue, Limits
from gateway.ingest.recorder import Recorder
from gateway.ledger import Ledger
from gateway.store.sqlite import SqliteStore

SITE, FLOODER, VICTIM = "al-001", "gw-01", "gw-02"
MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
T0 = 1_767_196_800 * 10**9
CONFIG = cbor.encode({"site": SITE})
GROUP = 64


class StillClock:
    """Time moves only when told; the monotonic one has another zero."""

    def __init__(self):
        self.now_ns = T0 + 24 * HOUR

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.now_ns - T0


def batch(signer, agent, seq, prev, last_ns, value=None):
    columns = Columns((f"{agent}.kwh",), [0], [last_ns], [seq if value is None else value], [0])
    return wire_batch.sign(
        Batch(
            SITE, agent, seq, prev, bytes(16), last_ns, last_ns, (last_ns - T0,) * 2,
            ClockState("ntp", sync=True), hashlib.sha256(CONFIG).digest(), "x", columns,
        ),
        signer,
    )  # fmt: skip


def chain(signer, agent, count, last_ns, step_ns):
    made, prev = [], bytes(32)
    for seq in range(1, count + 1):
        made.append(batch(signer, agent, seq, prev, last_ns + (seq - 1) * step_ns))
        prev = hashlib.sha256(made[-1]).digest()
    return made


class Desk:
    """The gateway behind the network: queue, intake, ledger, store; driven round by round."""

    def __init__(self, folder, keys, signer, limits=None, policy=None, **quarantine):
        self.clock = StillClock()
        self.ledger = Ledger(folder / "ledger.sqlite", **quarantine)
        self.intake = Intake(self.ledger, keys, policy or Policy(), self.clock)
        store = SqliteStore(folder / "store.sqlite")
        self.recorder = Recorder(self.intake, self.ledger, store, signer, self.clock)
        self.queue = FairQueue(self.intake.knows, limits)
        self.dropped = 0

    def configure(self, signers):
        for agent, signer in signers.items():
            self.arrive(agent, cose.sign(MessageType.CONFIG, CONFIG, signer), "config")
        self.round()

    def arrive(self, agent, payload, kind="batch", site=SITE):
        message = Message(topics.topic(site, agent, kind), payload, self.clock.now_ns)
        self.dropped += len(self.queue.put(Delivery(message)))

    def round(self):
        """What the service does in one round; gives whose messages it took, and who is acked."""
        taken = [delivery.message for delivery in self.queue.take(GROUP)]
        self.recorder.put(taken, self.queue.overflows())
        done = self.recorder.commit()
        return [message.topic.split("/")[3] for message in taken], done.progressed

    def rows(self, agent):
        return [row.raw for row in self.ledger.batches(SITE, agent)]

    def counted(self, agent):
        counts = self.ledger.quarantine_counts()
        return {one.reason: one for one in counts if one.agent == agent}

    def close(self):
        self.recorder.close()


@pytest.fixture
def make_desk(tmp_path, ring, signer, neighbour, gateway_signer):
    opened = []

    def make(**changes):
        opened.append(Desk(tmp_path, ring, gateway_signer, **changes))
        opened[-1].configure({FLOODER: signer, VICTIM: neighbour})
        return opened[-1]

    yield make
    for desk in opened:
        desk.close()


def test_an_invalid_flood_of_one_agent_does_not_hold_up_another(make_desk, neighbour):
    desk, dice = make_desk(), random.Random(87)
    made = chain(neighbour, VICTIM, 10, desk.clock.now_ns, MINUTE)
    acked = 0
    for raw in made:
        for _ in range(10_000):
            desk.arrive(FLOODER, dice.randbytes(16))
        desk.arrive(VICTIM, raw)
        took, progressed = desk.round()
        assert took[:2].count(VICTIM) == 1, "at most one of the flood before it"
        assert len(took) <= GROUP
        acked += (SITE, VICTIM) in progressed
        assert len(desk.queue) <= Limits().sender_messages
    assert acked == len(made)
    assert desk.rows(VICTIM) == made
    counts = desk.counted(FLOODER)
    handled = counts["envelope"].messages
    assert handled <= GROUP * len(made)
    assert counts["flood"].messages + handled + len(desk.queue) == 100_000
    assert counts["flood"].messages == counts["flood"].not_kept == desk.dropped
    assert counts["flood"].size == 16 * desk.dropped
    assert desk.counted(VICTIM) == {}


def test_a_flood_in_large_messages_is_bounded_in_bytes(make_desk):
    desk = make_desk(limits=Limits(sender_bytes=2_000_000))
    for place in range(200):
        desk.arrive(FLOODER, bytes([place]) * 100_000)
        assert desk.queue._size <= 2_000_000
    assert len(desk.queue) == 20
    assert desk.dropped == 180


@pytest.mark.parametrize(
    ("limits", "flood", "count"),
    [(Limits(messages=300), bytes(1), 1_000), (Limits(bytes=20_000), bytes(5_000), 10)],
    ids=["messages", "bytes"],
)
def test_a_full_queue_takes_from_who_has_most(make_desk, neighbour, limits, flood, count):
    """The victim has more bytes than a flood of small messages, more messages than one of large."""
    desk = make_desk(limits=limits)
    made = chain(neighbour, VICTIM, 8, desk.clock.now_ns, MINUTE)
    for raw in made:
        for _ in range(count):
            desk.arrive(FLOODER, flood)
        desk.arrive(VICTIM, raw)
    for _ in range(len(made)):
        desk.round()
    assert desk.rows(VICTIM) == made
    assert desk.counted(VICTIM) == {}
    assert desk.counted(FLOODER)["flood"].messages >= 8 * count - 300


def test_names_that_nobody_enrolled_share_one_place(make_desk, neighbour):
    desk = make_desk()
    for place in range(5_000):
        desk.arrive(f"x{place}", b"x", site="xx")
    (raw,) = chain(neighbour, VICTIM, 1, desk.clock.now_ns, MINUTE)
    desk.arrive(VICTIM, raw)
    took, _ = desk.round()
    assert took.index(VICTIM) <= 1
    (count,) = [one for one in desk.ledger.quarantine_counts() if one.reason == "flood"]
    assert (count.site, count.messages) == ("", 5_000 - Limits().sender_messages)


def test_a_flood_fills_the_quarantine_only_to_its_limits(make_desk, tmp_path, caplog):
    desk = make_desk(quarantine_per_topic=30, quarantine_per_hour=10)
    caplog.set_level(logging.WARNING)
    for hour in range(5):
        for place in range(GROUP):
            desk.arrive(FLOODER, b"%d %d" % (hour, place))
        desk.round()
        desk.clock.now_ns += 2 * HOUR
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        times = [at for (at,) in db.execute("SELECT received_ns FROM quarantine ORDER BY id")]
        (digest,) = db.execute("SELECT last_sha256 FROM quarantine_counts").fetchone()
    assert len(times) == 30
    assert [times.count(at) for at in sorted(set(times))] == [10, 10, 10]
    count = desk.counted(FLOODER)["envelope"]
    assert (count.messages, count.not_kept) == (5 * GROUP, 5 * GROUP - 30)
    assert digest == hashlib.sha256(b"4 63").digest()
    assert len(caplog.records) == 5, "one line a cause and interval"


# -- authentic floods: a stolen key ------------------------------------------------------------

SMALL = Policy(allowance=Allowance(batches_per_hour=60, burst_hours=1))


def test_an_authentic_flood_is_held_to_its_cadence_in_order(make_desk, signer, neighbour, caplog):
    desk = make_desk(policy=SMALL)
    caplog.set_level(logging.WARNING)
    flood = chain(signer, FLOODER, 400, desk.clock.now_ns, 0)
    honest = chain(neighbour, VICTIM, 10, desk.clock.now_ns, MINUTE)
    for place, raw in enumerate(flood):
        desk.arrive(FLOODER, raw)
        if place % 40 == 0:
            desk.arrive(VICTIM, honest[place // 40])
    for _ in range(20):
        desk.round()
    # Saved up for an hour, less what the configuration cost.
    assert desk.rows(FLOODER) == flood[:59]
    assert desk.rows(VICTIM) == honest
    assert desk.counted(FLOODER)["cadence"].messages >= 1
    assert "cadence agent=al-001/gw-01" in caplog.text
    assert desk.intake.is_waiting()
    for minutes in (1, 30):
        desk.clock.now_ns += minutes * MINUTE
        desk.round()
    assert desk.rows(FLOODER) == flood[: 59 + 31]


def test_a_stolen_key_gains_nothing_by_batches_of_the_future(make_desk, signer):
    desk = make_desk(policy=SMALL)
    made = chain(signer, FLOODER, 300, desk.clock.now_ns, HOUR)
    for raw in made:
        desk.arrive(FLOODER, raw)
    for _ in range(10):
        desk.round()
    # An hour saved and five minutes ahead, which is what `clock_future` tolerates.
    assert len(desk.rows(FLOODER)) <= 60 + 5
    assert desk.rows(FLOODER) == made[: len(desk.rows(FLOODER))]


def test_a_backlog_is_no_flood(make_desk, neighbour):
    desk = make_desk(policy=SMALL)
    made = chain(neighbour, VICTIM, 900, T0, MINUTE)
    for raw in made:
        desk.arrive(VICTIM, raw)
    for _ in range(20):
        desk.round()
    assert desk.rows(VICTIM) == made
    assert desk.counted(VICTIM) == {}


def test_an_authentic_flood_of_large_messages_is_held_to_its_bytes(make_desk, signer):
    size = len(cose.sign(MessageType.CONFIG, bytes(100_000), signer))
    allowance = Allowance(bytes_per_hour=10 * size, burst_hours=1)
    desk = make_desk(policy=Policy(allowance=allowance))
    for place in range(50):
        desk.arrive(
            FLOODER, cose.sign(MessageType.CONFIG, bytes([place]) * 100_000, signer), "config"
        )
    desk.round()
    kept = desk.ledger.config_digests(SITE, FLOODER)
    assert len(kept) == 1 + 9, "the first was small, but not free"
    assert desk.counted(FLOODER)["cadence"].messages == 41


def test_a_flood_of_forks_is_kept_within_the_account(make_desk, signer):
    desk = make_desk(policy=SMALL)
    now_ns = desk.clock.now_ns
    for place in range(500):
        desk.arrive(FLOODER, batch(signer, FLOODER, 1, bytes(32), now_ns, value=place))
    for _ in range(8):
        desk.round()
    assert desk.ledger.is_frozen(SITE, FLOODER)
    # The first one is free; a configuration and a batch were paid for before.
    assert len(desk.ledger.forks(SITE, FLOODER)) == 1 + 58
    assert desk.counted(FLOODER)["cadence"].messages == 500 - 1 - 59


def emptied(desk, signer):
    """The thief used up the account; one more of his batches waits and takes each credit."""
    stolen = chain(signer, FLOODER, 61, desk.clock.now_ns, 0)
    for raw in stolen:
        desk.arrive(FLOODER, raw)
    desk.round()
    assert desk.rows(FLOODER) == stolen[:59]
    assert desk.intake.is_waiting()
    return stolen


@pytest.mark.parametrize("seq", [2, 59, 60], ids=["stored", "newest", "waiting"])
def test_an_empty_account_hides_no_fork(make_desk, signer, seq):
    """The robbed agent's own batch freezes it at once, and the thief gets nothing further in."""
    desk = make_desk(policy=SMALL)
    stolen = emptied(desk, signer)
    prev = hashlib.sha256(stolen[seq - 2]).digest()
    genuine = batch(signer, FLOODER, seq, prev, desk.clock.now_ns, value=7_777)
    desk.arrive(FLOODER, genuine)
    desk.round()
    assert desk.ledger.is_frozen(SITE, FLOODER)
    sides = [raw for _, _, raw in desk.ledger.forks(SITE, FLOODER)]
    assert sides == ([stolen[59], genuine] if seq == 60 else [genuine])
    desk.clock.now_ns += HOUR
    for raw in stolen[59:]:
        desk.arrive(FLOODER, raw)
    desk.round()
    assert desk.rows(FLOODER) == stolen[:59]
    assert not desk.intake.is_waiting()


def test_a_fork_with_what_waits_is_seen_though_the_account_holds_enough_again(make_desk, signer):
    """A credit came between two looks: the batch that arrives must not pass the one that waits."""
    desk = make_desk(policy=SMALL)
    stolen = emptied(desk, signer)
    desk.clock.now_ns += MINUTE
    prev = hashlib.sha256(stolen[58]).digest()
    genuine = batch(signer, FLOODER, 60, prev, desk.clock.now_ns, value=7_777)
    message = Message(topics.topic(SITE, FLOODER, "batch"), genuine, desk.clock.now_ns)
    assert desk.intake.offer(message) is Verdict.FORK
    desk.round()
    assert desk.ledger.is_frozen(SITE, FLOODER)
    assert [raw for _, _, raw in desk.ledger.forks(SITE, FLOODER)] == [stolen[59], genuine]


def test_what_waits_is_not_held_any_more_when_it_is_accepted_as_it_arrives_again(make_desk, signer):
    desk = make_desk(policy=SMALL)
    stolen = emptied(desk, signer)
    desk.clock.now_ns += MINUTE
    message = Message(topics.topic(SITE, FLOODER, "batch"), stolen[59], desk.clock.now_ns)
    assert desk.intake.offer(message) is Verdict.ACCEPTED
    assert desk.intake.ack((SITE, FLOODER), desk.clock.now_ns).held == (61, 61)


def test_an_account_never_holds_more_than_its_burst():
    account = Cadence(Allowance(batches_per_hour=60, burst_hours=2), T0, 0)
    assert account.pay(10, 900 * HOUR, T0 + 900 * HOUR)
    assert sum(account.pay(10, 900 * HOUR, T0) for _ in range(500)) == 119
    assert not account.pay(10, 900 * HOUR)
    assert account.pay(10, 901 * HOUR)

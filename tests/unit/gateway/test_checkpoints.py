"""Checkpoints come hourly and at each plant-day close, signed by a key of the log's own."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.calc.windows import to_ns
from edge_agent.wire import cbor, merkle, notes
from gateway.checkpoints import Checkpointer
from gateway.day_closing import DayCloser
from gateway.ledger import Draft

ORIGIN = "carbon-log/test"
HOUR = timedelta(hours=1)
NOON = datetime(2026, 10, 1, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai
SITE, AGENT = "al-001", "gw-01"


@pytest.fixture
def checkpointer(ledger, gateway_signer):
    days = DayCloser(ledger, gateway_signer, 300)
    return Checkpointer(ledger, gateway_signer, ORIGIN, 3_600, days)


@pytest.fixture
def grow(ledger):
    def add():
        number = ledger.tree.size()
        ledger.documents.add(Draft("enrol", SITE, f"{number}", f"{number}".encode(), 5))

    return add


@pytest.fixture
def plant(desk, chain):
    """A site whose configuration says Shanghai, with one batch."""
    content = cbor.encode({"site": SITE, "timezone": "Asia/Shanghai"})
    desk.clock.now_ns = to_ns(NOON)
    desk.offer(chain.config(content), "config")
    desk.offer(chain.batch(1, config=content))
    desk.settle()


def test_an_empty_ledger_states_nothing(checkpointer):
    assert checkpointer.tick(to_ns(NOON)) is None
    assert checkpointer.now(to_ns(NOON)) is None


def test_a_checkpoint_states_size_and_root_under_the_logs_key(checkpointer, grow, ledger):
    grow()
    made = checkpointer.tick(to_ns(NOON))
    head = notes.verify_checkpoint(made.note, checkpointer.key)
    assert (head.size, head.root) == (1, ledger.tree.root())


def test_checkpoints_come_by_the_hour_and_only_with_news(checkpointer, grow):
    grow()
    assert checkpointer.tick(to_ns(NOON)) is not None
    grow()
    assert checkpointer.tick(to_ns(NOON + HOUR * 0.9)) is None
    assert checkpointer.tick(to_ns(NOON + HOUR)).size == 2
    assert checkpointer.tick(to_ns(NOON + 2 * HOUR)) is None
    grow()
    assert checkpointer.tick(to_ns(NOON + 2 * HOUR)).size == 3


def test_a_plant_day_is_closed_at_its_midnight_with_its_range(checkpointer, plant, grow, ledger):
    start = ledger.tree.size()
    evening = NOON + 11.2 * HOUR  # 23:12
    checkpointer.tick(to_ns(evening))
    grow()
    assert checkpointer.tick(to_ns(evening + 0.7 * HOUR)) is None
    made = checkpointer.tick(to_ns(evening + 0.81 * HOUR))
    assert notes.parse(made.note)[0].extension == (f"day {SITE} 2026-10-01 0-{start}",)
    grow()
    later = checkpointer.tick(to_ns(NOON + 36.5 * HOUR))
    extension = notes.parse(later.note)[0].extension
    # the record of the first day is a leaf of the second
    assert extension == (f"day {SITE} 2026-10-02 {start + 1}-{start + 2}",)


def test_days_without_a_running_gateway_are_closed_together(checkpointer, plant, grow):
    checkpointer.tick(to_ns(NOON))
    grow()
    made = checkpointer.tick(to_ns(NOON + 72 * HOUR))
    days = [line.split(" ")[2] for line in notes.parse(made.note)[0].extension]
    assert days == ["2026-10-01", "2026-10-02", "2026-10-03"]


def test_an_ack_brings_the_checkpoint_until_a_batch_carries_it(desk, chain, checkpointer, ledger):
    made = chain.batches(2)
    for raw in made:
        desk.offer(raw)
    desk.settle()
    source = (SITE, AGENT)
    assert desk.intake.ack(source, 1).log is None
    stated = checkpointer.now(to_ns(NOON))
    assert desk.intake.ack(source, 1).log == stated.note
    seen = (stated.size, stated.root)
    third = chain.batch(3, hashlib.sha256(made[1]).digest(), log=seen)
    desk.offer(third)
    desk.settle()
    assert desk.intake.ack(source, 1).log is None
    newer = checkpointer.now(to_ns(NOON + HOUR))
    ack = desk.intake.ack(source, 1)
    merkle.check_consistency(seen, (newer.size, newer.root), ack.proof)
    assert [row.flags for row in ledger.batches(*source)] == [(), (), ()]


def test_a_head_that_is_not_this_logs_is_marked(desk, chain, ledger):
    first = chain.batch(1, log=(1, bytes(32)))
    desk.offer(first)
    desk.settle()
    (row,) = ledger.batches(SITE, AGENT)
    assert row.flags == ("log_conflict",)

"""When readings count as durable, and what is written for it."""

import pytest

from edge_agent.acquisition.queue import ReadingQueue, Taken
from edge_agent.outbox import Outbox, OutboxFull
from edge_agent.readings import Sample
from edge_agent.seen import REMEMBERED
from edge_agent.unsaved import Unsaved

S = 10**9


class Clock:
    now_ns = 100 * S

    def monotonic_ns(self):
        return self.now_ns


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "o.sqlite", 2**20)
    yield box
    box.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def unsaved(outbox, clock):
    made = Unsaved(outbox, clock, 1.0)
    made.add([Sample("x", 1, 1)], Taken(1))
    made.write()
    assert made.durable == 1
    return made


def test_what_nobody_waits_for_is_written_every_now_and_then(unsaved, clock):
    unsaved.add([Sample("x", 2, 1)], Taken(2))
    unsaved.write()
    assert unsaved.durable == 1
    clock.now_ns += S
    unsaved.write()
    assert unsaved.durable == 2


def test_what_a_sender_waits_for_is_written_at_once_with_its_mark(unsaved, outbox):
    unsaved.add([Sample("x", 2, 1)], Taken(2, [("cems", b"m")]))
    assert unsaved.durable == 1
    unsaved.write()
    assert unsaved.durable == 2
    assert outbox.seen.load() == {"cems": [b"m"]}
    unsaved.add([Sample("x", 3, 1)], Taken(3))
    unsaved.write()
    assert unsaved.durable == 2, "nobody waits any more"


def test_nothing_is_durable_while_it_cannot_be_written(unsaved, outbox, clock, monkeypatch):
    unsaved.add([Sample("x", 2, 1)], Taken(2, [("cems", b"m")]))
    with monkeypatch.context() as patch:

        def refuse(*_, **__):
            raise OutboxFull("full")

        patch.setattr(outbox, "journal", refuse)
        with pytest.raises(OutboxFull):
            unsaved.write()
    assert unsaved.durable == 1
    unsaved.write()
    assert unsaved.durable == 2


def test_behind_a_loss_that_was_not_stored_only_a_state_makes_durable(unsaved, outbox, clock):
    unsaved.add([Sample("x", 2, 1)], Taken(2, [("cems", b"lost")]))
    unsaved.lost()
    clock.now_ns += S
    unsaved.add([Sample("x", 3, 1)], Taken(3, [("cems", b"later")]))
    unsaved.write()
    assert not unsaved.readings, "the journal takes what it can"
    assert (unsaved.durable, outbox.seen.load()) == (1, {})
    outbox.save_state(b"state")
    unsaved.stored()
    assert (unsaved.durable, outbox.seen.load()) == (3, {"cems": [b"lost", b"later"]})


def test_the_newest_marks_of_a_device_stay(unsaved, outbox):
    marks = [number.to_bytes(4, "big") for number in range(REMEMBERED + 500)]
    outbox.seen.stage([("rare", b"r")])
    outbox.save_state(b"state")
    outbox.seen.stage([("cems", mark) for mark in marks])
    outbox.save_state(b"state")
    outbox.save_state(b"state")
    assert outbox.seen.load() == {"rare": [b"r"], "cems": marks[500:]}


async def test_a_take_says_how_far_it_went_and_which_marks_came_with_it():
    queue = ReadingQueue(100)
    assert queue.put([Sample("x", 1, 1)], [("a", b"1")]) == 1
    assert queue.put([]) == 1
    assert queue.put([Sample("x", 2, 1)]) == 2
    assert queue.taken == Taken()
    assert len(await queue.take_all()) == 2
    assert queue.taken == Taken(2, [("a", b"1")])
    queue.put([Sample("x", 3, 1)])
    await queue.take_all()
    assert queue.taken == Taken(3, [])

"""The outbox: nothing leaves it but by an ack, nothing enters it half, and full is loud."""

import hashlib
import random
import sqlite3

import pytest

from edge_agent.outbox import Outbox, OutboxDamaged, OutboxFull
from edge_agent.wire.chain import ChainHead


def raw(number, size=100):
    return number.to_bytes(4, "big") * (size // 4)


def head(number, size=100):
    return ChainHead(number, hashlib.sha256(raw(number, size)).digest())


def fill(outbox, first, last, size=100):
    for number in range(first, last + 1):
        outbox.commit([raw(number, size)], head(number, size), b"state %d" % number)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


def test_a_reopened_outbox_goes_on_after_the_last_ack_in_order(path):
    outbox = Outbox(path, 10_000)
    fill(outbox, 1, 9)
    outbox.ack(4, head(4).sha256)
    outbox.close()
    again = Outbox(path, 10_000)
    assert again.acked == 4
    assert [item.seq for item in again.after(again.acked, 100)] == [5, 6, 7, 8, 9]
    assert [item.raw for item in again.after(6, 2)] == [raw(7), raw(8)]
    assert again.head == head(9)
    assert again.unacked_bytes == 500
    again.close()


def test_a_full_outbox_refuses_the_new_keeps_the_old_and_takes_again_after_an_ack(path):
    outbox = Outbox(path, 500)
    fill(outbox, 1, 5)
    outbox.journal(b"readings")
    with pytest.raises(OutboxFull, match="500 unacked bytes; 500 are allowed"):
        outbox.commit([raw(6)], head(6), b"state 6")
    assert [item.raw for item in outbox.after(0, 10)] == [raw(n) for n in range(1, 6)]
    assert outbox.head == head(5)
    assert outbox.state() == b"state 5"
    assert outbox.journaled() == (1, b"readings")
    outbox.ack(2, head(2).sha256)
    fill(outbox, 6, 7)
    assert [item.seq for item in outbox.after(0, 10)] == [3, 4, 5, 6, 7]
    outbox.close()


def test_a_commit_is_whole_or_not_at_all(path):
    outbox = Outbox(path, 10_000)
    fill(outbox, 1, 3)
    outbox.journal(b"later")
    with pytest.raises(sqlite3.IntegrityError):  # the second batch bears a number in use
        outbox.commit([raw(9), raw(2)], ChainHead(3, b"x" * 32), b"state 9")
    assert outbox.state() == b"state 3"
    assert outbox.journaled() == (1, b"later")
    assert outbox.head == head(3)
    assert len(outbox.after(0, 10)) == 3
    outbox.close()


@pytest.mark.parametrize("cut", [1, 100, 4_000, 8_000])
def test_a_torn_write_ahead_log_loses_its_tail_and_the_outbox_still_opens(path, tmp_path, cut):
    outbox = Outbox(path, 100_000)
    fill(outbox, 1, 3)
    copy = tmp_path / "after_the_crash"
    copy.mkdir()
    log = path.with_name(path.name + "-wal").read_bytes()
    (copy / path.name).write_bytes(path.read_bytes())
    (copy / f"{path.name}-wal").write_bytes(log[:-cut] + b"\xff" * (cut // 2))
    outbox.close()
    torn = Outbox(copy / path.name, 100_000)
    waiting = torn.after(0, 10)
    assert [item.seq for item in waiting] == list(range(1, torn.head.seq + 1))
    assert torn.head.seq < 3
    assert all(hashlib.sha256(item.raw).digest() == item.sha256 for item in waiting)
    torn.close()


def cut_short(content, dice):
    return content[: dice.randrange(512, len(content))]


def torn_at_the_end(content, dice):
    start = len(content) - 512 * dice.randint(1, 8)
    return content[:start] + dice.randbytes(512) + content[start + 512 :]


def torn_anywhere(content, dice):
    start = 512 * dice.randrange(len(content) // 512)
    return content[:start] + bytes(512) + content[start + 512 :]


@pytest.mark.parametrize("damage", [cut_short, torn_at_the_end, torn_anywhere])
def test_a_damaged_outbox_gives_what_was_written_or_is_refused_with_the_remedy(
    path, tmp_path, damage
):
    outbox = Outbox(path, 10**6)
    fill(outbox, 1, 20, 5_000)
    state = random.Random(1).randbytes(20_000)
    outbox.save_state(state)
    outbox.close()
    content, dice, refused = path.read_bytes(), random.Random(2), 0
    expected = [raw(number, 5_000) for number in range(1, 21)]
    for number in range(60):
        copy = tmp_path / f"damaged-{number}.sqlite"
        copy.write_bytes(damage(content, dice))
        try:
            damaged = Outbox(copy, 10**6)
            try:
                assert damaged.state() == state
                assert damaged.journaled() is None
                assert damaged.head == head(20, 5_000)
                assert [item.raw for item in damaged.after(0, 100)] == expected
            finally:
                damaged.close()
        except OutboxDamaged as error:
            refused += 1
            assert str(copy) in str(error)  # noqa: PT017  that it is refused is not certain
            assert "resume-from-ack" in str(error)  # noqa: PT017
    assert refused > 20

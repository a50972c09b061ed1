"""Chain rules C1 to C5 of ``edge_agent.wire.chain``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import Fork, Gap, Replay
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.chain import ZERO_HASH, ChainHead, extend


@pytest.fixture
def made(signer, ring, make_batch):
    def make(seq, prev, first_ms=0):
        batch = make_batch(seq=seq, prev=prev, mono=(first_ms, first_ms))
        return wire_batch.verify(wire_batch.sign(batch, signer), "al-001", "gw-01", ring)

    return make


@pytest.fixture
def chain(made):
    """Five batches in a row, and the heads after each."""
    batches, heads = [], [ChainHead()]
    for seq in range(1, 6):
        batches.append(made(seq, heads[-1].sha256))
        heads.append(extend(heads[-1], batches[-1], lambda _: None))
    return batches, heads


def known(batches):
    return {batch.batch.seq: batch.sha256 for batch in batches}.get


def test_batches_in_order_move_the_head_to_each_one_s_hash(chain):
    batches, heads = chain
    assert [head.seq for head in heads] == [0, 1, 2, 3, 4, 5]
    assert [head.sha256 for head in heads[1:]] == [batch.sha256 for batch in batches]
    assert len({head.sha256 for head in heads}) == 6


def test_a_first_batch_that_names_a_predecessor_is_a_fork(made):  # row 23
    with pytest.raises(Fork):
        extend(ChainHead(), made(1, bytes([1]) * 32), lambda _: None)


def test_a_second_batch_that_names_no_predecessor_is_a_fork(made, chain):  # row 23
    with pytest.raises(Fork):
        extend(chain[1][1], made(2, ZERO_HASH), known(chain[0][:1]))


@pytest.mark.parametrize("place", range(5))
def test_every_earlier_batch_once_more_is_a_replay(place, chain):  # rows 15, 16
    batches, heads = chain
    with pytest.raises(Replay):
        extend(heads[-1], batches[place], known(batches))


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_another_batch_under_a_number_in_use_is_a_fork(seq, made, chain):  # row 17
    batches, heads = chain
    other = made(seq, heads[seq - 1].sha256, first_ms=7)
    with pytest.raises(Fork):
        extend(heads[-1], other, known(batches))


def test_a_number_in_use_whose_hash_nobody_knows_is_a_fork(chain):
    with pytest.raises(Fork):
        extend(chain[1][-1], chain[0][0], lambda _: None)


@pytest.mark.parametrize("seq", [7, 8, 2**53 - 1])
def test_a_number_beyond_the_next_is_a_gap(seq, made, chain):  # row 18
    with pytest.raises(Gap):
        extend(chain[1][-1], made(seq, chain[1][-1].sha256), known(chain[0]))


def test_a_first_batch_with_number_two_is_a_gap(made):
    with pytest.raises(Gap):
        extend(ChainHead(), made(2, ZERO_HASH), lambda _: None)


def test_the_next_number_after_another_predecessor_is_a_fork(made, chain):  # row 22
    with pytest.raises(Fork):
        extend(chain[1][-1], made(6, chain[1][-2].sha256), known(chain[0]))


@given(data=st.data())
def test_any_order_with_repeats_ends_at_the_same_head(data, ring, signer, make_batch):  # row 20
    raws, head = [], ChainHead()
    for seq in range(1, 7):
        raw = wire_batch.sign(make_batch(seq=seq, prev=head.sha256), signer)
        raws.append(wire_batch.verify(raw, "al-001", "gw-01", ring))
        head = ChainHead(seq, raws[-1].sha256)
    waiting = data.draw(st.permutations(raws + raws[:3]))
    got, kept = ChainHead(), {}
    while waiting:
        held = []
        for batch in waiting:
            try:
                got = extend(got, batch, kept.get)
                kept[batch.batch.seq] = batch.sha256
            except Replay:
                pass
            except Gap:
                held.append(batch)
        assert len(held) < len(waiting)
        waiting = held
    assert got == head

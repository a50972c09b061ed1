"""Rows 69 and 74: an agent follows a growing log and notices any other."""

import hashlib

import pytest

from edge_agent.errors import BadSignature, LogConflict
from edge_agent.wire import merkle, notes
from edge_agent.wire.log_head import LogHead, LogTrust, follow
from edge_agent.wire.notes import Head

ORIGIN = "carbon-log/test"
TRUST = LogTrust(ORIGIN)


class Log:
    """A log of numbered leaves; ``fork`` changes all leaves from an index on."""

    def __init__(self, signer, fork=None):
        self.signer = signer
        self.fork = fork

    def hashes(self, size):
        texts = [
            f"{number}{'x' if self.fork is not None and number >= self.fork else ''}"
            for number in range(size)
        ]
        return [merkle.leaf_hash(text.encode()) for text in texts]

    def root(self, size):
        return merkle.root(self.hashes(size))

    def note(self, size):
        return notes.sign_checkpoint(Head(ORIGIN, size, self.root(size)), self.signer)

    def proof(self, old, new):
        hashes = self.hashes(new)
        return merkle.consistency(
            old, new, lambda level, place: merkle.root(hashes[place << level : place + 1 << level])
        )


@pytest.fixture
def log(gateway_signer):
    return Log(gateway_signer)


@pytest.fixture
def forked(gateway_signer):
    return Log(gateway_signer, fork=5)


def test_the_first_checkpoint_is_taken_and_an_empty_log_is_none(log):
    assert follow(None, 0, log.note(7), None, TRUST) == LogHead(ORIGIN, 7, log.root(7))
    assert follow(None, 0, log.note(0), None, TRUST) is None


def test_a_newer_head_is_taken_when_the_carried_one_is_proven(log):
    known = LogHead(ORIGIN, 7, log.root(7)).carried_by(12)
    found = follow(known, 12, log.note(20), log.proof(7, 20), TRUST)
    assert found == LogHead(ORIGIN, 20, log.root(20))


@pytest.mark.parametrize("known_seq", [None, 13])
def test_before_the_gateway_has_the_carrying_batch_nothing_is_learnt(log, known_seq):
    known = LogHead(ORIGIN, 7, log.root(7), known_seq)
    assert follow(known, 12, log.note(20), log.proof(3, 20), TRUST) is known


def test_a_log_rewritten_below_the_head_is_another_history(log, forked):
    known = LogHead(ORIGIN, 7, log.root(7), 12)
    with pytest.raises(LogConflict):
        follow(known, 12, forked.note(20), forked.proof(7, 20), TRUST)


def test_a_log_rewritten_behind_the_head_is_seen_by_the_next_plant_only(log, forked):
    known = LogHead(ORIGIN, 5, log.root(5), 12)
    assert follow(known, 12, forked.note(20), forked.proof(5, 20), TRUST).size == 20


def test_two_roots_of_one_size_are_a_conflict_even_before_it_was_carried(log, forked):
    with pytest.raises(LogConflict, match="two roots"):
        follow(LogHead(ORIGIN, 7, log.root(7)), 1, forked.note(7), None, TRUST)


def test_a_shorter_log_and_a_missing_proof_are_conflicts(log):
    known = LogHead(ORIGIN, 7, log.root(7), 12)
    with pytest.raises(LogConflict):
        follow(known, 12, log.note(6), [], TRUST)
    with pytest.raises(LogConflict, match="no proof"):
        follow(known, 12, log.note(20), None, TRUST)


def test_a_pinned_key_must_have_signed(log, signer, gateway_signer):
    other = notes.note_key(ORIGIN, signer.public_spki())
    with pytest.raises(BadSignature):
        follow(None, 0, log.note(7), None, LogTrust(ORIGIN, other))
    ours = notes.note_key(ORIGIN, gateway_signer.public_spki())
    assert follow(None, 0, log.note(7), None, LogTrust(ORIGIN, ours)).size == 7


def test_a_head_survives_storage_and_keeps_the_first_batch_that_carried_it(log):
    head = LogHead(ORIGIN, 7, hashlib.sha256(b"x").digest())
    assert LogHead.load(head.dump(), ORIGIN) == head
    carried = head.carried_by(3).carried_by(4)
    assert (carried.seq, LogHead.load(carried.dump(), ORIGIN)) == (3, carried)
    assert LogHead.load(None, ORIGIN) is None


def test_a_log_of_another_origin_is_followed_only_when_it_is_configured(log):
    known = LogHead(ORIGIN, 7, log.root(7), 12)
    with pytest.raises(LogConflict, match="not of 'carbon-log/other'"):
        follow(known, 12, log.note(7), None, LogTrust("carbon-log/other"))
    assert LogHead.load(known.dump(), "carbon-log/other") is None

"""Rows 65 to 69 and a gateway restored from a backup: what an ack may do, and what never."""

import hashlib

import pytest

from edge_agent.acks import AckDesk, Identity
from edge_agent.health import Health
from edge_agent.outbox import Outbox
from edge_agent.wire import merkle, notes
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.keys import public_key
from edge_agent.wire.log_head import LogTrust
from edge_agent.wire.messages import Ack, sign_ack
from edge_agent.wire.notes import Head

SITE, AGENT, ORIGIN = "al-001", "gw-01", "carbon-log/test"
BATCHES = [f"batch {number}".encode() * 20 for number in range(1, 7)]


def sha256(seq):
    return hashlib.sha256(BATCHES[seq - 1]).digest()


@pytest.fixture
def make_outbox(tmp_path):
    opened = []

    def make(retain=10**6):
        outbox = Outbox(tmp_path / "outbox.sqlite", 10**6, retain)
        opened.append(outbox)
        return outbox

    yield make
    for outbox in opened:
        outbox.close()


@pytest.fixture
def outbox(make_outbox):
    made = make_outbox()
    made.commit(BATCHES, ChainHead(6, sha256(6)), b"state")
    return made


@pytest.fixture
def desk(outbox, signer, gateway_signer):
    gateways = (public_key(gateway_signer.public_spki()),)
    identity = Identity(SITE, AGENT, bytes(16), signer, gateways, LogTrust(ORIGIN))
    return AckDesk(identity, outbox, Health())


@pytest.fixture
def ack(gateway_signer):
    times = iter(range(1, 1_000))

    def make(seq, digest=None, signer=gateway_signer, **changes):
        fields = {"site": SITE, "agent": AGENT, "at_ns": next(times)}
        digest = digest or (sha256(seq) if seq else bytes(32))
        return sign_ack(Ack(seq=seq, sha256=digest, **(fields | changes)), signer)

    return make


def left(outbox):
    return [batch.seq for batch in outbox.after(outbox.acked, 100)]


def test_an_ack_makes_what_it_covers_removable(desk, outbox, ack):
    assert desk.obey(ack(4)).is_progress
    assert left(outbox) == [5, 6]
    assert outbox.unacked_bytes == len(BATCHES[4]) + len(BATCHES[5])


def test_an_ack_forged_with_another_key_does_nothing(desk, outbox, ack, neighbour):  # 65
    assert not desk.obey(ack(4, signer=neighbour)).is_progress
    assert left(outbox) == [1, 2, 3, 4, 5, 6]
    assert desk._health.acks_refused == 1


@pytest.mark.parametrize("changes", [{"site": "al-002"}, {"agent": "gw-02"}])
def test_an_ack_for_another_agent_does_nothing(desk, outbox, ack, changes):  # 66
    assert not desk.obey(ack(4, **changes)).is_progress
    assert outbox.acked == 0


def test_an_old_retained_ack_changes_nothing(desk, outbox, ack):  # 67
    old = ack(2)
    desk.obey(ack(5))
    outcome = desk.obey(old)
    assert (outcome.is_progress, outcome.resend_after, outbox.acked) == (False, None, 5)


def test_an_ack_beyond_what_was_made_alarms(desk, outbox, ack):  # 68
    assert not desk.obey(ack(9, bytes(32))).is_progress
    assert (outbox.acked, desk._health.alarm) == (0, "foreign_history")


def test_another_alarm_does_not_let_removal_go_on(desk, outbox, ack):
    desk.obey(ack(3, bytes(32)))
    desk._health.alarm = ""  # as after a full disk that has room again
    assert not desk.obey(ack(4)).is_progress
    assert left(outbox) == [1, 2, 3, 4, 5, 6]


def test_an_ack_of_another_hash_stops_all_removal(desk, outbox, ack):  # 69
    desk.obey(ack(3, bytes(32)))
    assert desk._health.alarm == "foreign_history"
    assert not desk.obey(ack(4)).is_progress
    assert outbox.acked == 0


def test_a_gateway_restored_from_a_backup_is_sent_what_it_lost(desk, outbox, ack):
    desk.obey(ack(5))
    outcome = desk.obey(ack(2))
    assert outcome.resend_after == 2
    assert [batch.raw for batch in outbox.after(2, 3)] == BATCHES[2:5]
    assert outbox.acked == 5, "what was acked stays acked"
    assert desk.gateway_at == 2
    again = desk.obey(ack(3))
    assert (again.resend_after, again.is_progress, desk.gateway_at) == (None, True, 3)
    assert desk.obey(ack(6)).is_progress
    assert (desk.gateway_at, outbox.acked, desk._health.fallbacks) == (None, 6, 1)


def test_a_gateway_that_lost_everything_is_sent_everything(desk, outbox, ack):
    desk.obey(ack(5))
    assert desk.obey(ack(0)).resend_after == 0


def test_a_fall_back_beyond_what_is_retained_alarms(make_outbox, desk, ack, tmp_path):
    desk._outbox.close()
    desk._outbox = make_outbox(retain=2 * len(BATCHES[0]))
    desk.obey(ack(5))
    assert desk.obey(ack(2)).resend_after is None
    assert desk._health.alarm == "evidence_lost"


def test_a_fall_back_to_another_history_is_foreign(desk, ack):
    desk.obey(ack(5))
    assert desk.obey(ack(2, bytes(32))).resend_after is None
    assert desk._health.alarm == "foreign_history"


def test_acked_batches_are_kept_within_their_room_oldest_out_first(make_outbox):
    size = len(BATCHES[0])
    outbox = make_outbox(retain=2 * size)
    outbox.commit(BATCHES, ChainHead(6, sha256(6)), b"state")
    outbox.ack(5, sha256(5))
    assert [batch.seq for batch in outbox.after(0, 10)] == [4, 5, 6]
    assert outbox.hash_at(5) == sha256(5)
    again = make_outbox(retain=2 * size)
    again.ack(6, sha256(6))
    assert [batch.seq for batch in again.after(0, 10)] == [5, 6]


def checkpoint(size, signer, extra=b""):
    leaves = [merkle.leaf_hash(bytes([number]) + extra) for number in range(size)]
    return notes.sign_checkpoint(Head(ORIGIN, size, merkle.root(leaves)), signer)


def test_a_checkpoint_is_taken_and_another_root_of_its_size_alarms(
    desk, outbox, ack, gateway_signer
):  # 74
    assert desk.obey(ack(2, log=checkpoint(3, gateway_signer))).is_progress
    outcome = desk.obey(ack(4, log=checkpoint(3, gateway_signer, b"x")))
    assert not outcome.is_progress
    assert (outbox.acked, desk._health.alarm) == (2, "foreign_history")

import hashlib
import random

import pytest

from edge_agent.wire import cbor, cose, messages
from edge_agent.wire.batch import ClockState
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, public_key
from edge_agent.wire.messages import Status
from gateway.ingest import Intake, Message, Policy, Verdict
from gateway.ledger import Ledger

SOURCE = ("al-001", "gw-01")
MINUTE = 60_000_000_000


def sha256(raw):
    return hashlib.sha256(raw).digest()


def content(ledger, agent="gw-01"):
    return [(row.seq, row.sha256, row.raw) for row in ledger.batches("al-001", agent)]


def test_batches_in_order_are_accepted_and_acked(desk, chain):
    made = chain.batches(3)
    assert [desk.offer(raw) for raw in made] == [Verdict.ACCEPTED] * 3
    assert desk.settle().progressed == {SOURCE}
    ack = desk.intake.ack(SOURCE, 1)
    assert (ack.seq, ack.sha256, ack.held, ack.want_config) == (3, sha256(made[2]), None, False)
    assert [raw for _, _, raw in content(desk.ledger)] == made


@pytest.mark.parametrize("settled", [False, True])
def test_a_replay_is_acked_again_and_stored_once(desk, chain, settled):
    made = chain.batches(2)
    for raw in made:
        desk.offer(raw)
    if settled:
        desk.settle()
    assert desk.offer(made[0]) is Verdict.REPLAY
    assert SOURCE in desk.settle().repeat
    assert len(content(desk.ledger)) == 2


def test_a_gap_is_held_until_the_missing_batch_comes(desk, chain):
    made = chain.batches(4)
    verdicts = [desk.offer(made[place]) for place in (0, 3, 2)]
    assert verdicts == [Verdict.ACCEPTED, Verdict.HELD, Verdict.HELD]
    desk.settle()
    ack = desk.intake.ack(SOURCE, 1)
    assert (ack.seq, ack.held) == (1, (3, 4))
    assert desk.offer(made[1]) is Verdict.ACCEPTED
    desk.settle()
    assert desk.intake.ack(SOURCE, 1).seq == 4
    assert desk.intake.ack(SOURCE, 1).held is None


def test_any_order_with_duplicates_gives_the_same_ledger(desk, chain):
    made = chain.batches(300)
    order = made + made[::3]
    random.Random(7).shuffle(order)
    for place, raw in enumerate(order):
        desk.offer(raw)
        if place % 17 == 0:
            desk.settle()
    desk.settle()
    assert [raw for _, _, raw in content(desk.ledger)] == made
    assert desk.ledger.contiguous(*SOURCE)
    assert desk.reasons() == {}


def test_a_full_hold_keeps_the_lowest_and_acks_nothing(make_desk, chain):
    desk = make_desk(hold_batches=3)
    desk.offer(chain.config(), "config")
    made = chain.batches(8)
    assert [desk.offer(raw) for raw in made[4:7]] == [Verdict.HELD] * 3
    assert desk.offer(made[7]) is Verdict.NO_ROOM
    assert desk.offer(made[1]) is Verdict.HELD
    desk.settle()
    ack = desk.intake.ack(SOURCE, 1)
    assert (ack.seq, ack.held) == (0, (2, 6))


def test_a_hold_is_bounded_in_bytes(make_desk, chain):
    made = chain.batches(9)
    desk = make_desk(hold_bytes=3 * len(made[8]))
    for raw in made[1:]:
        desk.offer(raw)
    assert desk.intake.ack(SOURCE, 1).held == (2, 4)


def test_other_bytes_at_a_known_seq_are_a_fork_that_freezes(desk, chain):
    made = chain.batches(2)
    for raw in made:
        desk.offer(raw)
    other = chain.batch(2, sha256(made[0]), value=9.5)
    assert desk.offer(other) is Verdict.FORK
    follower = chain.batch(3, sha256(made[1]))
    assert desk.offer(follower) is Verdict.FROZEN
    desk.settle()
    assert desk.ledger.is_frozen(*SOURCE)
    assert desk.ledger.forks(*SOURCE) == [(2, sha256(other), other)]
    assert [raw for _, _, raw in content(desk.ledger)] == made
    assert desk.offer(follower) is Verdict.FROZEN
    assert desk.offer(made[1]) is Verdict.REPLAY
    desk.ledger.release(*SOURCE, 5, "operator: clone retired")
    assert desk.offer(follower) is Verdict.ACCEPTED


def test_a_successor_with_another_prev_is_a_fork(desk, chain):
    desk.offer(chain.batch(1))
    assert desk.offer(chain.batch(2, bytes([1]) * 32)) is Verdict.FORK
    desk.settle()
    assert desk.ledger.head(*SOURCE).seq == 1
    assert desk.ledger.is_frozen(*SOURCE)


def test_two_different_held_batches_are_a_fork_of_both(desk, chain):
    one, other = chain.batch(5, value=1.0), chain.batch(5, value=2.0)
    assert [desk.offer(one), desk.offer(other)] == [Verdict.HELD, Verdict.FORK]
    desk.settle()
    assert {raw for _, _, raw in desk.ledger.forks(*SOURCE)} == {one, other}
    assert desk.intake.ack(SOURCE, 1).held is None


def test_a_held_batch_that_does_not_fit_is_a_fork(desk, chain):
    made = chain.batches(2)
    desk.offer(chain.batch(3, bytes([7]) * 32))
    for raw in made:
        desk.offer(raw)
    desk.settle()
    assert desk.ledger.head(*SOURCE).seq == 2
    assert [seq for seq, _, _ in desk.ledger.forks(*SOURCE)] == [3]


def test_a_fork_of_one_agent_leaves_its_neighbour_alone(desk, chain, neighbour_chain):
    desk.offer(chain.batch(1))
    desk.offer(chain.batch(1, value=9.0))
    desk.offer(neighbour_chain.config(), "config", agent="gw-02")
    assert desk.offer(neighbour_chain.batch(1), agent="gw-02") is Verdict.ACCEPTED


def test_batches_of_an_unknown_configuration_wait_for_it(make_desk, chain):
    desk = make_desk()
    made = chain.batches(3)
    assert [desk.offer(raw) for raw in made] == [Verdict.HELD] * 3
    desk.settle()
    ack = desk.intake.ack(SOURCE, 1)
    assert (ack.seq, ack.want_config, ack.held) == (0, True, (1, 3))
    assert desk.offer(chain.config(), "config") is Verdict.CONFIG
    assert SOURCE in desk.settle().progressed
    ack = desk.intake.ack(SOURCE, 1)
    assert (ack.seq, ack.want_config, ack.held) == (3, False, None)
    assert desk.ledger.config_digests(*SOURCE) == [sha256(cose.parse(chain.config()).payload)]


def test_a_neighbours_configuration_does_not_count(make_desk, chain, neighbour_chain):
    desk = make_desk()
    desk.offer(neighbour_chain.config(), "config", agent="gw-02")
    assert desk.offer(chain.batch(1)) is Verdict.HELD


def test_a_configuration_change_holds_from_there_on(desk, chain):
    new = cbor.encode({"scale": "0.2"})
    first = chain.batch(1)
    second = chain.batch(2, sha256(first), config=new)
    assert [desk.offer(first), desk.offer(second)] == [Verdict.ACCEPTED, Verdict.HELD]
    assert desk.intake.ack(SOURCE, 1).want_config
    desk.offer(chain.config(new), "config")
    desk.settle()
    assert desk.ledger.head(*SOURCE).seq == 2


def test_refused_messages_are_quarantined_under_their_reason(desk, chain, neighbour_chain):
    good = chain.batch(1)
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    stranger = chain.batch(1, site="al-002")
    for raw, reason in [
        (flipped, "signature"),
        (good + b"\x00", "envelope"),
        (bytes(262_401), "size"),
        (chain.config(), "type"),
        (neighbour_chain.batch(1), "wrong_agent"),
        (stranger, "identity"),
        (cose.sign(MessageType.BATCH, b"\xa0", chain.signer), "profile"),
        (b"", "envelope"),
    ]:
        before = desk.reasons().get(reason, 0)
        assert desk.offer(raw) is Verdict.REFUSED
        desk.settle()
        assert desk.reasons().get(reason, 0) == before + 1
    assert desk.ledger.head(*SOURCE).seq == 0
    assert desk.offer(good) is Verdict.ACCEPTED


def test_an_unknown_key_and_a_wrong_topic_are_quarantined(desk, chain, gateway_signer):
    stranger = type(chain)(gateway_signer)
    assert desk.offer(stranger.batch(1)) is Verdict.REFUSED
    for topic in ("carbon/v1/al-001/gw-01/ack", "carbon/v1/al-001/batch", "x" * 5_000):
        message = Message(topic, chain.batch(1), 1)
        assert desk.intake.offer(message) is Verdict.REFUSED
    desk.settle()
    assert desk.reasons() == {"unknown_key": 1, "topic": 3}


def test_a_key_outside_its_time_is_refused(ledger, chain, signer, clock):
    public = public_key(signer.public_spki())
    end_ns = 1_767_196_800_000_000_000 + 3 * 60_000_000_000
    keys = KeyRing([Enrolment("al-001", "gw-01", public, 0, end_ns)])
    intake = Intake(ledger, keys, Policy(key_grace_days=45), clock)
    made = chain.batches(3)
    topic = "carbon/v1/al-001/gw-01/batch"
    intake.offer(Message("carbon/v1/al-001/gw-01/config", chain.config(), end_ns))
    in_time, too_late = end_ns + 40 * 86_400 * 10**9, end_ns + 46 * 86_400 * 10**9
    assert intake.offer(Message(topic, made[0], in_time)) is Verdict.ACCEPTED
    assert intake.offer(Message(topic, made[1], too_late)) is Verdict.HELD
    assert intake.offer(Message(topic, made[2], in_time)) is Verdict.REFUSED
    reasons = [refusal.reason for refusal in intake.undurable().refusals]
    assert reasons == ["key_time"]
    assert intake.ack(("al-001", "gw-01"), too_late).seq == 1


@pytest.mark.parametrize(
    ("minutes", "policy", "flags"),
    [
        (63, {}, ("late",)),
        (61, {}, ()),
        (63, {"late_after_s": None}, ()),
        (-4, {}, ("clock_future",)),
        (-2, {}, ()),
        (-4, {"future_after_s": None}, ()),
    ],
)
def test_lateness_is_a_flag_not_a_refusal(make_desk, chain, clock, minutes, policy, flags):
    desk = make_desk(**policy)
    desk.offer(chain.config(), "config")
    clock.now_ns = 1_767_196_800_000_000_000 + minutes * 60_000_000_000
    assert desk.offer(chain.batch(1)) is Verdict.ACCEPTED
    desk.settle()
    (row,) = desk.ledger.batches(*SOURCE)
    assert row.flags == flags


def test_a_bad_body_is_kept_with_its_flag(desk, chain, make_fields):
    fields = make_fields(config=sha256(cose.parse(chain.config()).payload), x=[float("nan"), 1])
    raw = cose.sign(MessageType.BATCH, cbor.encode(fields), chain.signer)
    assert desk.offer(raw) is Verdict.ACCEPTED
    desk.settle()
    (row,) = desk.ledger.batches(*SOURCE)
    assert "body_nonfinite" in row.flags


def test_a_status_repeats_the_ack_only_when_it_is_authentic(desk, chain, signer, neighbour):
    status = Status("al-001", "gw-01", bytes(16), 1, "up", 0, 0, {})
    assert desk.offer(messages.sign_status(status, signer), "status") is Verdict.STATUS
    assert desk.settle().repeat == {SOURCE}
    assert desk.offer(messages.sign_status(status, neighbour), "status") is Verdict.REFUSED
    other = Status("al-001", "gw-02", bytes(16), 1, "up", 0, 0, {})
    assert desk.offer(messages.sign_status(other, signer), "status") is Verdict.REFUSED
    assert desk.settle().repeat == set()


def test_two_gateways_on_one_ledger_write_one_history(tmp_path, ring, clock, chain, make_desk):
    first = make_desk()
    with_second = Ledger(tmp_path / "ledger.sqlite")
    second = type(first)(with_second, ring, clock)
    made = chain.batches(6)
    for desk in (first, second):
        desk.offer(chain.config(), "config")
        desk.settle()
    for raw in made[:3]:
        first.offer(raw)
        second.offer(raw)
    first.settle()
    second.settle()
    for raw in made[3:5]:
        first.offer(raw)
    first.settle()
    assert second.offer(made[5]) is Verdict.ACCEPTED
    second.settle()
    assert [raw for _, _, raw in content(with_second)] == made
    with_second.close()


def test_a_clock_set_back_without_telling_is_kept_and_marked(desk, chain):
    made = chain.batches(2)
    back = chain.batch(3, sha256(made[1]), mono=(63 * MINUTE, 64 * MINUTE))
    for raw in (*made, back):
        assert desk.offer(raw) is Verdict.ACCEPTED
    desk.settle()
    rows = list(desk.ledger.batches(*SOURCE))
    assert [row.flags for row in rows] == [(), (), ("clock_backward",)]


def test_clocks_are_compared_across_a_restart_of_the_gateway(make_desk, chain):
    first = make_desk()
    first.offer(chain.config(), "config")
    made = chain.batches(1)
    first.offer(made[0])
    first.settle()
    second = make_desk()
    second.offer(chain.batch(2, sha256(made[0]), mono=(62 * MINUTE, 63 * MINUTE)))
    second.settle()
    assert [row.flags for row in second.ledger.batches(*SOURCE)] == [(), ("clock_backward",)]


def test_an_unsynchronised_clock_is_kept_and_marked(desk, chain):
    desk.offer(chain.batch(1, clock=ClockState("ntp", sync=False)))
    desk.settle()
    (row,) = desk.ledger.batches(*SOURCE)
    assert row.flags == ("clock_unsynced",)

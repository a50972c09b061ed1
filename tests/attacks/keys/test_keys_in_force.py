"""Which key may sign which batch: expiry, lateness, revocation, rotation (rows 26 to 33)."""

import pytest
from enrolled_plant import AGENT, DAY, MINUTE, NOW, SITE, after, batch, key, keychange

from edge_agent.errors import StoreError
from edge_agent.wire.chain import ChainHead
from gateway.ingest import Verdict
from gateway.trust import enrolment
from gateway.trust.keybook import KeyBook

NEXT = key(50)
END = NOW + 365 * DAY


def send(plant, signer, count, head=None):
    """Accepted batches one after the other; gives the chain's head."""
    head = head or ChainHead()
    for _ in range(count):
        raw = batch(signer, head)
        assert plant.offer(raw) is Verdict.ACCEPTED
        head = after(head, raw)
    plant.settle()
    return head


def alarms(caplog, event):
    return [record.message for record in caplog.records if record.message.startswith(event)]


@pytest.mark.parametrize(
    ("first_ns", "row"), [(END + MINUTE, 26), (NOW - DAY, 27)], ids=["expired", "not yet valid"]
)
def test_a_batch_made_outside_its_key_s_validity_is_quarantined(
    plant, signer, caplog, first_ns, row
):
    assert row in (26, 27)
    assert plant.offer(batch(signer, first_ns=first_ns)) is Verdict.REFUSED
    assert plant.reasons() == {"key_time": 1}
    assert plant.head().seq == 0
    assert "reason=key_time" in alarms(caplog, "message_refused")[0]


def test_a_backlog_received_ten_days_after_the_key_s_end_is_accepted_as_late(plant, signer):  # 28
    raw = batch(signer, first_ns=END - DAY)
    plant.clock.now_ns = END + 10 * DAY
    assert plant.offer(raw) is Verdict.ACCEPTED
    plant.settle()
    assert [row.flags for row in plant.rows()] == [("late",)]


def test_a_backlog_received_sixty_days_after_waits_for_an_operator(plant, signer, caplog):  # 29
    first = batch(signer, first_ns=END - 2 * DAY)
    second = batch(signer, after(ChainHead(), first), first_ns=END - DAY)
    plant.clock.now_ns = END + 60 * DAY
    assert plant.offer(first) is Verdict.HELD
    assert plant.offer(second) is Verdict.HELD
    assert (plant.head().seq, plant.intake.ack((SITE, AGENT), 0).held) == (0, (1, 2))
    assert "late_key" in alarms(caplog, "batch_waits")[0]
    enrolment.release(plant.registrar, signer.kid, 2, plant.decided("outage of the uplink"))
    assert plant.offer(second) is Verdict.REPLAY
    plant.settle()
    assert [row.flags for row in plant.rows()] == [("late", "late_key")] * 2
    assert not plant.reasons()


def test_a_revoked_key_is_refused_after_its_last_good_batch_and_verifies_before_it(
    plant, signer, caplog
):  # 30
    first = batch(signer)
    head = send(plant, signer, 3)
    plant.revoke(signer, 3)
    assert plant.offer(batch(signer, head)) is Verdict.REFUSED
    assert plant.offer(first) is Verdict.REPLAY
    assert plant.reasons() == {"revoked": 1}
    assert "reason=revoked" in alarms(caplog, "message_refused")[0]
    assert not list(enrolment.suspects(plant.ledger, SITE, plant.people))


def test_batches_held_when_their_key_is_revoked_are_quarantined(plant, signer):
    first = batch(signer)
    second = batch(signer, after(ChainHead(), first))
    assert plant.offer(second) is Verdict.HELD
    plant.revoke(signer, 0)
    assert plant.offer(first) is Verdict.REFUSED
    assert plant.reasons()["revoked"] >= 1
    assert plant.head().seq == 0


def test_forged_batches_stored_before_the_revocation_become_suspect_and_stay(plant, signer):  # 31
    send(plant, signer, 5)
    before = plant.rows()
    _, suspect = plant.revoke(signer, 3)
    assert suspect == (4, 5)
    assert plant.rows() == before
    (found,) = enrolment.suspects(plant.ledger, SITE, plant.people)
    assert (found.agent, found.first_seq, found.last_seq) == (AGENT, 4, 5)
    assert found.reason == "stolen"


# -- rotation ---------------------------------------------------------------------------------


@pytest.fixture
def rotated(plant, signer):
    """Two batches, then one with an approved keychange."""
    head = send(plant, signer, 2)
    plant.enrol(NEXT)
    raw = batch(signer, head, events=[keychange(head, NEXT)])
    assert plant.offer(raw) is Verdict.ACCEPTED
    plant.settle()
    return plant, after(head, raw)


def test_after_a_keychange_only_the_new_key_speaks(rotated, signer, caplog):  # 33
    plant, head = rotated
    assert plant.offer(batch(signer, head)) is Verdict.REFUSED
    assert plant.reasons() == {"key_time": 1}
    assert "ended with the keychange in 3" in alarms(caplog, "message_refused")[0]
    send(plant, NEXT, 2, head)
    assert plant.head().seq == 5


def test_a_keychange_holds_after_a_restart_of_the_gateway(rotated, signer):
    plant, _ = rotated
    again = KeyBook([], plant.people, plant.ledger.documents)
    assert again.find(signer.kid, SITE, AGENT).last_seq == 3
    assert again.find(NEXT.kid, SITE, AGENT).first_seq == 4
    plant.intake.refresh()
    assert plant.keys.find(NEXT.kid, SITE, AGENT).active


def test_batches_of_the_new_key_may_arrive_before_the_change(plant, signer):
    plant.enrol(NEXT)
    change = batch(signer, events=[keychange(ChainHead(), NEXT)])
    behind = batch(NEXT, after(ChainHead(), change))
    assert plant.offer(behind) is Verdict.HELD
    assert plant.offer(change) is Verdict.ACCEPTED
    plant.settle()
    assert plant.head().seq == 2
    assert not plant.reasons()


@pytest.mark.parametrize("failing", ["enrol", "config"])
def test_a_ledger_that_fails_once_leaves_no_half_of_a_decision(plant, signer, monkeypatch, failing):
    """New keys reach the ledger and what is held is placed as soon as the ledger works again."""
    head = send(plant, signer, 2)
    raw = batch(signer, head, events=[keychange(head, NEXT)])
    assert plant.offer(raw) is Verdict.HELD
    plant.settle()
    plant.enrol(NEXT)
    works, failures = getattr(plant.ledger, failing), [StoreError("disk full")]

    def flaky(*values):
        if failures:
            raise failures.pop()
        return works(*values)

    monkeypatch.setattr(plant.ledger, failing, flaky)
    with pytest.raises(StoreError):
        plant.intake.refresh()
    plant.intake.refresh()
    plant.settle()
    assert plant.head().seq == 3
    assert {signer.kid, NEXT.kid} <= {
        one.public.kid for one in plant.ledger.key_ring().enrolments()
    }
    assert plant.intake.ack((SITE, AGENT), 0).held is None


def test_a_change_that_nobody_approved_waits_for_the_operator(plant, signer, caplog):
    change = batch(signer, events=[keychange(ChainHead(), NEXT)])
    assert plant.offer(change) is Verdict.HELD
    assert "keychange_unapproved" in alarms(caplog, "batch_waits")[0]
    plant.enrol(NEXT)
    assert plant.offer(change) is Verdict.REPLAY
    plant.settle()
    send(plant, NEXT, 1, after(ChainHead(), change))


def test_a_change_that_the_new_key_signs_itself_is_quarantined(plant):  # 32: no old key
    plant.enrol(NEXT)
    assert plant.offer(batch(NEXT, events=[keychange(ChainHead(), NEXT)])) is Verdict.REFUSED
    assert plant.reasons() == {"key_time": 1}


@pytest.mark.parametrize(
    "bad",
    [
        lambda head: keychange(head, NEXT, proof=bytes(64)),
        lambda head: keychange(ChainHead(head.seq + 1, head.sha256), NEXT),
        lambda head: keychange(ChainHead(head.seq, b"\x01" * 32), NEXT),
        lambda head: keychange(head, NEXT, proof=keychange(head, key(51))["proof"]),
        lambda head: keychange(head, NEXT, new_spki=b"no key"),
        lambda head: keychange(head, NEXT, new_spki=2**50),
        lambda head: keychange(head, NEXT, proof=2**50),
        lambda head: {k: v for k, v in keychange(head, NEXT).items() if k != "proof"},
    ],
    ids=[
        "no proof",
        "another seq",
        "another prev",
        "another key's",
        "no key",
        "a number",
        "a number as proof",
        "without",
    ],
)
def test_a_change_without_the_new_key_s_proof_changes_nothing(plant, signer, caplog, bad):  # 32
    plant.enrol(NEXT)
    head = send(plant, signer, 1)
    raw = batch(signer, head, events=[bad(head)])
    assert plant.offer(raw) is Verdict.ACCEPTED
    plant.settle()
    assert plant.rows()[-1].flags == ("keychange_invalid",)
    assert "keychange_invalid" in alarms(caplog, "batch_flagged")[0]
    head = after(head, raw)
    assert plant.offer(batch(NEXT, head)) is Verdict.REFUSED
    send(plant, signer, 1, head)


def test_two_changes_in_one_batch_change_nothing(plant, signer):
    plant.enrol(NEXT)
    events = [keychange(ChainHead(), NEXT), keychange(ChainHead(), key(51))]
    assert plant.offer(batch(signer, events=events)) is Verdict.ACCEPTED
    plant.settle()
    assert plant.rows()[0].flags == ("keychange_invalid",)
    assert plant.keys.find(NEXT.kid, SITE, AGENT).pending


def test_a_thief_who_only_has_the_old_key_cannot_install_his_own(plant, signer):
    thief = key(66)
    assert plant.offer(batch(signer, events=[keychange(ChainHead(), thief)])) is Verdict.HELD
    assert plant.head().seq == 0
    plant.enrol(NEXT)
    assert plant.offer(batch(signer, events=[keychange(ChainHead(), thief)])) is Verdict.HELD


def test_a_keychange_row_put_into_the_ledger_by_hand_changes_nothing(plant, signer, caplog):
    from gateway.ledger import Draft

    plant.enrol(NEXT)
    head = send(plant, signer, 1)
    for raw in (batch(signer, head), batch(NEXT, head, events=[keychange(head, NEXT)]), b"junk"):
        plant.ledger.documents.add(Draft("keychange", SITE, AGENT, raw, NOW))
    plant.intake.refresh()
    assert plant.keys.find(signer.kid, SITE, AGENT).active
    assert len(alarms(caplog, "document_ignored")) == 3

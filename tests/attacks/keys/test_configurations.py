"""Batches under configurations that nobody approved, or nobody knows (rows 43 to 47)."""

import hashlib

import pytest
from enrolled_plant import AGENT, CONFIG, NOW, SITE, after, batch, key

from edge_agent.wire import cbor, cose
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from gateway.ingest import Verdict
from gateway.trust import approvals, closing
from gateway.trust.approvals import Wish


def content(**tag):
    tags = [{"id": "kwh", "scale": "1", "unit": "kWh", **tag}]
    factors = {"factors": [{"id": "ef", "value": "0.5"}]}
    devices = [{"id": "meters", "tags": tags}]
    return cbor.encode(
        {"v": 1, "site": SITE, "author": "chen", "devices": devices, "factor_set": factors}
    )


def approve(plant, plain, valid_from_ns=0):
    digest = hashlib.sha256(plain).digest()
    wish = Wish(SITE, AGENT, digest, "", "checked", "3.2", valid_from_ns)
    raw = approvals.make(plant.ledger, plant.people, wish, plant.approver, NOW - 1)
    approvals.take(plant.ledger, plant.people, raw, NOW - 1)


def judged(plant, *, required=True):
    rows = plant.rows()
    ranges = [(AGENT, rows[0].seq, rows[-1].seq)]
    return closing.judge(plant.ledger, plant.people, SITE, ranges, required=required)


def flags(plant):
    return [row.flags for row in plant.rows()]


GOOD = content()


@pytest.fixture
def flowing(strict, signer):
    """One batch under an approved configuration."""
    strict.configure(signer, GOOD)
    approve(strict, GOOD)
    raw = batch(signer, config=GOOD)
    assert strict.offer(raw) is Verdict.ACCEPTED
    strict.settle()
    assert flags(strict) == [()]
    assert judged(strict).objections == []
    return strict, after(ChainHead(), raw)


@pytest.mark.parametrize(
    ("row", "changed", "told"),
    [
        (43, content(scale="0.9"), "scale: devices.meters.tags.kwh.scale: 1 -> 0.9"),
        (46, content(unit="MWh"), "unit: devices.meters.tags.kwh.unit: kWh -> MWh"),
        (45, GOOD.replace(b"0.5", b"0.4"), "factor: factor_set.factors.ef.value: 0.5 -> 0.4"),
    ],
    ids=["scale", "unit", "factor"],
)
def test_a_changed_configuration_is_flagged_named_and_keeps_the_month_open(
    flowing, signer, caplog, row, changed, told
):
    plant, head = flowing
    assert row
    plant.configure(signer, changed)
    assert plant.offer(batch(signer, head, config=changed)) is Verdict.ACCEPTED
    plant.settle()
    assert flags(plant)[1] == ("config_unapproved",)
    assert "config_unapproved" in caplog.text
    found = judged(plant)
    assert found.changes == [f"{AGENT} from batch 2: {told}"]
    (objection,) = found.objections
    assert "batches 2-2" in objection
    assert "not approved" in objection
    approve(plant, changed)
    assert judged(plant).objections == []
    assert judged(plant).changes == found.changes


def test_the_first_configuration_needs_approval_too(strict, signer):
    assert strict.offer(batch(signer)) is Verdict.ACCEPTED
    strict.settle()
    assert flags(strict) == [("config_unapproved",)]
    assert judged(strict).objections
    assert judged(strict, required=False).objections == []
    assert "approval: off" in judged(strict, required=False).notes[0]


def test_an_approval_does_not_reach_back_before_it_holds(strict, signer):
    approve(strict, CONFIG, valid_from_ns=NOW + 1)
    strict.offer(batch(signer))
    strict.settle()
    assert flags(strict) == [("config_unapproved",)]
    assert "later batches only" in judged(strict).objections[0]


def test_without_required_approval_nothing_is_flagged(plant, signer):
    assert plant.offer(batch(signer)) is Verdict.ACCEPTED
    plant.settle()
    assert flags(plant) == [()]


def test_a_batch_that_names_a_configuration_never_sent_waits_and_asks_for_it(plant, signer):  # 47
    other = content(scale="7")
    assert plant.offer(batch(signer, config=other)) is Verdict.HELD
    told = plant.intake.ack((SITE, AGENT), 0)
    assert (told.seq, told.want_config, told.held) == (0, True, (1, 1))
    plant.configure(signer, other)
    assert plant.head().seq == 1


def test_a_configuration_s_digest_is_that_of_its_bytes_and_not_what_anybody_says(
    plant, signer
):  # 48
    wanted, other = content(scale="7"), content(scale="8")
    assert plant.offer(batch(signer, config=wanted)) is Verdict.HELD
    plant.configure(signer, other)
    assert plant.head().seq == 0
    forged = bytearray(cose.sign(MessageType.CONFIG, wanted, signer))
    forged[-70] ^= 1
    assert plant.offer(bytes(forged), "config") is Verdict.REFUSED
    assert plant.offer(cose.sign(MessageType.CONFIG, wanted, key(9)), "config") is Verdict.REFUSED
    assert plant.reasons() == {"signature": 1, "unknown_key": 1}


def test_a_month_names_the_batches_that_the_gateway_marked(plant, signer):  # 39
    head = ChainHead()
    for first_ns in (NOW - 60 * 10**9, NOW + 86_400 * 10**9, NOW + 86_460 * 10**9):
        raw = batch(signer, head, first_ns=first_ns)
        assert plant.offer(raw) is Verdict.ACCEPTED
        head = after(head, raw)
    plant.settle()
    marked = [row.seq for row in plant.rows() if "clock_future" in row.flags]
    assert marked == [2, 3]
    text = f"2 batches of {AGENT} between 2 and 3 are marked clock_future"
    assert text in judged(plant, required=False).notes
    (untouched,) = closing.judge(
        plant.ledger, plant.people, SITE, [(AGENT, 1, 1)], required=False
    ).notes
    assert "approval: off" in untouched


def test_suspect_batches_keep_the_month_open(plant, signer):  # 31
    head = ChainHead()
    for _ in range(3):
        raw = batch(signer, head)
        plant.offer(raw)
        head = after(head, raw)
    plant.settle()
    assert judged(plant, required=False).objections == []
    plant.revoke(signer, 1)
    (objection,) = judged(plant, required=False).objections
    assert objection == f"batches 2-3 of {AGENT} are suspect: stolen"

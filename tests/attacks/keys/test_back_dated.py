"""Lab documents of a revoked key that are dated back: the log's order judges, no claimed time (row 99)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from enrolled_month import ANALYST, DAY, GATEWAY, HOUR, NOVEMBER, NS, SITE, T0, ClosedMonth
from enrolled_plant import key

from edge_agent.wire import cbor, cose
from gateway import bundle as bundle_
from gateway import decisions, lab
from gateway.month import Entry
from gateway.trust import own_records, revoked_people
from gateway.trust.offline_lab import Order, check
from gateway.trust.offline_own import Revoked
from gateway.trust.own_records import PERSON
from gateway.trust.persons import People
from gateway.verify import verify

MINUTE = 60 * NS
NOW = NOVEMBER + 13 * DAY + 5 * NS
"""When the fixture's last day was closed."""


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    made = ClosedMonth(tmp_path_factory.mktemp("dated"))
    yield made
    made.close()


@pytest.fixture
def own(tmp_path):
    made = ClosedMonth(tmp_path)
    yield made
    made.close()


def persons(month, revoked_ns):
    return [
        replace(one, revoked_ns=revoked_ns) if one.name == "zhou" else one for one in month.people
    ]


def note(month, revoked_ns, now_ns=NOW + 20 * MINUTE):
    people = People([one for one in persons(month, revoked_ns) if one.name == "zhou"])
    return revoked_people.note(month.ledger, people, GATEWAY, now_ns)


def enter(month, at_ns=T0 + 5 * NS, name="november"):
    """A document whose signer says that it was signed in the month's first seconds."""
    entry = Entry("analysis", "coke", "sulphur", Decimal("0.9"), "%", T0 + NS)
    paper = lab.LabDocument(SITE, name, 1, at_ns, "zhou", (entry,), "", ())
    raw = lab.sign(paper, ANALYST)
    month.ledger.add_lab((SITE, name, 1), raw, ANALYST.public_spki(), NOW)


def judged(month, revoked_ns=None):
    month.plant.clock.now_ns += NS
    month.maker.now(month.plant.clock.now_ns)
    trust = month.trust(**({} if revoked_ns is None else {"persons": persons(month, revoked_ns)}),
                        without=("witness", "quorum"))  # fmt: skip
    path = month.make()
    return verify(path, trust), verify(path)


def reserved(verdict):
    return [line for line in verdict.lines if line.startswith("9 ") and "zhou" in line]


# -- without a record of the revocation: batches, days and tokens tell the order --------------------


@pytest.mark.parametrize("days", [1.5, 20, 43])
def test_a_document_in_a_day_that_was_closed_before_is_good(month, days):
    verdict = verify(month.make(), month.trust(persons=persons(month, T0 + int(days * DAY))))
    assert verdict.proven, verdict.difference
    assert reserved(verdict) == []


def test_a_document_of_the_day_of_the_revocation_is_named(month):
    verdict = verify(month.make(), month.trust(persons=persons(month, T0 + 3 * HOUR)))
    assert verdict.proven, verdict.difference
    first, second = reserved(verdict)
    assert (
        "october v1: signed 2026-09-30T16:00:01+00:00 by its own word, in the log at leaf" in first
    )
    assert "zhou was revoked 2026-09-30T19:00:00+00:00, which no record says" in first
    assert "october v2" in second


def test_a_document_behind_a_day_that_was_closed_after_the_revocation_is_refused(own):
    """No batch is from after the revocation on November 12; the end of that day is."""
    enter(own)
    verdict, _ = judged(own, NOVEMBER + 11 * DAY + 20 * HOUR)
    assert verdict.difference.startswith(
        "lab document november v1: the key of zhou was revoked, and"
    )
    assert "behind batches or days from after that" in verdict.difference


# -- with the gateway's record ------------------------------------------------------------------


def test_a_document_behind_the_leaf_of_the_revocation_is_refused_whatever_it_says(own):
    """Minutes after the revocation: no batch, no day and no claimed time would tell."""
    assert note(own, NOW + 10 * MINUTE) == 1
    enter(own)
    for verdict in judged(own):
        assert verdict.difference.startswith(
            "lab document november v1: the key of zhou was revoked, and"
        )
        assert "stands in the log behind that (leaf" in verdict.difference


def test_a_document_between_the_revocation_and_its_leaf_is_named(own):
    enter(own)
    note(own, NOW + 10 * MINUTE)
    verdict, _ = judged(own)
    assert verdict.proven, verdict.difference
    (told,) = reserved(verdict)
    assert "november v1: signed 2026-09-30T16:00:05+00:00 by its own word" in told
    assert "before its record (leaf" in told
    assert any("1 keys of persons revoked" in line for line in verdict.lines)


def test_documents_from_before_stay_good_with_the_record(own):
    note(own, NOW + 10 * MINUTE)
    for verdict in judged(own):
        assert verdict.proven, verdict.difference
        assert reserved(verdict) == []


def test_a_record_left_out_of_the_bundle_is_named_by_the_log_s_leaves(own, tmp_path):
    note(own, NOW + 10 * MINUTE)
    own.maker.now(NOW + NS)
    path = own.make()
    assert verify(path).proven
    inside = bundle_.read(path).files
    index = cbor.decode(inside[decisions.INDEX])
    (row,) = [item for item in index if item[0] == PERSON]
    assert f"keys/{row[4].hex()}.cose" in inside
    files = {name: raw for name, raw in inside.items() if name != bundle_.MANIFEST}
    files.pop(f"keys/{row[4].hex()}.cose")
    index.remove(row)
    files[decisions.INDEX] = cbor.encode(index)
    # the proof without it
    from enrolled_month import AGENT, FIRST_KEY, SECOND_KEY

    from edge_agent.wire.keys import Enrolment, KeyRing, public_key
    from gateway import day_evidence, log_evidence
    from gateway.evidence import BatchReader, replay

    content = bundle_.Bundle(files)
    keys = (public_key(one.public_spki()) for one in (FIRST_KEY, SECOND_KEY))
    ring = KeyRing([Enrolment(SITE, AGENT, one) for one in keys])
    ranges = [replay(SITE, AGENT, content.batches(AGENT), ring, BatchReader())]
    papers = lab.check(SITE, bundle_.lab_documents(content), bundle_.person_keys(content))
    leaves = log_evidence.leaves_of(SITE, ranges, files)
    leaves |= decisions.leaves(decisions.read(content, SITE)) | lab.leaves(papers)
    leaves |= day_evidence.leaves(day_evidence.read(content))
    made = own.ledger.tree.checkpoint()
    files |= log_evidence.pack(own.ledger.tree, made.size, made.note, made.key, leaves)
    bundle_.write(tmp_path / "less.bundle", files, GATEWAY)
    assert f"the log holds {PERSON} of {row[1]}" in verify(tmp_path / "less.bundle").difference


def test_a_record_that_somebody_else_signed_is_refused(own):
    note(own, NOW + 10 * MINUTE)
    (document,) = own.ledger.documents.of_kind(PERSON, SITE)
    fields = cbor.decode(cose.parse(document.raw).payload)
    del fields["v"], fields["by"]
    other = own_records.sign(PERSON, fields | {"at": 7}, key(78))
    own.ledger.documents.add(replace_draft(document, other))
    for verdict in judged(own):
        assert "person_revoke record is not signed by the gateway" in verdict.difference


def replace_draft(document, raw):
    from gateway.ledger import Draft

    return Draft(document.kind, document.site, document.id, raw, NOW)


# -- when the gateway writes the record ----------------------------------------------------------


def test_a_revocation_is_written_once_when_its_time_has_come(own):
    end = NOW + DAY
    assert note(own, end) == 0
    assert note(own, end, end) == 1
    assert note(own, end, end + DAY) == 0
    assert note(own, end - HOUR, end + DAY) == 1  # the file was corrected
    versions = [one.version for one in own.ledger.documents.of_kind(PERSON, SITE)]
    assert versions == [1, 2]


# -- the rules by themselves -----------------------------------------------------------------------


class Paper:
    id, version, author = "x", 1, "zhou"

    def __init__(self, at_ns):
        self.at_ns = at_ns


END = datetime(2026, 10, 7, tzinfo=UTC)
END_NS = int(END.timestamp()) * NS


def rules(index, *, revocation=None, tokens=(), at_ns=T0):
    order = Order({"lab/x/1": index} if index is not None else {}, tokens=tokens)
    return check([(Paper(at_ns), b"k")], {b"k": Revoked("zhou", END_NS, revocation)}, order)


def test_an_outside_time_stamp_that_covers_a_document_proves_it():
    before, after = END - timedelta(seconds=1), END + timedelta(seconds=1)
    assert rules(5, tokens=[(6, before)]) == []
    assert rules(5, tokens=[(6, END)]) == []
    assert len(rules(5, tokens=[(5, before)])) == 1  # it covers the leaf before
    assert len(rules(5, tokens=[(6, after)])) == 1
    assert rules(5, revocation=9, tokens=[(6, before)]) == []


def test_without_a_log_nothing_tells_when_a_document_came_in():
    (told,) = rules(None)
    assert "no log tells when it came in" in told


def test_another_key_of_the_same_person_is_not_judged_by_the_revoked_one():
    order = Order({"lab/x/1": 5})
    assert check([(Paper(T0), b"other")], {b"k": Revoked("zhou", T0, 1)}, order) == []

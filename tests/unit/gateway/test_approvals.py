"""Approvals need a second person; the difference names what can change a tonne (rows 43 to 49)."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import TrustError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, FileSigner, public_key
from gateway.trust import approvals
from gateway.trust.approvals import Use, Wish
from gateway.trust.changes import Kind, changes
from gateway.trust.people import People, Person

SITE, AGENT = "al-001", "gw-01"
NOW = 1_767_196_800 * 10**9


def key(first):
    return FileSigner(Ed25519PrivateKey.from_private_bytes(bytes([first]) * 32))


CHEN, WANG, GONE, OPERATOR, STRANGER = (key(n) for n in range(1, 6))


def person(name, signer, role="approver", revoked_ns=2**63 - 1):
    return Person(name, public_key(signer.public_spki()), frozenset({role}), revoked_ns)


PEOPLE = People(
    [
        person("chen", CHEN),
        person("wang", WANG),
        person("zhao", GONE, revoked_ns=NOW),
        person("li", OPERATOR, "operator"),
    ]
)


def content(scale="0.1", **more):
    tags = [{"id": "gas", "address": 42, "type": "uint32", "scale": scale, "unit": "Nm3"}]
    devices = [{"id": "meters", "unit": 2, "host": "10.0.0.1", "tags": tags}]
    return {"v": 1, "site": SITE, "author": "chen", "devices": devices, **more}


def digest(plain):
    return hashlib.sha256(cbor.encode(plain)).digest()


OLD, NEW = content(), content("0.09")


@pytest.fixture
def sent(ledger, signer):
    """Two configurations of the agent in the ledger, the second with a smaller scale."""
    ledger.enrol([Enrolment(SITE, AGENT, public_key(signer.public_spki()))])
    for plain in (OLD, NEW):
        raw = cose.sign(MessageType.CONFIG, cbor.encode(plain), signer)
        verified = cose.verify(raw, MessageType.CONFIG, lambda _: public_key(signer.public_spki()))
        ledger.add_config(SITE, AGENT, verified, NOW)
    return ledger


def wish(plain=OLD, author="", **changes):
    fields = {"reason": "calibrated", "clause": "3.2", "valid_from_ns": 0, **changes}
    return Wish(SITE, AGENT, digest(plain), author, **fields)


def approve(ledger, signer=WANG, plain=OLD, at_ns=NOW - 1, **more):
    raw = approvals.make(ledger, PEOPLE, wish(plain, **more), signer, at_ns)
    return approvals.take(ledger, PEOPLE, raw, at_ns)


def test_a_second_person_s_approval_holds_and_says_what_was_compared(sent):
    approve(sent)
    statement = approve(sent, plain=NEW)
    assert list(approvals.approved(sent, PEOPLE, SITE, AGENT)) == [digest(OLD), digest(NEW)]
    assert statement.fields["previous"] == digest(OLD)
    assert (statement.person.name, statement.fields["author"]) == ("wang", "chen")


@pytest.mark.parametrize(
    ("signer", "more", "why"),
    [
        (CHEN, {}, "a second person must"),  # row 49: the author
        (CHEN, {"author": "CHEN"}, "a second person must"),
        (CHEN, {"author": "wu"}, "author is 'chen'"),
        (GONE, {"at_ns": NOW}, "zhao is revoked"),  # row 49: a revoked person
        (OPERATOR, {}, "li is no approver"),
        (STRANGER, {}, "no person"),
        (WANG, {"plain": content("0.5")}, "never sent a configuration"),  # row 49: another digest
        (WANG, {"reason": " "}, "no reason"),
    ],
)
def test_an_approval_that_breaks_a_rule_is_refused_and_not_kept(sent, signer, more, why):
    with pytest.raises(TrustError, match=why):
        approve(sent, signer, **more)
    assert not list(sent.documents.all("approval"))


def test_an_approval_by_the_agent_s_own_key_is_refused(sent, signer):
    with pytest.raises(TrustError, match="no person"):
        approve(sent, signer)


def test_an_approval_that_compared_with_another_configuration_is_refused(sent):
    stale = approvals.make(sent, PEOPLE, wish(NEW), WANG, NOW - 1)
    approve(sent)
    with pytest.raises(TrustError, match="compares with none"):
        approvals.take(sent, PEOPLE, stale, NOW - 1)


def test_an_approval_whose_bytes_were_changed_is_refused(sent):
    raw = bytearray(approvals.make(sent, PEOPLE, wish(), WANG, NOW - 1))
    raw[-1] ^= 1
    with pytest.raises(TrustError, match="not signed by wang"):
        approvals.take(sent, PEOPLE, bytes(raw), NOW - 1)


def test_an_approval_given_before_its_signer_left_still_holds(sent):
    approve(sent, GONE, at_ns=NOW - 1)
    assert digest(OLD) in approvals.approved(sent, PEOPLE, SITE, AGENT)


def test_a_configuration_without_an_author_needs_one_named(ledger, signer, sent):
    plain = {key: value for key, value in content("0.2").items() if key != "author"}
    raw = cose.sign(MessageType.CONFIG, cbor.encode(plain), signer)
    verified = cose.verify(raw, MessageType.CONFIG, lambda _: public_key(signer.public_spki()))
    ledger.add_config(SITE, AGENT, verified, NOW)
    with pytest.raises(TrustError, match="does not say who changed"):
        approve(sent, plain=plain)
    assert approve(sent, plain=plain, author="chen").person.name == "wang"


# -- what keeps a month open ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_ns", "told"),
    [
        (None, "configuration 01010101 is not approved"),
        (11, "is approved for later batches only"),
        (10, None),
        (0, None),
    ],
)
def test_batches_under_an_unapproved_configuration_keep_the_month_open(from_ns, told):
    use = Use("gw-01", b"\x01" * 32, 4, 9, 10)
    holding = {"gw-01": {use.config: from_ns} if from_ns is not None else {}}
    found = approvals.objections([use], holding)
    if told is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith("batches 4-9 of gw-01")
        assert told.split()[-2] in found[0]


def test_an_approval_for_one_agent_is_none_for_another():
    use = Use("gw-02", b"\x01" * 32, 1, 1, 10)
    assert approvals.objections([use], {"gw-01": {use.config: 0}})


# -- differences ------------------------------------------------------------------------------


def test_a_changed_scale_is_named_with_its_tag_and_both_values(sent):  # row 43
    (change,) = approvals.differences(sent, SITE, AGENT, digest(OLD), digest(NEW))
    assert (change.kind, change.before, change.after) == (Kind.SCALE, "0.1", "0.09")
    assert change.where == "devices.meters.tags.gas.scale"


def changed(**of_tag):
    plain = content()
    plain["devices"][0]["tags"][0] |= of_tag
    return plain


@pytest.mark.parametrize(
    ("after", "kind", "where"),
    [
        (changed(unit="m3"), Kind.UNIT, "devices.meters.tags.gas.unit"),  # row 46
        (changed(address=44), Kind.REGISTER, "devices.meters.tags.gas.address"),
        (changed(range=[0, 5]), Kind.RANGE, "devices.meters.tags.gas.range"),
        (
            {**content(), "devices": [{**content()["devices"][0], "unit": 3}]},
            Kind.REGISTER,
            "devices.meters.unit",
        ),
        (
            content(factor_set={"factors": [{"id": "ef", "value": "2.1"}]}),
            Kind.FACTOR,  # row 45
            "factor_set.factors.ef.value",
        ),
        (
            content(parameters=[{"id": "p", "sources": ["a"]}]),
            Kind.SUBSTITUTION,
            "parameters.p.sources",
        ),
        (content(timezone="UTC"), Kind.OTHER, "timezone"),
    ],
)
def test_each_kind_of_change_is_told_from_the_others(after, kind, where):
    found = changes(content(), after)
    assert (kind, where) in [(change.kind, change.where) for change in found]
    assert changes(after, after) == []


def test_the_order_of_entries_with_ids_is_no_change_and_derived_parts_are_left_out():
    one, two = {"id": "a", "x": 1}, {"id": "b", "x": 2}
    assert (
        changes({"meters": [one, two], "series": [1]}, {"meters": [two, one], "series": []}) == []
    )


def test_dangerous_changes_come_first():
    after = changed(scale="1", unit="m3", address=1) | {"timezone": "UTC"}
    kinds = [change.kind for change in changes(content(), after)]
    assert kinds == [Kind.SCALE, Kind.UNIT, Kind.REGISTER, Kind.OTHER]


def test_changes_of_a_whole_entry_show_what_came_and_what_went():
    gone = content()
    gone["devices"][0]["tags"] = [{"id": "coal", "scale": "2"}]
    told = [str(change) for change in changes(content(), gone)]
    assert "scale: devices.meters.tags.coal.scale: absent -> 2" in told
    assert "scale: devices.meters.tags.gas.scale: 0.1 -> absent" in told

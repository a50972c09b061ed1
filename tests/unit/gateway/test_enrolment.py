"""Enrolment: a key is in force only after every rule held and an operator signed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from edge_agent.errors import ConfigError, TrustError
from edge_agent.wire import cbor, certificates
from edge_agent.wire import enrolment as wire_enrolment
from edge_agent.wire.certificates import Purpose
from edge_agent.wire.keys import ED25519, ES256, Enrolment, FileSigner, create_signer, public_key
from gateway.trust import authority, enrolment
from gateway.trust.enrolment import Decision, Registrar
from gateway.trust.keybook import KeyBook
from gateway.trust.people import People, Person

SITE, AGENT = "al-001", "gw-01"
DAY = 24 * 3600 * 10**9
NOW = 1_767_196_800 * 10**9
SPKI_HEAD = bytes.fromhex("302a300506032b6570032100")


def key(first):
    return FileSigner(Ed25519PrivateKey.from_private_bytes(bytes([first]) * 32))


OPERATOR, APPROVER, STRANGER, LEFT = key(1), key(2), key(3), key(4)


def person(name, signer, role, revoked_ns=2**63 - 1):
    return Person(name, public_key(signer.public_spki()), frozenset({role}), revoked_ns)


PEOPLE = People(
    [
        person("li", OPERATOR, "operator"),
        person("wang", APPROVER, "approver"),
        person("zhao", LEFT, "operator", NOW),
    ]
)


@pytest.fixture
def ca(tmp_path):
    return authority.init(tmp_path / "ca", "plant-ca", NOW)


@pytest.fixture
def registrar(ledger, ca):
    return Registrar(ledger, KeyBook([], PEOPLE, ledger.documents), PEOPLE, (ca.certificate,))


def decided(signer=OPERATOR, at_ns=NOW, reason="fingerprint compared by telephone"):
    return Decision(signer, at_ns, reason)


def requested(registrar, signer, purpose=Purpose.SIGNING, site=SITE, agent=AGENT, at_ns=NOW):
    nonce = enrolment.invite(registrar.ledger, site, agent, at_ns)
    return wire_enrolment.make_request(signer, site, agent, purpose, nonce)


def issued(ca, raw, **changes):
    request = replace(wire_enrolment.open_request(raw), **changes)
    return authority.to_pem(authority.issue(ca, request, NOW))


def enrol(registrar, ca, signer, **more):
    raw = requested(registrar, signer)
    return enrolment.approve(registrar, raw, issued(ca, raw), signer.kid.hex(), decided(**more))


@pytest.mark.parametrize("algorithm", [ED25519, ES256], ids=["Ed25519", "ES256"])
def test_an_approved_key_is_in_force_and_the_ledger_says_by_whom(
    registrar, ca, tmp_path, algorithm
):
    signer = create_signer(tmp_path / "agent.pem", algorithm=algorithm)
    enrolled = enrol(registrar, ca, signer)
    assert (enrolled.source, enrolled.first_seq, enrolled.active) == ((SITE, AGENT), 1, True)
    assert enrolled.not_after_ns == NOW + 365 * DAY
    (document,) = registrar.ledger.documents.all("enrol")
    said = enrolment.statements.open_(document.raw, enrolment.MessageType.ENROLMENT, PEOPLE, NOW)
    assert (said.person.name, said.fields["spki"]) == ("li", signer.public_spki())
    again = KeyBook([], PEOPLE, registrar.ledger.documents)
    assert again.find(signer.kid, SITE, AGENT) == enrolled
    assert registrar.ledger.key_ring().get(signer.kid) is not None


def test_a_fingerprint_with_colons_and_capitals_is_the_same_fingerprint(registrar, ca, signer):
    raw = requested(registrar, signer)
    told = ":".join(signer.kid.hex().upper()[i : i + 2] for i in range(0, 64, 2))
    assert enrolment.approve(registrar, raw, issued(ca, raw), told, decided()).active


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"fingerprint": "00" * 32}, "another key than the fingerprint"),
        ({"decision": decided(STRANGER)}, "no person"),
        ({"decision": decided(APPROVER)}, "wang is no operator"),
        ({"decision": decided(LEFT)}, "zhao is revoked"),
        ({"decision": decided(reason="  ")}, "no reason"),
        ({"decision": decided(at_ns=NOW + 8 * DAY)}, "older than seven days"),
        ({"certificate": b"nothing"}, "not a readable certificate"),
    ],
)
def test_an_approval_that_breaks_a_rule_enrols_nothing(registrar, ca, signer, change, why):
    raw = requested(registrar, signer)
    asked = {
        "raw": raw,
        "certificate": issued(ca, raw),
        "fingerprint": signer.kid.hex(),
        "decision": decided(),
    }
    with pytest.raises(TrustError, match=why):
        enrolment.approve(registrar, **(asked | change))
    assert not list(registrar.ledger.documents.all("enrol"))
    assert not registrar.keys.enrolments()


def test_an_invitation_is_good_once(registrar, ca, signer, neighbour):
    raw = requested(registrar, signer)
    enrolment.approve(registrar, raw, issued(ca, raw), signer.kid.hex(), decided())
    nonce = wire_enrolment.open_request(raw).nonce
    second = wire_enrolment.make_request(neighbour, SITE, AGENT, Purpose.SIGNING, nonce)
    with pytest.raises(TrustError, match="used already"):
        enrolment.approve(registrar, second, issued(ca, second), neighbour.kid.hex(), decided())


def test_a_request_with_another_nonce_or_without_an_invitation_is_refused(registrar, ca, signer):
    raw = wire_enrolment.make_request(signer, SITE, AGENT, Purpose.SIGNING, bytes(32))
    for why in ("never invited", "another nonce"):
        with pytest.raises(TrustError, match=why):
            enrolment.approve(registrar, raw, issued(ca, raw), signer.kid.hex(), decided())
        enrolment.invite(registrar.ledger, SITE, AGENT, NOW)


def test_a_request_whose_proof_another_key_made_is_refused(registrar, signer, neighbour):
    fields = cbor.decode(requested(registrar, signer))
    fields["proof"] = cbor.decode(requested(registrar, neighbour))["proof"]
    with pytest.raises(TrustError, match="over the nonce"):
        wire_enrolment.open_request(cbor.encode(fields))


@pytest.mark.parametrize("raw", [b"", b"\xa0", b"\x00" * 9_000, cbor.encode({"purpose": "x"})])
def test_what_is_no_request_is_refused_as_such(raw):
    with pytest.raises(TrustError, match="request"):
        wire_enrolment.open_request(raw)


@pytest.mark.parametrize("name", ["csr", "nonce", "proof"])
def test_a_number_where_bytes_belong_is_refused_before_it_becomes_zeros(registrar, signer, name):
    fields = cbor.decode(requested(registrar, signer)) | {name: 2**50}
    with pytest.raises(TrustError, match="not an enrolment request"):
        wire_enrolment.open_request(cbor.encode(fields))


# -- certificates (rows 35 to 37) -------------------------------------------------------------


def test_a_certificate_for_another_agent_or_another_key_is_refused(
    registrar, ca, signer, neighbour
):
    raw = requested(registrar, signer)
    for change, why in (
        ({"agent": "gw-02"}, "gw-02's"),
        ({"public": public_key(neighbour.public_spki())}, "another key"),
    ):
        with pytest.raises(TrustError, match=why):
            enrolment.approve(
                registrar, raw, issued(ca, raw, **change), signer.kid.hex(), decided()
            )


def test_a_tls_certificate_is_no_signing_certificate_and_the_reverse(registrar, ca, signer):
    raw = requested(registrar, signer)
    for made, wanted in ((Purpose.TLS, Purpose.SIGNING), (Purpose.SIGNING, Purpose.TLS)):
        certificate = issued(ca, raw, purpose=made)
        with pytest.raises(TrustError, match=f"no {wanted.value} certificate"):
            certificates.check(certificate, (ca.certificate,), wanted)
        assert certificates.check(certificate, (ca.certificate,), made).agent == AGENT
    raw = requested(registrar, signer, Purpose.TLS)
    with pytest.raises(TrustError, match="cannot enrol"):
        enrolment.approve(registrar, raw, issued(ca, raw), signer.kid.hex(), decided())


def test_a_certificate_of_another_ca_of_the_same_name_is_refused(registrar, signer, tmp_path):
    twin = authority.init(tmp_path / "twin", "plant-ca", NOW)
    raw = requested(registrar, signer)
    with pytest.raises(TrustError, match="not issued by a pinned CA"):
        enrolment.approve(registrar, raw, issued(twin, raw), signer.kid.hex(), decided())


def test_a_certificate_that_is_a_ca_is_refused(ca, signer):
    with pytest.raises(TrustError, match="no signing certificate"):
        certificates.check(authority.to_pem(ca.certificate), (ca.certificate,), Purpose.SIGNING)


def csr(common, alternative="urn:carbon:al-001:gw-01", private=None, *, attributes=None):
    private = private or Ed25519PrivateKey.from_private_bytes(bytes(32))
    names = attributes or [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    builder = x509.CertificateSigningRequestBuilder(x509.Name(names))
    if alternative:
        uri = x509.UniformResourceIdentifier(alternative)
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    return builder.sign(private, None).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    "common",
    [
        "al-001", "al-001/gw-01/x", "al-001//gw-01", "/gw-01", "al-001/", "al-001/+", "#/gw-01",
        "+/+", "#", "al-001/gw\x00-01", "al-001/gw-01\n", "al-001/gw\r-01", "al-001/ɡw-01",
        "al-001/gw‐01", "аl-001/gw-01", "AL-001/gw-01", "al-001/gw-01 ", "al-001/" + "g" * 33,
        "ingest",
    ],
)  # fmt: skip
def test_a_request_whose_name_is_not_exactly_site_and_agent_is_refused(common):  # row 35
    with pytest.raises(TrustError, match="one common name site/agent"):
        certificates.check_request(csr(common))


def test_a_request_with_further_names_is_refused():
    two = [x509.NameAttribute(NameOID.COMMON_NAME, "al-001/gw-01")]
    two.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, "al-001/gw-02"))
    with pytest.raises(TrustError, match="one common name"):
        certificates.check_request(csr("", attributes=two))
    for alternative in ("urn:carbon:al-001:gw-02", "https://al-001/gw-01", None):
        with pytest.raises(TrustError, match="alternative name"):
            certificates.check_request(csr("al-001/gw-01", alternative))


def test_a_request_for_a_low_order_key_is_refused(signer):  # row 34
    good = certificates.request(signer, SITE, AGENT).public_bytes(serialization.Encoding.DER)
    for point in (bytes(32), b"\x01" + bytes(31), (2**255 - 20).to_bytes(32, "little")):
        bad = good.replace(signer.public_spki(), SPKI_HEAD + point)
        assert bad != good
        with pytest.raises(TrustError, match="low-order"):
            certificates.check_request(bad)


def test_a_request_that_its_key_did_not_sign_is_refused(signer, neighbour):
    good = certificates.request(signer, SITE, AGENT).public_bytes(serialization.Encoding.DER)
    swapped = good.replace(signer.public_spki(), neighbour.public_spki())
    with pytest.raises(TrustError, match="not signed by the key"):
        certificates.check_request(swapped)


def test_the_profiles_are_what_the_specification_says(ca, registrar, signer):
    raw = requested(registrar, signer)
    for purpose, days, use in (
        (Purpose.SIGNING, 365, "1.3.6.1.5.5.7.3.36"),
        (Purpose.TLS, 90, "1.3.6.1.5.5.7.3.2"),
    ):
        found = certificates.load(issued(ca, raw, purpose=purpose))
        usage = found.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature
        assert not usage.value.key_cert_sign
        assert usage.value.key_encipherment is not True
        uses = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [item.dotted_string for item in uses] == [use]
        end = datetime.fromtimestamp(NOW // 10**9, UTC) + timedelta(days=days)
        assert found.not_valid_after_utc == end
        assert found.subject.rfc4514_string() == "CN=al-001/gw-01"


def test_a_ca_issues_no_longer_certificate_than_its_profile_allows(ca, registrar, signer):
    request = wire_enrolment.open_request(requested(registrar, signer))
    for days in (366, 0, -1):
        with pytest.raises(TrustError, match="at most 365"):
            authority.issue(ca, request, NOW, days)


def test_a_ca_never_gives_an_agent_name_to_a_service(ca, signer):
    for name in ("al-001/gw-01", "#", "+", "a b", ""):
        with pytest.raises(TrustError, match="no name for a service"):
            authority.issue_service(ca, name, signer.public_spki(), [], NOW)


def test_a_pinned_ca_with_another_fingerprint_stops_the_gateway(ca, tmp_path):
    from gateway.config import Authority, GatewayConfig

    def config(fingerprint):
        one = Authority(certificate=tmp_path / "ca" / "ca.crt", fingerprint=fingerprint)
        return GatewayConfig.model_construct(authorities=[one])

    twin = authority.init(tmp_path / "twin", "plant-ca", NOW)
    assert enrolment.pinned(config(certificates.fingerprint(ca.certificate))) == (ca.certificate,)
    with pytest.raises(ConfigError, match=r"authorities\[0\]\.fingerprint"):
        enrolment.pinned(config(certificates.fingerprint(twin.certificate)))


# -- what follows from decisions --------------------------------------------------------------


def test_a_second_key_waits_for_its_keychange_and_a_third_is_refused(
    registrar, ca, signer, neighbour
):
    enrol(registrar, ca, signer)
    waiting = enrol(registrar, ca, neighbour)
    assert (waiting.pending, waiting.active, waiting.first_seq) == (True, False, None)
    with pytest.raises(TrustError, match="waits for its keychange"):
        enrol(registrar, ca, key(9))


def test_a_key_of_one_agent_cannot_become_another_s(registrar, ca, signer):
    enrol(registrar, ca, signer)
    raw = requested(registrar, signer, agent="gw-02")
    with pytest.raises(TrustError, match="enrolled already, for al-001/gw-01"):
        enrolment.approve(registrar, raw, issued(ca, raw), signer.kid.hex(), decided())


def test_after_a_revocation_the_next_key_speaks_from_the_batch_after_the_last_good(
    registrar, ca, signer, neighbour
):
    enrol(registrar, ca, signer)
    one, suspect = enrolment.revoke(registrar, signer.kid, 0, decided(reason="stolen"))
    assert (one.public.kid, suspect) == (signer.kid, None)
    assert registrar.keys.find(signer.kid, SITE, AGENT).revoked_after == 0
    assert enrol(registrar, ca, neighbour).first_seq == 1


def test_a_revocation_needs_a_known_key_and_batch(registrar, ca, signer):
    enrol(registrar, ca, signer)
    with pytest.raises(TrustError, match="no batch 7"):
        enrolment.revoke(registrar, signer.kid, 7, decided(reason="stolen"))
    with pytest.raises(TrustError, match="no key"):
        enrolment.revoke(registrar, bytes(32), 0, decided(reason="stolen"))


def test_a_document_that_no_operator_signed_changes_no_key(registrar, ca, signer, caplog):
    raw = requested(registrar, signer)
    forged = Registrar(
        registrar.ledger,
        KeyBook([], People([person("li", STRANGER, "operator")]), registrar.ledger.documents),
        People([person("li", STRANGER, "operator")]),
        (ca.certificate,),
    )
    enrolment.approve(forged, raw, issued(ca, raw), signer.kid.hex(), decided(STRANGER))
    assert registrar.keys.refresh()
    assert not registrar.keys.enrolments()
    assert "document_ignored" in caplog.text


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (31 * DAY, ""),
        (30 * DAY, "expires within 30 days"),
        (7 * DAY, "expires within 7 days"),
        (1 * DAY, "expires within 1 day"),
        (-1, "expired"),
    ],
)
def test_the_end_of_a_key_is_told_30_7_and_1_days_before(signer, left, told):
    assert certificates.expiry_warning(left) == told
    one = Enrolment(SITE, AGENT, public_key(signer.public_spki()), 0, NOW + left)

    class Book:
        def of(self, *_):
            return [one]

    (state,) = enrolment.key_states(Book(), SITE, AGENT, NOW).values()
    assert state == (f"in force, {told}" if told else "in force")

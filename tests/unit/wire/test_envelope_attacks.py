"""Rows of trust.md section 5 that concern the envelope; each names its quarantine reason."""

from itertools import permutations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import errors
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import key_id

SITE, AGENT = "al-001", "gw-01"


def text(content):
    return b"\x78" + bytes([len(content)]) + content


def byte_string(content):
    return cbor2.dumps(content)


@pytest.fixture
def parts(signer, make_batch):
    """Protected header, payload and signature of a genuine batch."""
    envelope = cose.parse(wire_batch.sign(make_batch(), signer))
    return envelope.protected, envelope.payload, envelope.signature


@pytest.fixture
def refusal(ring):
    """The class that refuses a message on the agent's batch topic."""

    def refuse(raw, agent=AGENT):
        with pytest.raises(errors.EvidenceError) as caught:
            wire_batch.verify(raw, SITE, agent, ring)
        return type(caught.value)

    return refuse


def join(
    protected,
    payload,
    signature,
    *,
    head=b"\xd2\x84",
    unprotected=b"\xa0",
    signature_head=b"\x58\x40",
):
    return b"".join(
        (
            head,
            byte_string(protected),
            unprotected,
            byte_string(payload),
            signature_head,
            signature,
        )
    )


def signed(protected, payload, signer, **more):
    """A message whose signature is right for whatever header and payload it carries."""
    signature = signer.sign(cose.to_be_signed(protected, payload))
    return join(protected, payload, signature, **more)


def test_the_parts_put_together_again_are_the_genuine_batch(parts, ring):
    assert wire_batch.verify(join(*parts), SITE, AGENT, ring).flags == ()


@pytest.mark.parametrize(
    "name",
    ["v", "site", "agent", "seq", "prev", "boot", "t0", "t1", "mono", "clock", "config", "sw"]
    + ["series", "s", "dt", "x", "q", "events"],
)
def test_a_changed_field_under_the_old_signature_is_a_bad_signature(
    name, make_fields, parts, refusal
):  # row 2
    fields = make_fields()
    value = fields[name]
    if isinstance(value, int):
        fields[name] = value ^ 1
    elif isinstance(value, bytes):
        fields[name] = bytes([value[0] ^ 1]) + value[1:]
    elif isinstance(value, str):
        fields[name] = chr(ord(value[0]) ^ 1) + value[1:]
    elif isinstance(value, dict):
        fields[name] = value | {"steps": 1}
    else:
        fields[name] = [*value[:-1], "changed"]
    assert refusal(join(parts[0], cbor.encode(fields), parts[2])) is errors.BadSignature


def test_a_batch_signed_by_a_neighbour_under_the_victim_s_key_id_is_a_bad_signature(
    parts, neighbour, refusal
):  # row 3
    assert refusal(signed(parts[0], parts[1], neighbour)) is errors.BadSignature


def test_a_neighbour_s_valid_batch_on_the_victim_s_topic_is_the_wrong_agent_s(
    make_batch, neighbour, refusal
):  # row 4
    raw = wire_batch.sign(make_batch(agent="gw-02"), neighbour)
    assert refusal(raw) is errors.WrongAgent


@pytest.mark.parametrize("changes", [{"site": "al-002"}, {"agent": "gw-02"}])
def test_another_site_or_agent_inside_than_on_the_topic_is_a_bad_identity(
    changes, make_batch, signer, refusal
):  # row 5
    assert refusal(wire_batch.sign(make_batch(**changes), signer)) is errors.BadIdentity


def test_a_key_that_nobody_enrolled_is_unknown(make_batch, gateway_signer, refusal):  # row 6
    assert refusal(wire_batch.sign(make_batch(), gateway_signer)) is errors.UnknownKey


def header(*, alg=b"\x27", kid, content=b"application/vnd.carbon.batch+cbor", more=b"", size=3):
    key = b"" if kid is None else b"\x04" + byte_string(kid)
    return bytes([0xA0 + size]) + b"\x01" + alg + b"\x03" + text(content) + key + more


@pytest.mark.parametrize("change", ["31", "33", "none", "text"])
def test_a_key_id_of_another_length_or_kind_is_a_bad_header(change, parts, signer, refusal):
    kid = signer.kid  # row 6
    kids = {"31": kid[:31], "33": kid + b"\0", "none": None, "text": kid.hex()[:32]}
    protected = header(kid=kids[change], size=2 if change == "none" else 3)
    assert refusal(signed(protected, parts[1], signer)) is errors.BadHeader


@pytest.mark.parametrize(
    "alg",
    [b"\x26", b"\x05", b"\x00", b"\x32", b"\x65EdDSA", b"\xf6", b"\x38\x07"],
    ids=["ES256", "HMAC", "none", "-19", "text", "null", "long -8"],
)
def test_another_algorithm_is_a_bad_header(alg, parts, signer, refusal):  # row 7
    assert refusal(signed(header(alg=alg, kid=signer.kid), parts[1], signer)) is errors.BadHeader


def test_another_label_or_crit_in_the_header_is_a_bad_header(parts, signer, refusal):
    for more in (b"\x05\x41\x00", b"\x02\x81\x04", b"\x65extra\x00"):
        protected = header(kid=signer.kid, more=more, size=4)
        assert refusal(signed(protected, parts[1], signer)) is errors.BadHeader


def test_header_labels_in_another_order_are_a_bad_header(parts, signer, refusal):
    protected = (
        b"\xa3\x04"
        + byte_string(signer.kid)
        + b"\x03"
        + text(b"application/vnd.carbon.batch+cbor")
        + b"\x01\x27"
    )
    assert refusal(signed(protected, parts[1], signer)) is errors.BadHeader


@pytest.mark.parametrize("junk", [b"\xa1\x01\x27", b"\xa1\x18\x63\x61x", b"\xbf\xff", b"\xb8\x00"])
def test_anything_in_the_unprotected_header_is_a_bad_envelope(junk, parts, refusal):  # row 8
    assert refusal(join(*parts, unprotected=junk)) is errors.BadEnvelope


def test_an_outer_array_of_indefinite_length_is_a_bad_envelope(parts, refusal):  # row 9
    assert refusal(join(*parts, head=b"\xd2\x9f") + b"\xff") is errors.BadEnvelope


def test_an_outer_array_of_another_length_is_a_bad_envelope(parts, refusal):
    assert refusal(join(*parts, head=b"\xd2\x85") + b"\x00") is errors.BadEnvelope
    assert refusal(join(*parts, head=b"\xd2\x98\x04")) is errors.BadEnvelope


def long_head(content, width):
    return bytes([0x57 + width]) + len(content).to_bytes(1 << (width - 1), "big") + content


def test_a_length_head_that_is_not_shortest_is_a_bad_envelope(parts, refusal):  # row 10
    protected, payload, signature = parts
    for width in (2, 3, 4):
        raws = [
            b"\xd2\x84" + long_head(protected, width) + join(*parts)[2 + 2 + len(protected) :],
            b"\xd2\x84"
            + byte_string(protected)
            + b"\xa0"
            + byte_string(payload)
            + long_head(signature, width),
        ]
        if width > 2:
            raws.append(
                b"\xd2\x84"
                + byte_string(protected)
                + b"\xa0"
                + long_head(payload, width)
                + byte_string(signature)
            )
        for raw in raws:
            assert refusal(raw) is errors.BadEnvelope


def test_a_payload_of_indefinite_length_is_a_bad_envelope(parts, refusal):
    protected, payload, signature = parts
    raw = (
        b"\xd2\x84"
        + byte_string(protected)
        + b"\xa0\x5f"
        + byte_string(payload)
        + b"\xff"
        + byte_string(signature)
    )
    assert refusal(raw) is errors.BadEnvelope


def test_a_byte_after_the_envelope_is_a_bad_envelope(parts, refusal):  # row 11
    assert refusal(join(*parts) + b"\x00") is errors.BadEnvelope


def test_a_byte_after_the_payload_s_item_is_a_bad_profile(parts, signer, refusal):  # row 11
    raw = cose.sign(MessageType.BATCH, parts[1] + b"\x00", signer)
    assert refusal(raw) is errors.BadProfile


@pytest.mark.parametrize(
    "head", [b"\x84", b"\xd2\xd2\x84", b"\xd9\xd9\xf7\xd2\x84", b"\xd8\x12\x84"]
)
def test_tag_18_missing_doubled_wrapped_or_long_is_a_bad_envelope(head, parts, refusal):  # row 12
    assert refusal(join(*parts, head=head)) is errors.BadEnvelope


@pytest.mark.parametrize(("kind", "expected"), list(permutations(MessageType, 2)))
def test_a_message_of_one_type_where_another_belongs_is_the_wrong_type(kind, expected, signer):
    raw = cose.sign(kind, b"\xa0", signer)  # row 13
    with pytest.raises(errors.WrongType):
        cose.verify(raw, expected, pytest.fail)


@pytest.mark.parametrize("kind", [kind for kind in MessageType if kind is not MessageType.BATCH])
def test_any_other_message_on_the_batch_topic_is_the_wrong_type(kind, parts, signer, refusal):
    assert refusal(cose.sign(kind, parts[1], signer)) is errors.WrongType  # row 13


@pytest.mark.parametrize("payload", [b"\xf6", b"\x40", b"\xa1\x61v\x01", b"\x60", b"\x80"])
def test_a_payload_that_is_no_filled_byte_string_is_a_bad_envelope(
    payload, parts, refusal
):  # row 14
    protected, _, signature = parts
    raw = b"\xd2\x84" + byte_string(protected) + b"\xa0" + payload + byte_string(signature)
    assert refusal(raw) is errors.BadEnvelope


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_a_bad_envelope(length, parts, refusal):
    protected, payload, signature = parts
    raw = join(protected, payload, b"")[:-2] + byte_string((signature + b"\0")[:length])
    assert refusal(raw) is errors.BadEnvelope


def test_a_message_beyond_the_limit_is_the_wrong_size(refusal):  # row 54
    assert refusal(bytes(262_401)) is errors.WrongSize
    assert refusal(bytes(262_400)) is errors.BadEnvelope


def test_an_agent_never_signs_more_than_the_wire_allows(signer):  # row 54
    with pytest.raises(errors.WrongSize):
        cose.sign(MessageType.BATCH, bytes(262_145), signer)
    with pytest.raises(errors.WrongSize):
        cose.sign(MessageType.BATCH, b"", signer)
    assert len(cose.sign(MessageType.BATCH, bytes(262_144), signer)) <= 262_400


@pytest.mark.parametrize(
    "head",
    [b"\x5b" + (2**63).to_bytes(8, "big"), b"\x5a\xff\xff\xff\xff", b"\x59\xff\xff", b"\x58\xff"],
)
def test_a_byte_string_that_claims_more_than_there_is_is_a_bad_envelope(head, parts, refusal):
    raw = b"\xd2\x84" + byte_string(parts[0]) + b"\xa0" + head + bytes(16)  # row 55
    assert refusal(raw) is errors.BadEnvelope


@given(raw=st.binary(max_size=300))
def test_random_bytes_are_refused_and_nothing_else_happens(raw, ring):  # row 102
    with pytest.raises(errors.EvidenceError):
        wire_batch.verify(raw, SITE, AGENT, ring)


@given(data=st.data())
def test_random_bytes_inside_an_envelope_are_refused_and_nothing_else_happens(data, ring, signer):
    payload = data.draw(st.binary(min_size=1, max_size=200))
    with pytest.raises(errors.EvidenceError):
        wire_batch.verify(cose.sign(MessageType.BATCH, payload, signer), SITE, AGENT, ring)


def test_the_key_id_is_the_hash_of_the_public_key_s_der_form(signer):
    assert signer.kid == key_id(signer.public_spki())
    assert signer.public_spki()[:12].hex() == "302a300506032b6570032100"

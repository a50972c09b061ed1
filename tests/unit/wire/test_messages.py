"""Acks, status messages and topics."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import errors
from edge_agent.wire import cbor, cose, notes, topics
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import public_key
from edge_agent.wire.messages import Ack, Status, sign_ack, sign_status, verify_ack, verify_status

ACK = Ack("al-001", "gw-01", 41, bytes(range(32)), 1_767_196_861_000_000_000, (43, 47), True)
STATUS = Status(
    "al-001", "gw-01", bytes(range(16)), 1_767_196_861_000_000_001, "up", 47, 41, {"rows": 12}
)


@pytest.fixture(scope="module")
def find(gateway_signer):
    pinned = public_key(gateway_signer.public_spki())

    def find_key(kid):
        if kid != pinned.kid:
            raise errors.UnknownKey(kid.hex())
        return pinned

    return find_key


def test_an_ack_comes_back_as_it_was_signed(gateway_signer, find):
    assert verify_ack(sign_ack(ACK, gateway_signer), find) == ACK
    none = Ack("al-001", "gw-01", 0, bytes(32), 5)
    assert verify_ack(sign_ack(none, gateway_signer), find) == none


def test_a_status_comes_back_as_it_was_signed(gateway_signer, find):
    assert verify_status(sign_status(STATUS, gateway_signer), find) == STATUS


def test_an_ack_of_another_key_is_refused(signer, find):  # row 65
    with pytest.raises(errors.UnknownKey):
        verify_ack(sign_ack(ACK, signer), find)


def test_no_flipped_bit_of_an_ack_is_accepted(gateway_signer, find):
    raw = sign_ack(ACK, gateway_signer)
    for place in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(errors.EvidenceError):
            verify_ack(bytes(flipped), find)


def test_a_status_where_an_ack_belongs_is_the_wrong_type(gateway_signer, find):  # row 13
    with pytest.raises(errors.WrongType):
        verify_ack(sign_status(STATUS, gateway_signer), find)
    with pytest.raises(errors.WrongType):
        verify_status(sign_ack(ACK, gateway_signer), find)


ACK_FIELDS = {
    "v": 1,
    "site": "al-001",
    "agent": "gw-01",
    "seq": 41,
    "hash": bytes(32),
    "at": 5,
    "held": None,
    "want_config": False,
    "log": None,
    "proof": None,
}
WRONG = [None, True, -1, 1.5, "41", b"41", [], {}, [1], [1, True], [1, 2, 3]]
RIGHT = {"held": [None], "want_config": [True], "log": [None, b"41"], "proof": [None, []]}
ACK_NAMES = ["v", "site", "agent", "seq", "hash", "at", "held", "want_config", "log", "proof"]


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("name", ACK_NAMES)
def test_an_ack_with_a_field_of_the_wrong_type_is_refused(name, value, gateway_signer, find):
    if value in RIGHT.get(name, []) or (name in ("site", "agent") and isinstance(value, str)):
        return
    payload = cbor.encode(ACK_FIELDS | {name: value})
    with pytest.raises(errors.BadProfile):
        verify_ack(cose.sign(MessageType.ACK, payload, gateway_signer), find)


def test_a_checkpoint_with_its_proof_travels_in_an_ack(gateway_signer, find):
    note = notes.sign_checkpoint(notes.Head("carbon-log/test", 7, bytes(32)), gateway_signer)
    ack = Ack("al-001", "gw-01", 41, bytes(32), 5, log=note, proof=(bytes(32), bytes([1]) * 32))
    assert verify_ack(sign_ack(ack, gateway_signer), find) == ack


@pytest.mark.parametrize("name", ["v", "site", "seq", "hash", "held", "want_config"])
def test_an_ack_without_a_field_is_refused(name, gateway_signer, find):
    payload = cbor.encode({key: value for key, value in ACK_FIELDS.items() if key != name})
    with pytest.raises(errors.BadProfile):
        verify_ack(cose.sign(MessageType.ACK, payload, gateway_signer), find)


@given(payload=st.binary(min_size=1, max_size=80))
def test_random_payloads_of_small_messages_are_refused(payload, gateway_signer, find):
    for kind, verify in ((MessageType.ACK, verify_ack), (MessageType.STATUS, verify_status)):
        with pytest.raises(errors.EvidenceError):
            verify(cose.sign(kind, payload, gateway_signer), find)


@pytest.mark.parametrize("kind", ["batch", "config", "ack", "status"])
def test_a_topic_is_parsed_into_what_it_was_made_of(kind):
    text = topics.topic("al-001", "gw_01", kind)
    assert text == f"carbon/v1/al-001/gw_01/{kind}"
    assert topics.parse(text) == ("al-001", "gw_01", kind)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "carbon/v1/al-001/gw-01",
        "carbon/v1/al-001/gw-01/batch/x",
        "carbon/v2/al-001/gw-01/batch",
        "/carbon/v1/al-001/gw-01/batch",
        "carbon/v1//gw-01/batch",
        "carbon/v1/+/gw-01/batch",
        "carbon/v1/al-001/#",
        "carbon/v1/AL-001/gw-01/batch",
        "carbon/v1/al-001\n/gw-01/batch",
        "carbon/v1/al-001/gw-01\n/batch",
        "carbon/v1/../gw-01/batch",
        "carbon/v1/-a/gw-01/batch",
        f"carbon/v1/{'a' * 33}/gw-01/batch",
        "carbon/v1/al-001/gw-01/month",
        "carbon/v1/al-001/gw-01/batch\n",
        "carbon/v1/аl-001/gw-01/batch",
    ],
)
def test_a_topic_of_any_other_form_is_refused(text):  # rows 35, 63
    with pytest.raises(errors.WrongTopic):
        topics.parse(text)

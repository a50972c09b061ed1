"""The algorithm follows the enrolled key, never the message (row 7)."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from edge_agent.errors import BadHeader, BadSignature
from edge_agent.wire import cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import ED25519, ES256, FileSigner, public_key

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TYPE = b"application/vnd.carbon.batch+cbor"


@pytest.fixture(scope="module")
def es256():
    return FileSigner(generate_private_key(SECP256R1()))


def message(signer, algorithm):
    """A batch message whose header names this algorithm, signed by this key over that header."""
    kid = public_key(signer.public_spki()).kid
    protected = b"\xa3\x01" + bytes([0x1F - algorithm]) + b"\x03\x78" + bytes([len(TYPE)]) + TYPE
    protected += b"\x04\x58\x20" + kid
    signature = signer.sign(cose.to_be_signed(protected, b"\xa0"))
    head = b"\xd2\x84\x58" + bytes([len(protected)])
    return head + protected + b"\xa0\x41\xa0\x58\x40" + signature


def verify(raw, signer):
    return cose.verify(raw, MessageType.BATCH, lambda _: public_key(signer.public_spki()))


def test_each_key_is_accepted_under_its_own_algorithm(signer, es256):
    assert verify(message(signer, ED25519), signer).payload == b"\xa0"
    assert verify(message(es256, ES256), es256).payload == b"\xa0"
    assert message(es256, ES256)[5:79] == cose.sign(MessageType.BATCH, b"\xa0", es256)[5:79]


def test_the_other_algorithm_named_for_a_key_is_a_bad_header(signer, es256):
    for one, other in ((signer, ES256), (es256, ED25519)):
        with pytest.raises(BadHeader, match="enrolled key"):
            verify(message(one, other), one)


def test_the_second_form_of_an_es256_signature_is_a_bad_signature(es256):
    raw = cose.sign(MessageType.BATCH, b"\xa0", es256)
    s = int.from_bytes(raw[-32:], "big")
    second = raw[:-32] + (P256_ORDER - s).to_bytes(32, "big")
    assert verify(raw, es256).raw == raw
    with pytest.raises(BadSignature):
        verify(second, es256)


def test_no_flipped_bit_of_an_es256_message_is_accepted(es256):
    from edge_agent.errors import EvidenceError

    raw = cose.sign(MessageType.BATCH, b"\xa0", es256)
    for place in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(EvidenceError):
            verify(bytes(flipped), es256)

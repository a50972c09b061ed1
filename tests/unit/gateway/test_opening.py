"""libsodium accepts no signature that OpenSSL refuses, and every genuine one."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadSignature
from edge_agent.wire.keys import PublicKey, public_key
from edge_agent.wire.keys.files import FileSigner
from gateway import opening

ORDER = 2**252 + 27742317777372353535851937790883648493
SEED = bytes(range(32))
PRIVATE = Ed25519PrivateKey.from_private_bytes(SEED)
PUBLIC = public_key(FileSigner(PRIVATE).public_spki())
MESSAGE = b"a batch" * 100


def accepts(check, signature, message=MESSAGE):
    try:
        check(PUBLIC, signature, message)
    except BadSignature:
        return False
    return True


@given(st.binary(max_size=300))
def test_genuine_signatures_pass(message):
    assert accepts(opening.check, PRIVATE.sign(message), message)


def test_no_flipped_bit_passes():
    genuine = PRIVATE.sign(MESSAGE)
    for place in range(512):
        flipped = bytearray(genuine)
        flipped[place // 8] ^= 1 << place % 8
        assert not accepts(opening.check, bytes(flipped))
    assert not accepts(opening.check, genuine, MESSAGE + b"x")


def test_the_second_form_of_a_signature_is_refused_by_both():
    genuine = PRIVATE.sign(MESSAGE)
    s = int.from_bytes(genuine[32:], "little") + ORDER
    second = genuine[:32] + s.to_bytes(32, "little")
    assert not accepts(opening.check, second)
    assert not accepts(PublicKey.verify, second)


def test_an_r_of_low_order_is_refused_though_openssl_takes_it():
    """Only who has the key can make it: R = 1, s = h a (RFC 8032 section 5.1.7)."""
    clamped = bytearray(hashlib.sha512(SEED).digest()[:32])
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    one = (1).to_bytes(32, "little")
    digest = hashlib.sha512(one + PUBLIC.point + MESSAGE).digest()
    s = int.from_bytes(digest, "little") * int.from_bytes(clamped, "little") % ORDER
    odd = one + s.to_bytes(32, "little")
    assert accepts(PublicKey.verify, odd)
    assert not accepts(opening.check, odd)


def test_a_key_of_the_other_algorithm_is_checked_as_everywhere(monkeypatch):
    seen = []
    other = PublicKey(bytes(32), bytes(91), None)
    monkeypatch.setattr(PublicKey, "verify", lambda *given: seen.append(given))
    opening.check(other, b"s", b"m")
    assert seen == [(other, b"s", b"m")]
    with pytest.raises(BadSignature):
        opening.check(PUBLIC, bytes(64), MESSAGE)

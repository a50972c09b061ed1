"""The test vector of trust.md 3.4: byte for byte, and no bit of it may be another."""

import hashlib

import pytest

from edge_agent.errors import EvidenceError
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import merkle

SIGNED = bytes.fromhex(
    "d284584aa301270378216170706c69636174696f6e2f766e642e636172626f6e2e62617463682b63626f72045820a050837d"
    "85070582ccf7394b0988847cc312cb88259b894899f6f239cf1791a5a0590133b261718200006173820001617601617882f9"
    "44401a0098968062647482000062737770656467652d6167656e742f302e312e306274301b18865820683500006274311b18"
    "86582e607c5800637365710164626f6f7450000102030405060708090a0b0c0d0e0f646d6f6e6f821a3b9aca001b0000000e"
    "33e22200647072657658200000000000000000000000000000000000000000000000000000000000000000647369746566616c"
    "2d303031656167656e746567772d303165636c6f636ba5636572721a000dbba0636f66661a0001d4c063737263636e747064"
    "73796e63f56573746570730066636f6e6669675820b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e"
    "343910666576656e747380667365726965738269706f742e3030312e76686c696e652e6b77685840b9fb5ae27398ef834f24"
    "55d65f1e0a101a6c24c57f0a3c017b9a9bbda7da03cc80a9e22dcd0e1e4383e983a0c064508e51c429c0ea188fbb53274701"
    "771ee809"
)
KID = "a050837d85070582ccf7394b0988847cc312cb88259b894899f6f239cf1791a5"
HASH = "89ff19fc26ad5a384297622479f110dc97c3d16c18ef5419a7b6c644bc2ddca1"
LEAF = "8565626174636866616c2d3030316567772d303101582089ff19fc26ad5a384297622479f110dc97c3d16c18ef5419a7b6c644bc2ddca1"
LEAF_HASH = "a815cddc41b53c8ad3d0f92cf5858e0e8b267ded4eeb46c31a583c0e264953aa"


def test_the_key_id_of_the_seed_is_the_vector_s(signer):
    assert signer.kid.hex() == KID


def test_signing_the_batch_gives_the_vector_s_bytes(signer, make_batch):
    assert wire_batch.sign(make_batch(), signer) == SIGNED
    assert len(SIGNED) == 455


def test_verifying_the_vector_gives_the_batch_back(ring, make_batch):
    verified = wire_batch.verify(SIGNED, "al-001", "gw-01", ring)
    assert verified.batch == make_batch(columns=verified.batch.columns)
    assert list(verified.batch.columns.records()) == list(make_batch().columns.records())
    assert [type(value) for value in verified.batch.columns.value] == [float, int]
    assert (verified.raw, verified.sha256.hex(), verified.key_id.hex()) == (SIGNED, HASH, KID)
    assert verified.flags == ()


def test_the_leaf_of_the_batch_is_the_vector_s():
    leaf = merkle.batch_leaf("al-001", "gw-01", 1, hashlib.sha256(SIGNED).digest())
    assert leaf.hex() == LEAF
    assert merkle.leaf_hash(leaf).hex() == LEAF_HASH


def test_no_single_flipped_bit_is_accepted(ring):  # row 1
    refused = 0
    for place in range(8 * len(SIGNED)):
        flipped = bytearray(SIGNED)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(EvidenceError):
            wire_batch.verify(bytes(flipped), "al-001", "gw-01", ring)
        refused += 1
    assert refused == 3_640


def test_no_shortened_or_lengthened_message_is_accepted(ring):  # row 11
    for length in range(len(SIGNED)):
        with pytest.raises(EvidenceError):
            wire_batch.verify(SIGNED[:length], "al-001", "gw-01", ring)
    with pytest.raises(EvidenceError):
        wire_batch.verify(SIGNED + b"\0", "al-001", "gw-01", ring)

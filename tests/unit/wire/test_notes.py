"""Checkpoints and cosignatures: round trips, what must be refused, and one fixed text."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge_agent.errors import BadProfile, BadSignature
from edge_agent.wire import notes
from edge_agent.wire.notes import Head

ORIGIN = "carbon-log/test"
HEAD = Head(ORIGIN, 4_711, hashlib.sha256(b"root").digest(), ("day al-001 2026-10-01",))


@pytest.fixture
def log_key(gateway_signer):
    return notes.note_key(ORIGIN, gateway_signer.public_spki())


@pytest.fixture
def witness_key(neighbour):
    return notes.note_key("witness.example/1", neighbour.public_spki())


def test_a_signed_checkpoint_comes_back(gateway_signer, log_key):
    note = notes.sign_checkpoint(HEAD, gateway_signer)
    assert notes.verify_checkpoint(note, log_key) == HEAD


def test_the_text_is_that_of_the_specification(gateway_signer):
    note = notes.sign_checkpoint(HEAD, gateway_signer)
    public = gateway_signer.public_spki()[-32:]
    body, _, signature = note.partition("\n\n")
    assert body.split("\n") == [
        ORIGIN,
        "4711",
        base64.b64encode(HEAD.root).decode(),
        "day al-001 2026-10-01",
    ]
    dash, name, encoded = signature.rstrip("\n").split(" ")
    assert (dash, name) == ("—", ORIGIN)
    blob = base64.b64decode(encoded)
    assert blob[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(blob[4:], f"{body}\n".encode())


def test_a_cosignature_signs_time_and_text(neighbour, witness_key):
    line = notes.cosign(HEAD, witness_key.name, neighbour, 1_760_000_000)
    blob = base64.b64decode(line.split(" ")[2])
    public = neighbour.public_spki()[-32:]
    name = witness_key.name.encode()
    assert blob[:4] == hashlib.sha256(name + b"\n\x04" + public).digest()[:4]
    assert int.from_bytes(blob[4:12], "big") == 1_760_000_000
    text = b"cosignature/v1\ntime 1760000000\n" + HEAD.body().encode()
    Ed25519PublicKey.from_public_bytes(public).verify(blob[12:], text)
    assert notes.cosigned_at(HEAD, [line], witness_key) == 1_760_000_000


def test_a_cosignature_of_another_head_or_key_counts_nothing(neighbour, witness_key, log_key):
    line = notes.cosign(HEAD, witness_key.name, neighbour, 1)
    assert notes.cosigned_at(Head(ORIGIN, 4_712, HEAD.root), [line], witness_key) is None
    other = notes.NoteKey(witness_key.name, log_key.public)
    assert notes.cosigned_at(HEAD, [line], other) is None
    assert notes.cosigned_at(HEAD, [line[:-6]], witness_key) is None


def test_a_log_signature_is_no_cosignature_and_the_reverse(gateway_signer, log_key):
    _, lines = notes.parse(notes.sign_checkpoint(HEAD, gateway_signer))
    assert notes.cosigned_at(HEAD, lines, log_key) is None
    line = notes.cosign(HEAD, ORIGIN, gateway_signer, 1)
    with pytest.raises(BadSignature):
        notes.verify_checkpoint(f"{HEAD.body()}\n{line}", log_key)


@pytest.mark.parametrize("place", range(0, 90, 7))
def test_no_changed_byte_of_the_text_is_accepted(gateway_signer, log_key, place):
    note = notes.sign_checkpoint(HEAD, gateway_signer)
    changed = note[:place] + ("x" if note[place] != "x" else "y") + note[place + 1 :]
    with pytest.raises((BadProfile, BadSignature)):
        notes.verify_checkpoint(changed, log_key)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "a\n1\n",
        f"{ORIGIN}\n01\n{base64.b64encode(bytes(32)).decode()}\n\n— a b\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(bytes(32)).decode()}\n\n— a b\n",
        f"{ORIGIN}\n1\n{base64.b64encode(bytes(31)).decode()}\n\n— a b\n",
        f"{ORIGIN}\n1\n{base64.b64encode(bytes(32)).decode()}\n\n",
        f"{ORIGIN}\r\n1\n{base64.b64encode(bytes(32)).decode()}\n\n— a b\n",
        f"a b\n1\n{base64.b64encode(bytes(32)).decode()}\n\n— a b\n",
        "x" * 70_000,
    ],
)
def test_what_is_no_checkpoint_is_refused(note):
    with pytest.raises(BadProfile):
        notes.parse(note)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "ä", "x" * 201])
def test_a_name_that_breaks_the_lines_is_refused(name, signer):
    with pytest.raises(BadProfile, match="printable"):
        notes.note_key(name, signer.public_spki())

"""Keys: unsafe files and worthless points are refused, and nothing secret is shown."""

import copy
import os
import pickle
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.errors import BadSignature, KeyFileError, KeyNotValid, UnknownKey, WrongAgent
from edge_agent.wire.keys import (
    ED25519,
    ES256,
    Enrolment,
    FileSigner,
    KeyRing,
    check_time,
    create_signer,
    key_id,
    load_signer,
    public_key,
    read_secret,
)

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ES256_KEY = FileSigner(ec.generate_private_key(ec.SECP256R1()))
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
SPKI_HEAD = bytes.fromhex("302a300506032b6570032100")


def add(a, b):
    product = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + product, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P
    return x, y


def times(point, factor):
    total = (0, 1)
    while factor:
        if factor & 1:
            total = add(total, point)
        point, factor = add(point, point), factor >> 1
    return total


def recover(y):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


def torsion():
    """The eight points of small order, from a point of full order times the prime order."""
    for y in range(2, 100):
        point = recover(y)
        generator = times(point, L) if point else (0, 1)
        if times(generator, 4) != (0, 1):
            return [times(generator, factor) for factor in range(8)]
    raise AssertionError


def encodings():
    """Every 32-byte string that some decoder takes for a point of small order."""
    found = set()
    for x, y in torsion():
        for shifted in (y, y + P):
            for sign in {x & 1} if x else {0, 1}:
                if shifted < 2**255:
                    found.add((shifted | sign << 255).to_bytes(32, "little"))
    return sorted(found)


LOW_ORDER = encodings()


def test_there_are_fourteen_low_order_encodings():
    assert len(LOW_ORDER) == 14


@pytest.mark.parametrize("point", LOW_ORDER, ids=[point.hex()[:8] for point in LOW_ORDER])
def test_a_low_order_public_key_is_refused_with_its_reason(point):  # row 34
    with pytest.raises(KeyFileError, match="low-order|canonical"):
        public_key(SPKI_HEAD + point)


@pytest.mark.parametrize("y", [P + 2, P + 18, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_public_key_that_is_not_in_canonical_form_is_refused(y, sign):
    with pytest.raises(KeyFileError, match="canonical"):
        public_key(SPKI_HEAD + (y | sign << 255).to_bytes(32, "little"))


def test_a_public_key_is_the_same_from_pem_and_der(signer):
    from_der, from_pem = public_key(signer.public_spki()), public_key(signer.public_pem())
    assert from_der == from_pem
    assert from_der.kid == signer.kid == key_id(signer.public_spki())
    assert public_key(b"\n" + signer.public_pem()) == from_pem


@pytest.mark.parametrize(
    "other",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65_537, 2_048),
    ],
    ids=["EC", "RSA"],
)
def test_a_public_key_of_another_kind_is_refused(other):
    spki = other.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(KeyFileError, match="Ed25519"):
        public_key(spki)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: SPKI_HEAD + tail))
@example(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
@example(bytes.fromhex("300e300706052a0304050603030001ff"))
@example(bytes.fromhex("302a300506032b6571032100") + bytes(32))
def test_what_is_no_public_key_is_refused_as_such(encoded):
    try:
        public_key(encoded)
    except KeyFileError:
        return
    assert encoded.startswith(SPKI_HEAD)


def test_a_signature_verifies_under_its_own_key_and_message_only(signer, neighbour):
    signature = signer.sign(b"message")
    public_key(signer.public_spki()).verify(signature, b"message")
    for key, message in ((signer, b"Message"), (neighbour, b"message")):
        with pytest.raises(BadSignature):
            public_key(key.public_spki()).verify(signature, message)


# -- files ------------------------------------------------------------------------------------


def test_a_new_key_is_its_owner_s_alone_and_can_be_loaded(tmp_path):
    path = tmp_path / "keys" / "agent.pem"
    made = create_signer(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert load_signer(path).kid == made.kid
    assert public_key((tmp_path / "keys" / "agent.pub.pem").read_bytes()).kid == made.kid


def test_a_key_file_that_exists_is_never_written_over(tmp_path):
    path = tmp_path / "agent.pem"
    kid = create_signer(path).kid
    with pytest.raises(KeyFileError, match=r"agent\.pem"):
        create_signer(path)
    assert load_signer(path).kid == kid


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601, 0o620])
def test_a_key_file_that_others_can_touch_is_refused_with_the_right_mode(mode, tmp_path):
    path = tmp_path / "agent.pem"  # row 94
    create_signer(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"{mode:04o}.*0600"):
        load_signer(path)


def test_a_symbolic_link_to_a_key_is_refused(tmp_path):  # row 94
    create_signer(tmp_path / "agent.pem")
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "agent.pem")
    with pytest.raises(KeyFileError, match=r"link\.pem"):
        load_signer(link)


def test_a_new_key_is_not_written_through_a_link(tmp_path):
    link = tmp_path / "agent.pem"
    link.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(KeyFileError):
        create_signer(link)
    assert not (tmp_path / "elsewhere.pem").exists()


def test_a_key_file_of_another_user_is_refused(tmp_path, monkeypatch):  # row 94
    path = tmp_path / "agent.pem"
    create_signer(path)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(KeyFileError, match=f"user {owner}"):
        load_signer(path)


def test_a_missing_key_file_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match=r"none\.pem"):
        load_signer(tmp_path / "none.pem")


def test_a_folder_in_place_of_a_key_file_is_refused(tmp_path):
    folder = tmp_path / "agent.pem"
    folder.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="regular file"):
        load_signer(folder)


def contents():
    plain = serialization.NoEncryption()
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
    return {
        "empty": b"",
        "text": b"hello\n",
        "encrypted": private.private_bytes(
            *pkcs8, serialization.BestAvailableEncryption(b"correct horse")
        ),
        "public": FileSigner(private).public_pem(),
        "other kind": ec.generate_private_key(ec.SECP384R1()).private_bytes(*pkcs8, plain),
        "cut": private.private_bytes(*pkcs8, plain)[:-40],
        "binary": bytes(range(256)),
    }


@pytest.mark.parametrize("content", contents().values(), ids=contents())
def test_a_file_that_holds_no_plain_ed25519_key_is_refused_without_showing_it(content, tmp_path):
    path = tmp_path / "agent.pem"  # row 94
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"agent\.pem") as caught:
        load_signer(path)
    for line in content.splitlines():
        assert len(line) < 20 or line.decode("latin-1") not in str(caught.value)


@pytest.mark.parametrize("algorithm", [ED25519, ES256], ids=["Ed25519", "ES256"])
def test_an_encrypted_key_opens_with_its_passphrase_only(algorithm, tmp_path):  # row 94
    path = tmp_path / "agent.pem"
    kid = create_signer(path, algorithm=algorithm, passphrase=b"correct horse").kid
    assert load_signer(path, b"correct horse").kid == kid
    for passphrase, why in ((None, "passphrase file is needed"), (b"staple", "does not open")):
        with pytest.raises(KeyFileError, match=why) as caught:
            load_signer(path, passphrase)
        assert "staple" not in str(caught.value)


def test_an_empty_key_file_is_named_as_empty(tmp_path):  # row 94
    path = tmp_path / "agent.pem"
    path.touch(mode=0o600)
    with pytest.raises(KeyFileError, match="empty; a PKCS#8 PEM key is right"):
        load_signer(path)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o777])
def test_a_key_in_a_folder_where_others_write_is_refused(mode, tmp_path):
    folder = tmp_path / "keys"
    create_signer(folder / "agent.pem")
    folder.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 0700"):
        load_signer(folder / "agent.pem")


def test_a_secret_in_systemd_s_credentials_folder_may_be_root_s(tmp_path, monkeypatch):
    path = tmp_path / "pin"
    path.touch(mode=0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 7)
    if owner == 0:
        assert read_secret(path) == b""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "elsewhere"))
    with pytest.raises(KeyFileError, match=f"user {owner}"):
        read_secret(path)


@given(st.binary(max_size=40))
def test_an_es256_signature_has_one_accepted_form(message):
    signer = ES256_KEY
    public = public_key(signer.public_spki())
    signature = signer.sign(message)
    public.verify(signature, message)
    r, s = signature[:32], int.from_bytes(signature[32:], "big")
    assert s <= P256_ORDER // 2
    for other in (P256_ORDER - s, 0, P256_ORDER, s + 1):
        with pytest.raises(BadSignature):
            public.verify(r + other.to_bytes(32, "big"), message)
    for bad in (b"", signature[:63], signature + b"\x00"):
        with pytest.raises(BadSignature):
            public.verify(bad, message)


def test_a_key_is_not_copied_or_pickled(signer):
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(signer)


def test_nothing_of_a_private_key_is_in_what_can_be_printed():  # row 100
    seed = bytes(range(64, 96))
    signer = FileSigner(Ed25519PrivateKey.from_private_bytes(seed))
    shown = f"{signer!r} {signer} {[signer]}"
    assert signer.kid.hex() in shown
    assert seed.hex() not in shown
    assert str(seed) not in shown


# -- enrolment --------------------------------------------------------------------------------


def test_a_ring_finds_a_key_for_its_own_agent_only(ring, signer, gateway_signer):
    assert ring.find(signer.kid, "al-001", "gw-01").agent == "gw-01"
    with pytest.raises(WrongAgent):
        ring.find(signer.kid, "al-001", "gw-02")
    with pytest.raises(WrongAgent):
        ring.find(signer.kid, "al-002", "gw-01")
    with pytest.raises(UnknownKey):
        ring.find(gateway_signer.kid, "al-001", "gw-01")


@pytest.mark.parametrize(("at_ns", "valid"), [(99, False), (100, True), (200, True), (201, False)])
def test_a_key_is_valid_from_its_first_to_its_last_moment(at_ns, valid, signer):  # rows 26, 27
    enrolment = Enrolment("al-001", "gw-01", public_key(signer.public_spki()), 100, 200)
    assert KeyRing([enrolment]).enrolments() == [enrolment]
    if valid:
        check_time(enrolment, at_ns)
        return
    with pytest.raises(KeyNotValid):
        check_time(enrolment, at_ns)


def test_a_batch_that_ends_after_its_key_is_refused(signer, make_batch):  # row 26
    from edge_agent.wire import batch as wire_batch

    batch = make_batch()
    public = public_key(signer.public_spki())
    raw = wire_batch.sign(batch, signer)
    fits = KeyRing([Enrolment("al-001", "gw-01", public, batch.first_ns + 1, batch.last_ns)])
    assert wire_batch.verify(raw, "al-001", "gw-01", fits).flags == ()
    short = KeyRing([Enrolment("al-001", "gw-01", public, 0, batch.last_ns - 1)])
    with pytest.raises(KeyNotValid):
        wire_batch.verify(raw, "al-001", "gw-01", short)

"""Keys in a PKCS#11 token (SoftHSM): they sign there, cannot be taken out, and come back."""

import os
import pickle
import subprocess

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from edge_agent.errors import KeyFileError, SignerUnavailable
from edge_agent.wire import cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import ED25519, ES256, public_key
from edge_agent.wire.keys.hsm import HsmSigner, create_hsm_key


@pytest.fixture
def slot(soft_hsm, tmp_path):
    return soft_hsm.slot(tmp_path)


@pytest.mark.parametrize("algorithm", [ED25519, ES256], ids=["Ed25519", "ES256"])
def test_a_key_in_a_token_signs_messages_that_verify(slot, algorithm):
    signer = create_hsm_key(slot, algorithm)
    public = public_key(signer.public_spki())
    raw = cose.sign(MessageType.BATCH, b"\xa0", signer)
    assert public.algorithm == algorithm
    assert cose.verify(raw, MessageType.BATCH, lambda _: public).kid == signer.kid


def test_a_key_made_in_a_token_cannot_be_taken_out(slot):
    create_hsm_key(slot).close()
    session = pkcs11.lib(str(slot.module)).get_token(token_label=slot.token).open(user_pin="2468")
    key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label="signing")
    assert key[Attribute.SENSITIVE]
    assert not key[Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.AttributeSensitive):
        key[Attribute.VALUE]
    session.close()


def test_a_key_that_could_be_taken_out_is_refused(slot):
    token = pkcs11.lib(str(slot.module)).get_token(token_label=_made_known(slot))
    session = token.open(user_pin="2468", rw=True)
    curve = {Attribute.EC_PARAMS: bytes.fromhex("06032b6570")}
    session.create_domain_parameters(KeyType.EC_EDWARDS, curve, local=True).generate_keypair(
        mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        store=True,
        label="signing",
        private_template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    session.close()
    with pytest.raises(KeyFileError, match="not extractable"):
        HsmSigner(slot)


def _made_known(slot):
    pkcs11.lib(str(slot.module)).reinitialize()
    return slot.token


def test_a_second_key_of_the_same_label_is_not_made(slot):
    kid = create_hsm_key(slot).kid
    with pytest.raises(KeyFileError, match="already"):
        create_hsm_key(slot)
    assert HsmSigner(slot).kid == kid


def test_an_unplugged_token_is_unavailable_and_signs_again_when_it_is_back(slot, soft_hsm):
    signer = create_hsm_key(slot)
    soft_hsm.unplug()
    for _ in range(3):
        with pytest.raises(SignerUnavailable, match="token"):
            signer.sign(b"message")
    soft_hsm.plug()
    public_key(signer.public_spki()).verify(signer.sign(b"message"), b"message")


def test_a_token_that_came_back_with_another_key_does_not_sign(slot, soft_hsm):
    signer = create_hsm_key(slot)
    soft_hsm.unplug()
    with pytest.raises(SignerUnavailable):
        signer.sign(b"message")
    soft_hsm.plug()
    session = (
        pkcs11.lib(str(slot.module))
        .get_token(token_label=_made_known(slot))
        .open(user_pin="2468", rw=True)
    )
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        session.get_key(object_class=kind, label="signing").destroy()
    session.close()
    create_hsm_key(slot).close()
    with pytest.raises(SignerUnavailable, match="another key"):
        signer.sign(b"message")


# -- the PIN (row 95) -------------------------------------------------------------------------


@pytest.fixture
def wrong(slot):
    create_hsm_key(slot).close()
    slot.pin_file.write_text("9999")
    return slot


def test_a_refused_pin_is_tried_once_even_over_restarts(wrong):
    script = (
        "import sys, pathlib\n"
        "from edge_agent.wire.keys.hsm import HsmSigner, Slot\n"
        "from edge_agent.errors import SignerUnavailable\n"
        "path = pathlib.Path\n"
        "slot = Slot(path(sys.argv[1]), sys.argv[2], 'signing', path(sys.argv[3]), path(sys.argv[4]))\n"
        "try: HsmSigner(slot)\n"
        "except SignerUnavailable as error: print(error)\n"
    )
    import sys

    command = [sys.executable, "-c", script, str(wrong.module), wrong.token]
    command += [str(wrong.pin_file), str(wrong.mark)]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert "PinIncorrect" in first
    assert "not tried again" in second
    assert "9999" not in first + second


def test_a_pin_file_written_anew_is_tried_again(wrong):
    with pytest.raises(SignerUnavailable, match="PinIncorrect"):
        HsmSigner(wrong)
    with pytest.raises(SignerUnavailable, match="not tried again"):
        HsmSigner(wrong)
    wrong.pin_file.unlink()
    wrong.pin_file.touch(0o600)
    wrong.pin_file.write_text("2468")
    assert len(HsmSigner(wrong).sign(b"message")) == 64
    assert not wrong.mark.exists()


def test_the_mark_of_a_refused_pin_says_nothing_of_the_pin(wrong):
    with pytest.raises(SignerUnavailable):
        HsmSigner(wrong)
    info = wrong.pin_file.stat()
    assert wrong.mark.read_text() == f"{info.st_dev} {info.st_ino} {info.st_mtime_ns}"


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_pin_file_that_others_can_read_is_refused(slot, mode):
    create_hsm_key(slot)
    slot.pin_file.chmod(mode)
    with pytest.raises(KeyFileError, match="0600"):
        HsmSigner(slot)


def test_a_token_that_is_not_there_is_named_and_a_wrong_library_too(slot, soft_hsm):
    soft_hsm.unplug()
    with pytest.raises(SignerUnavailable, match=slot.token):
        HsmSigner(slot)
    from dataclasses import replace

    with pytest.raises(SignerUnavailable, match=r"nothing\.so"):
        HsmSigner(replace(slot, module=slot.pin_file.parent / "nothing.so"))


def test_nothing_of_a_token_key_is_shown_or_copied(slot):
    signer = create_hsm_key(slot)
    assert "2468" not in repr(signer)
    with pytest.raises(TypeError):
        pickle.dumps(signer)
    assert "2468" not in str(vars(signer))
    assert os.environ.get("SOFTHSM2_CONF")

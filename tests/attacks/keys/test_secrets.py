"""No key, PIN or passphrase in logs, tracebacks, status, configuration or files (row 100)."""

import logging
import subprocess
import sys
import traceback

import cbor2
import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from edge_agent import cli as agent_cli
from edge_agent import config as agent_config
from edge_agent.agent import Agent
from edge_agent.errors import CarbonError
from edge_agent.wire import cose
from edge_agent.wire.keys.hsm import create_hsm_key
from gateway import cli as gateway_cli

PIN, PASSPHRASE = "86429753", "correct horse battery"


def forms(secret):
    """The ways in which a secret could be written down."""
    return {secret, secret.hex(), repr(secret)[2:-1].encode().decode(), str(list(secret))[1:-1]}


def seed(path, passphrase=None):
    private = serialization.load_pem_private_key(path.read_bytes(), passphrase)
    return private.private_bytes_raw()


@pytest.fixture
def secrets(tmp_path, soft_hsm):
    """A file key with a passphrase, a token key with a PIN, and a gateway's key."""
    (tmp_path / "keys").mkdir(mode=0o700)
    phrase = tmp_path / "keys/phrase"
    phrase.touch(0o600)
    phrase.write_text(PASSPHRASE)
    assert gateway_cli.main(["keys", "new", str(tmp_path / "keys/gateway.pem")]) == 0
    slot = soft_hsm.slot(tmp_path / "keys", PIN)
    create_hsm_key(slot).close()
    return tmp_path, soft_hsm, slot


def write(folder, keys):
    tag = {"id": "hall", "address": 1, "type": "float32", "unit": "degC"}
    device = {"id": "plc", "driver": "modbus", "host": "127.0.0.1", "port": 9, "unit": 1,
              "interval_s": 60, "tags": [tag]}  # fmt: skip
    plain = {
        "site": "al-001", "agent": "gw-01", "state_dir": "state", "factor_set": "ipcc-2006",
        "keys": {**keys, "gateway": ["keys/gateway.pub.pem"]}, "devices": [device],
    }  # fmt: skip
    (folder / "agent.yaml").write_text(yaml.safe_dump(plain))
    return folder / "agent.yaml"


def test_nothing_secret_is_logged_printed_raised_sent_or_left_readable(secrets, caplog, capsys):
    folder, soft_hsm, slot = secrets
    caplog.set_level(logging.DEBUG)
    raised = []

    def attempt(*words):
        agent_cli.main(["--log-level", "DEBUG", *map(str, words)])

    in_file = {"signing": "keys/agent.pem", "passphrase_file": "keys/phrase"}
    path = write(folder, in_file)
    attempt("keys", "new", path)
    for verb in ("show", "status"):
        attempt("keys", verb, path)
    attempt("keys", "csr", path, "--nonce", "00" * 32, "--out", folder / "request")
    attempt("keys", "csr", path, "--nonce", PASSPHRASE, "--out", folder / "request2")
    messages = _messages(path, raised)
    (folder / "keys/phrase").write_text("wrong " + PASSPHRASE[::-1])
    attempt("check", path)
    messages += _messages(path, raised)
    token = {"module": str(slot.module), "token": slot.token, "pin_file": str(slot.pin_file)}
    path = write(folder, {"pkcs11": token})
    messages += _messages(path, raised)
    soft_hsm.unplug()
    messages += _messages(path, raised)
    soft_hsm.plug()
    slot.pin_file.write_text(PIN[::-1])
    messages += _messages(path, raised)
    messages += _messages(path, raised)
    assert len(raised) >= 4
    said = "\n".join((caplog.text, *capsys.readouterr(), *raised)).encode() + b"".join(messages)
    secret = [PIN.encode(), PIN[::-1].encode(), PASSPHRASE.encode(), PASSPHRASE[::-1].encode()]
    secret.append(seed(folder / "keys/agent.pem", PASSPHRASE.encode()))
    secret.append(seed(folder / "keys/gateway.pem"))
    for one in secret:
        for form in forms(one):
            form_bytes = form if isinstance(form, bytes) else form.encode()
            assert form_bytes not in said, form_bytes[:4]
    assert b"PRIVATE KEY" not in said
    _check_files(folder, secret)


def _messages(path, raised):
    """What an agent of this configuration would send; what it raises is kept with its values."""
    try:
        agent = Agent(agent_config.load(path))
    except CarbonError as error:
        told = traceback.TracebackException.from_exception(error)
        raised.append("".join(told.format()) + repr(error))
        return []
    signed = [agent._uplink._status("up") or b"", *agent._outbox.configs()]
    config = cbor2.loads(cose.parse(signed[1]).payload)
    raised_text = repr(agent._identity) + repr(config) + repr(agent.health)
    agent._outbox.close()
    agent._worker.shutdown()
    return [*signed, raised_text.encode()]


def _check_files(folder, secret):
    """Whatever holds a secret is its owner's alone."""
    for file in folder.rglob("*"):
        if file.is_file():
            found = any(one in file.read_bytes() for one in [*secret, b"PRIVATE KEY"])
            assert not found or file.stat().st_mode & 0o077 == 0, file


def test_a_process_that_holds_keys_makes_no_core_dump_and_lets_nobody_attach():
    script = (
        "import ctypes, os, resource\n"
        "from edge_agent.process import harden\n"
        "harden()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),"
        " oct(os.umask(0)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "(0, 0) 0 0o77"


@pytest.mark.parametrize("program", ["edge-agent", "carbon-gateway"])
def test_both_programs_harden_themselves_before_they_do_anything(program, tmp_path, monkeypatch):
    called = []
    module = agent_cli if program == "edge-agent" else gateway_cli
    monkeypatch.setattr(module, "harden", lambda: called.append(True))
    words = ["keys-new"] if program == "edge-agent" else ["keys", "new"]
    assert module.main([*words, str(tmp_path / "k" / "a.pem")]) == 0
    assert called


def test_the_signing_key_is_no_tls_key(tmp_path, capsys):
    (tmp_path / "keys").mkdir(mode=0o700)
    path = write(tmp_path, {"signing": "keys/agent.pem"})
    plain = yaml.safe_load(path.read_text())
    plain["mqtt"] = {"tls": {"ca": "ca.crt", "cert": "tls.crt", "key": "keys/agent.pem"}}
    path.write_text(yaml.safe_dump(plain))
    assert agent_cli.main(["keys", "new", str(path)]) == 0
    command = ["keys", "csr", str(path), "--tls", "--out", str(tmp_path / "request")]
    assert agent_cli.main(command) == 2
    assert "mqtt.tls.key" in capsys.readouterr().err
    assert not (tmp_path / "request").exists()


def test_a_tls_key_that_others_can_read_is_refused(tmp_path):
    from edge_agent.errors import KeyFileError
    from edge_agent.wire.tls import TlsClient

    folder = tmp_path / "ca"
    assert gateway_cli.main(["ca", "init", str(folder)]) == 0
    command = ["ca", "service", str(folder), "ingest", "--out", str(tmp_path / "tls")]
    assert gateway_cli.main(command) == 0
    certificate, key = tmp_path / "tls/ingest.crt", tmp_path / "tls/ingest.pem"
    assert TlsClient(folder / "ca.crt", certificate, key).context
    key.chmod(0o644)
    with pytest.raises(KeyFileError, match="0600"):
        TlsClient(folder / "ca.crt", certificate, key)

"""One process at a time writes a state folder; real processes, ended as they end."""

import sqlite3
import subprocess
import sys
import time

import pytest
import yaml

from edge_agent.wire.keys import create_signer
from edge_agent.wire.messages import Ack, sign_ack

START_S = 60


@pytest.fixture
def files(tmp_path):
    """The configuration of an agent whose broker is silent, and an ack for it."""
    create_signer(tmp_path / "k.pem")
    gateway = create_signer(tmp_path / "gw.pem")
    tag = {"id": "hall", "address": 1, "type": "float32", "unit": "degC"}
    device = {"id": "plc", "driver": "modbus", "host": "127.0.0.1", "port": 9, "unit": 1,
              "interval_s": 60, "enabled": False, "tags": [tag]}  # fmt: skip
    config = {
        "site": "al-001",
        "agent": "gw-01",
        "state_dir": "state",
        "keys": {"signing": "k.pem", "gateway": ["gw.pub.pem"]},
        "mqtt": {"port": 9},
        "factor_set": "ipcc-2006",
        "devices": [device],
    }
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(config))
    ack = Ack(seq=7, sha256=bytes(32), site="al-001", agent="gw-01", at_ns=1)
    (tmp_path / "ack.bin").write_bytes(sign_ack(ack, gateway))
    return tmp_path


@pytest.fixture
def start(files):
    """Starts an agent; gives its process once it runs."""
    started = []

    def run():
        log = files / f"agent-{len(started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge_agent.cli", "run", files / "agent.yaml"], stderr=out
            )
        started.append(process)
        end = time.monotonic() + START_S
        while "started site=" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait(START_S)


def verb(files, name, *options):
    """Exit code and complaint of a verb that ends by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent.cli", name, files / "agent.yaml", *options],
        capture_output=True, text=True, check=False, timeout=START_S,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def resume(files):
    since = "2026-03-01T08:00+08:00"
    options = ("--reason", "disk", "--operator", "li", "--lost-since", since)
    return verb(files, "resume-from-ack", *options, "--ack", files / "ack.bin")


def head(files):
    with sqlite3.connect(files / "state/outbox.sqlite") as outbox:
        found = outbox.execute("SELECT value FROM meta WHERE key = 'acked'").fetchall()
    outbox.close()
    return found


def test_a_second_agent_on_a_state_folder_is_refused_and_the_first_goes_on(files, start):
    first = start()
    code, said = verb(files, "run")
    assert code == 1
    assert f"{files / 'state'}: in use by another edge-agent process" in said
    assert "Traceback" not in said
    assert first.poll() is None


def test_resume_from_ack_beside_a_running_agent_is_refused_and_writes_nothing(files, start):
    start()
    code, said = resume(files)
    assert code == 1
    assert f"{files / 'state'}: in use by another edge-agent process" in said
    assert head(files) == []


def test_the_lock_of_a_killed_agent_holds_nobody_back(files, start):
    first = start()
    first.kill()
    first.wait(START_S)
    assert (files / "state/lock").exists()
    assert start().poll() is None


def test_the_lock_of_resume_from_ack_ends_with_it(files, start):
    assert resume(files)[0] == 0
    assert start().poll() is None


def test_a_lock_file_that_cannot_be_opened_is_named(files):
    (files / "state").mkdir()
    (files / "state/lock").symlink_to(files / "elsewhere")
    code, said = resume(files)
    assert code == 1
    assert f"{files / 'state/lock'}: cannot be opened" in said
    assert not (files / "elsewhere").exists()

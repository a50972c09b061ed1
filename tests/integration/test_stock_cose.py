"""A stock COSE implementation that is not the one we sign with verifies a batch."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.keys import FileSigner

PROJECT = Path(__file__).resolve().parents[1] / "data" / "stock-cose"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39)))


@pytest.fixture(scope="module")
def project(stock_project):
    # npm writes no optional packages into this lock, without which "ci" refuses it
    return stock_project("stock-cose", "install")


@pytest.fixture(scope="module")
def signed():
    start = 1_790_784_000_000_000_000
    columns = Columns(
        ("line1.current_ka", "metal.count"), [0, 1], [start, start], [299.5, 7], [0, 0]
    )
    batch = Batch(
        "al-001", "gw-01", 3, bytes(range(32)), bytes(range(16)), start, start + 60 * 10**9,
        (1, 2), ClockState(), bytes(32), "edge-agent/test", columns,
        ({"t": start, "type": "gap", "from": start, "to": start + 5, "pots": ["pot001"]},),
    )  # fmt: skip
    return wire_batch.sign(batch, FileSigner(PRIVATE))


def verify(project, message):
    public = base64.urlsafe_b64encode(PRIVATE.public_key().public_bytes_raw()).rstrip(b"=")
    return subprocess.run(
        ["node", "verify.mjs", public.decode()],
        cwd=project, input=message, capture_output=True, check=False,
    )  # fmt: skip


def test_a_stock_library_verifies_our_batch(project, signed):
    done = verify(project, signed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(b"verified")


@pytest.mark.parametrize("place", [-1, 200, 20])
def test_a_stock_library_refuses_a_changed_batch(project, signed, place):
    changed = bytearray(signed)
    changed[place] ^= 1
    assert verify(project, bytes(changed)).returncode != 0


def test_the_locked_packages_carry_no_address():
    text = (PROJECT / "package-lock.json").read_text()
    assert '"integrity"' in text
    assert "resolved" not in text

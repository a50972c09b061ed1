"""A gateway with a plant CA and people, and an agent whose key an operator approved."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from enrolled_plant import Plant


@pytest.fixture
def plant(tmp_path, signer):
    """The agent's key is enrolled and its configuration known."""
    made = Plant(tmp_path)
    made.enrol(signer)
    made.configure(signer)
    yield made
    made.ledger.close()


@pytest.fixture
def strict(tmp_path, signer):
    """The same where approvals are required."""
    made = Plant(tmp_path, approval=True)
    made.enrol(signer)
    made.configure(signer)
    yield made
    made.ledger.close()


@pytest.fixture
def peers():
    """Opens clients of a broker, and closes them after the test."""
    opened = []
    yield lambda peer: opened.append(peer) or peer.up()
    for peer in opened:
        peer.close()

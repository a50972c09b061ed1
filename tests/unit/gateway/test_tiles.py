"""The exported log is the tree: any reader of tiles finds the checkpoint's root in it."""

import hashlib

import pytest

from edge_agent.wire import merkle, notes
from gateway import tiles
from gateway.checkpoints import Checkpointer
from gateway.ledger import Draft

ORIGIN = "carbon-log/test"


@pytest.fixture
def log(ledger, gateway_signer):
    checkpointer = Checkpointer(ledger, gateway_signer, ORIGIN, 3_600)

    def grow(count):
        for number in range(ledger.tree.size(), ledger.tree.size() + count):
            ledger.documents.add(Draft("enrol", "al-001", f"{number}", f"{number}".encode(), 5))
        return checkpointer.now(7)

    return grow


def test_the_exported_files_hold_the_checkpoints_tree(log, ledger, tmp_path, gateway_signer):
    made = log(600)
    out = tmp_path / "log"
    tiles.export(ledger.tree, made, out)
    key = notes.note_key(ORIGIN, gateway_signer.public_spki())
    head = notes.verify_checkpoint((out / "checkpoint").read_text(), key)
    names = ["000", "001", "002.p/88"]
    hashes = b"".join((out / "tile/0" / name).read_bytes() for name in names)
    leaves = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    assert (head.size, head.root) == (600, merkle.root(leaves))
    upper = (out / "tile/1/000.p/2").read_bytes()
    assert upper == merkle.root(leaves[:256]) + merkle.root(leaves[256:512])
    entries = b"".join((out / "tile/entries" / name).read_bytes() for name in names)
    found = []
    while entries:
        length = int.from_bytes(entries[:2], "big")
        found.append(hashlib.sha256(b"\0" + entries[2 : 2 + length]).digest())
        entries = entries[2 + length :]
    assert found == leaves


def test_full_tiles_stay_when_the_log_grows(log, ledger, tmp_path):
    out = tmp_path / "log"
    tiles.export(ledger.tree, log(300), out)
    before = (out / "tile/0/000").stat().st_mtime_ns
    assert tiles.export(ledger.tree, log(0), out) == 0
    assert tiles.export(ledger.tree, log(20), out) > 0
    assert (out / "tile/0/000").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("number", "width", "name"),
    [(0, 256, "000"), (5, 3, "005.p/3"), (1_234_067, 256, "x001/x234/067")],
)
def test_tile_names_are_those_of_the_specification(number, width, name):
    assert tiles._name(number, width) == name

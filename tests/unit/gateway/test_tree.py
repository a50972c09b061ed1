"""The growing tree: one leaf for each signed document, in the document's own transaction."""

import hashlib
import sqlite3

import pytest

from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, merkle
from edge_agent.wire.cose import MessageType
from gateway.ledger import Checkpoint, Draft, Evidence, Ledger

SITE, AGENT = "al-001", "gw-01"


def entries(made, ring):
    return [(wire_batch.verify(raw, SITE, AGENT, ring), 5) for raw in made]


def config(chain, signer):
    return cose.verify(chain.config(), MessageType.CONFIG, lambda _: _public(signer))


def _public(signer):
    from edge_agent.wire.keys import public_key

    return public_key(signer.public_spki())


@pytest.fixture
def filled(ledger, chain, ring, signer):
    """A ledger with a configuration, a document and seven batches."""
    made = chain.batches(7)
    ledger.write(
        Evidence(
            configs=[(SITE, AGENT, config(chain, signer), 5)],
            batches=entries(made, ring),
            documents=[Draft("enrol", SITE, AGENT, b"one", 5)],
        )
    )
    return ledger


def test_every_signed_document_has_a_leaf_of_the_specified_bytes(filled, chain):
    found = [cbor.decode(leaf) for _, leaf, _ in filled.tree.leaves()]
    hashes = [hashlib.sha256(raw).digest() for raw in chain.batches(7)]
    assert found[1:8] == [["batch", SITE, AGENT, seq, hashes[seq - 1]] for seq in range(1, 8)]
    assert found[0][:2] == ["config", SITE]
    assert found[8] == ["enrol", SITE, AGENT, 1, hashlib.sha256(b"one").digest()]


def test_roots_and_proofs_of_every_size_are_those_of_the_plain_tree(filled):
    hashes = [merkle.leaf_hash(leaf) for _, leaf, _ in filled.tree.leaves()]
    for size in range(1, 10):
        assert filled.tree.root(size) == merkle.root(hashes[:size])
        for index in range(size):
            path = filled.tree.inclusion(index, size)
            found = merkle.root_by_inclusion(hashes[index], index, size, path)
            assert found == merkle.root(hashes[:size])
        merkle.check_consistency(
            (size, merkle.root(hashes[:size])),
            (9, merkle.root(hashes)),
            filled.tree.consistency(size, 9),
        )


def test_repeats_and_failed_transactions_add_no_leaf(filled, chain, ring):
    before = filled.tree.size(), filled.tree.root()
    filled.append(entries(chain.batches(7), ring))
    filled.documents.add(Draft("enrol", SITE, AGENT, b"one", 6))
    made = chain.batches(9)
    with pytest.raises(Exception, match="missing|gap|expected|follow|next"):
        filled.append(entries([made[8]], ring))
    assert (filled.tree.size(), filled.tree.root()) == before


def test_a_ledger_from_before_the_tree_is_given_its_leaves(filled, tmp_path):
    before = filled.tree.size(), filled.tree.root()
    filled.close()
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    db.execute("DROP TABLE leaves")
    db.commit()
    db.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert (again.tree.size(), again.tree.root()) == before
    again.close()


def test_a_leaf_is_found_by_its_data(filled, chain):
    leaf = merkle.batch_leaf(SITE, AGENT, 3, hashlib.sha256(chain.batches(3)[2]).digest())
    assert filled.tree.index_of(leaf) == 3
    assert filled.tree.index_of(b"nothing") is None


@pytest.mark.parametrize(
    "statement",
    ["UPDATE leaves SET hash = x'00'", "UPDATE leaves SET completed = x''", "DELETE FROM leaves"],
)
def test_leaves_and_nodes_cannot_be_changed(filled, tmp_path, statement):
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(statement)
    other.close()


def test_checkpoints_are_kept_by_size_and_the_first_one_stays(ledger):
    for size, note in ((3, "three"), (8, "eight"), (3, "another")):
        ledger.tree.add_checkpoint(Checkpoint(size, bytes(32), size, note, bytes(32)))
    assert [one.note for one in ledger.tree.checkpoints()] == ["three", "eight"]
    assert ledger.tree.checkpoint().note == "eight"
    assert ledger.tree.checkpoint(7).note == "three"
    assert ledger.tree.checkpoints(4)[0].note == "eight"
    assert ledger.tree.checkpoint(2) is None
    ledger.tree.add_cosignature(8, "w2", "b")
    ledger.tree.add_cosignature(8, "w1", "a")
    assert ledger.tree.cosignatures(8) == ["a", "b"]


def to_former_layout(path, raws):
    """The file as it was laid out when nodes had a table and every leaf an index."""
    db = sqlite3.connect(path)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute("DROP INDEX document_leaves")
    db.execute("CREATE INDEX leaves_by_hash ON leaves (hash)")
    db.execute("CREATE TABLE nodes (level, place, hash, PRIMARY KEY (level, place))")
    for position, completed in db.execute("SELECT position, completed FROM leaves").fetchall():
        for level in range(1, len(completed) // 32 + 1):
            hash_ = completed[32 * (level - 1) : 32 * level]
            db.execute("INSERT INTO nodes VALUES (?, ?, ?)", (level, position >> level, hash_))
    db.execute("ALTER TABLE leaves DROP COLUMN completed")
    for seq, raw in enumerate(raws, 1):
        db.execute("UPDATE batches SET raw = ?, id = ? WHERE seq = ?", (raw, seq, seq))
    db.execute("ALTER TABLE batches DROP COLUMN base")
    db.commit()
    db.close()


def test_a_ledger_of_the_former_layout_is_read_and_carried_on(filled, tmp_path, chain, ring):
    made = chain.batches(12)
    filled.close()
    to_former_layout(tmp_path / "ledger.sqlite", made[:7])
    again = Ledger(tmp_path / "ledger.sqlite")
    again.append(entries(made, ring))
    hashes = [merkle.leaf_hash(leaf) for _, leaf, _ in again.tree.leaves()]
    assert again.tree.size() == 14
    assert [row.raw for row in again.batches(SITE, AGENT)] == made
    assert [row.raw for row in again.arrivals(SITE)] == made
    for size in range(1, 15):
        assert again.tree.root(size) == merkle.root(hashes[:size])
    for index, leaf, _ in again.tree.leaves():
        assert again.tree.index_of(leaf) == index
    again.close()

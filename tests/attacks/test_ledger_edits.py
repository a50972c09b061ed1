"""Rows 71 to 73: an administrator who edits ledger or store is named by the check."""

import hashlib
import sqlite3
from threading import Thread

import pytest

from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, public_key
from gateway import ledger_audit
from gateway.checkpoints import Checkpointer
from gateway.ledger import Draft, Evidence, Ledger

SITE, AGENT, ORIGIN = "al-001", "gw-01", "carbon-log/test"
CONFIG = cbor.encode({"site": SITE, "timezone": "Asia/Shanghai"})


@pytest.fixture
def path(tmp_path, signer, gateway_signer, make_batch):
    """A ledger of 12 batches and a document, with checkpoints of 7 and 14 leaves."""
    key = public_key(signer.public_spki())
    ring = KeyRing([Enrolment(SITE, AGENT, key)])
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.enrol(ring.enrolments())
    checkpointer = Checkpointer(ledger, gateway_signer, ORIGIN, 3_600)
    raw = cose.sign(MessageType.CONFIG, CONFIG, signer)
    config = cose.verify(raw, MessageType.CONFIG, lambda _: key)
    ledger.write(
        Evidence(
            configs=[(SITE, AGENT, config, 1)],
            documents=[Draft("approval", SITE, AGENT, b"approved", 1)],
        )
    )
    prev = bytes(32)
    for seq in range(1, 13):
        log = None
        if seq == 6:
            stated = checkpointer.now(1)
            log = (stated.size, stated.root)
        raw = wire_batch.sign(
            make_batch(seq=seq, prev=prev, log=log, config_sha256=hashlib.sha256(CONFIG).digest()),
            signer,
        )
        prev = hashlib.sha256(raw).digest()
        ledger.append([(wire_batch.verify(raw, SITE, AGENT, ring), 1)])
    checkpointer.now(2)
    ledger.close()
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def check(path, gateway_signer):
    def run():
        ledger = Ledger(path)
        found = ledger_audit.check(ledger, Checkpointer(ledger, gateway_signer, ORIGIN, 3_600).key)
        ledger.close()
        return found

    return run


def edit(path, *statements):
    """What somebody with the file and without scruples does: triggers first."""
    db = sqlite3.connect(path)
    triggers = db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        assert db.execute(statement).rowcount > 0, statement
    db.commit()
    db.close()


def test_an_untouched_ledger_has_no_findings(check):
    found = check()
    assert (found.batches, found.leaves, found.checkpoints, found.findings) == (12, 14, 2, [])


def test_a_gateway_that_goes_on_writing_is_no_finding(path, check, signer, make_batch):
    ring = KeyRing([Enrolment(SITE, AGENT, public_key(signer.public_spki()))])
    digest = hashlib.sha256(CONFIG).digest()

    def write():
        ledger = Ledger(path)
        prev = ledger.head(SITE, AGENT).sha256
        for seq in range(13, 213):
            raw = wire_batch.sign(make_batch(seq=seq, prev=prev, config_sha256=digest), signer)
            prev = hashlib.sha256(raw).digest()
            ledger.append([(wire_batch.verify(raw, SITE, AGENT, ring), 1)])
        ledger.close()

    writer = Thread(target=write)
    writer.start()
    findings = []
    while writer.is_alive():
        findings += check().findings
    writer.join()
    assert findings == []
    assert check().batches == 212


EDITS = {
    "a batch's bytes": (
        "UPDATE batches SET raw = (SELECT raw FROM batches WHERE seq = 3) WHERE seq = 4",
        "batch 4",
    ),
    "a batch gone": ("DELETE FROM batches WHERE seq = 9", "batch 10: gap"),
    "the newest batch gone": ("DELETE FROM batches WHERE seq = 12", "14 leaves for 13 documents"),
    "a document's bytes": (
        "UPDATE documents SET raw = x'00'",
        "approval gw-01 version 1: not in the tree",
    ),
    "a document gone": ("DELETE FROM documents", "14 leaves for 13 documents"),
    "a configuration gone": ("DELETE FROM configs", "14 leaves for 13 documents"),
    "a leaf's hash": ("UPDATE leaves SET hash = x'00' WHERE position = 5", "leaf 5"),
    "a leaf gone": ("DELETE FROM leaves WHERE position = 13", "13 leaves for 14 documents"),
    "a node": ("UPDATE leaves SET completed = zeroblob(96) WHERE position = 7", "level 1"),
    "a checkpoint's root": (
        "UPDATE checkpoints SET root = zeroblob(32) WHERE size = 14",
        "checkpoint of 14 leaves",
    ),
    "a checkpoint's text": (
        "UPDATE checkpoints SET note = replace(note, '14', '13') WHERE size = 14",
        "checkpoint of 14 leaves",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_named(path, check, name):
    statement, named = EDITS[name]
    edit(path, statement)
    findings = check().findings
    assert any(named in finding for finding in findings), findings


def test_a_tail_cut_off_everywhere_contradicts_the_checkpoint(path, check):
    edit(
        path,
        "DELETE FROM batches WHERE seq > 10",
        "DELETE FROM leaves WHERE position > 11",
    )
    assert any("its end is missing" in finding for finding in check().findings)


def test_a_tree_made_anew_over_other_leaves_contradicts_what_an_agent_carries(
    path, check, gateway_signer
):
    db = sqlite3.connect(path)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    digest = hashlib.sha256(bytes(1)).hexdigest()
    db.execute(f"UPDATE documents SET raw = x'00', sha256 = x'{digest}'")
    for table in ("leaves", "checkpoints"):
        db.execute(f"DROP TABLE {table}")
    db.commit()
    db.close()
    rebuilt = Ledger(path)
    Checkpointer(rebuilt, gateway_signer, ORIGIN, 3_600).now(3)
    rebuilt.close()
    findings = check().findings
    assert any("batch 6: carries a head of 7 leaves" in finding for finding in findings), findings

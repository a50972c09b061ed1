"""Everything signed in a bundle stands in one witnessed log; every change of that is named."""

import hashlib

import pytest

from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, merkle, notes
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from edge_agent.wire.notes import NoteKey
from gateway import bundle as bundle_
from gateway import log_evidence
from gateway.bundle import Bundle, BundleError
from gateway.checkpoints import Checkpointer
from gateway.evidence import BatchReader, replay
from gateway.ledger import Draft, Evidence, Ledger

SITE, AGENT, ORIGIN, WITNESS = "al-001", "gw-01", "carbon-log/test", "witness.example"
CONFIG = cbor.encode({"site": SITE, "timezone": "Asia/Shanghai"})


@pytest.fixture(scope="module")
def packed(tmp_path_factory, signer, make_batch):
    """A bundle's files with batches 1 to 9, their range, the log's key and a witness's."""
    folder = tmp_path_factory.mktemp("log")
    log, witness = create_signer(folder / "k/log.pem"), create_signer(folder / "k/witness.pem")
    ring = KeyRing([Enrolment(SITE, AGENT, public_key(signer.public_spki()))])
    ledger = Ledger(folder / "ledger.sqlite")
    raw_config = cose.sign(MessageType.CONFIG, CONFIG, signer)
    digest = hashlib.sha256(CONFIG).digest()
    key = public_key(signer.public_spki())
    verified = cose.verify(raw_config, MessageType.CONFIG, lambda _: key)
    raws, prev = [], bytes(32)
    for seq in range(1, 10):
        raws.append(wire_batch.sign(make_batch(seq=seq, prev=prev, config_sha256=digest), signer))
        prev = hashlib.sha256(raws[-1]).digest()
    ledger.write(Evidence(configs=[(SITE, AGENT, verified, 1)]))
    for raw in raws:
        ledger.append([(wire_batch.verify(raw, SITE, AGENT, ring), 1)])
        ledger.documents.add(Draft("enrol", SITE, hashlib.sha256(raw).hexdigest(), b"x", 1))
    files = {
        f"batches/{AGENT}.bin": bundle_.pack_batches(enumerate(raws, 1)),
        f"configs/{digest.hex()}.cose": raw_config,
    }
    range_ = replay(SITE, AGENT, enumerate(raws, 1), ring, BatchReader())
    leaves = log_evidence.leaves_of(SITE, [range_], files)
    made = Checkpointer(ledger, log, ORIGIN, 3_600).now(1)
    head, _ = notes.parse(made.note)
    ledger.tree.add_cosignature(made.size, WITNESS, notes.cosign(head, WITNESS, witness, 7))
    files |= log_evidence.pack(ledger.tree, made.size, made.note, made.key, leaves)
    ledger.close()
    keys = [
        notes.note_key(name, one.public_spki()) for name, one in ((ORIGIN, log), (WITNESS, witness))
    ]
    return files, leaves, keys


def test_every_document_is_proven_under_the_pinned_key_and_the_witness_is_named(packed):
    files, leaves, (log, witness) = packed
    checked = log_evidence.check(Bundle(files), leaves, log, [witness])
    assert (checked.leaves, checked.head.size, checked.witnesses) == (10, 19, (WITNESS,))
    assert log_evidence.check(Bundle(files), leaves, None).key == log


def test_a_bundle_without_a_log_says_nothing(packed):
    files, leaves, _ = packed
    without = {name: content for name, content in files.items() if not name.startswith("log/")}
    assert log_evidence.check(Bundle(without), leaves, None) is None


def proof_with(files, **changes):
    proof = cbor.decode(files[log_evidence.INCLUSION]) | changes
    return files | {log_evidence.INCLUSION: cbor.encode(proof)}


def test_a_document_that_is_not_in_the_log_is_found(packed):
    files, leaves, (log, _) = packed
    name = f"{AGENT}/4"
    other = leaves | {name: merkle.batch_leaf(SITE, AGENT, 4, bytes(32))}
    with pytest.raises(BundleError, match="do not give the root"):
        log_evidence.check(Bundle(files), other, log)


@pytest.mark.parametrize("change", ["drop", "add", "swap", "double", "beyond", "missing"])
def test_a_changed_proof_is_found(packed, change):
    files, leaves, (log, _) = packed
    proof = cbor.decode(files[log_evidence.INCLUSION])
    indexes, hashes = list(proof["indexes"]), list(proof["hashes"])
    match change:
        case "drop":
            hashes.pop()
        case "add":
            hashes.append(bytes(32))
        case "swap":
            indexes[1], indexes[2] = indexes[2], indexes[1]
        case "double":
            indexes[1] = indexes[2]
        case "beyond":
            indexes[1] = 500
        case "missing":
            indexes.pop()
    spoilt = proof_with(files, indexes=indexes, hashes=hashes)
    with pytest.raises((BundleError, merkle.ProofError)):
        log_evidence.check(Bundle(spoilt), leaves, log)


def test_a_checkpoint_of_another_key_or_origin_is_refused(packed):
    files, leaves, (log, witness) = packed
    with pytest.raises(Exception, match="not signed by"):
        log_evidence.check(Bundle(files), leaves, NoteKey(ORIGIN, witness.public))
    with pytest.raises(Exception, match="not of"):
        log_evidence.check(Bundle(files), leaves, NoteKey("carbon-log/other", log.public))

"""The verifier's work grows with the batches and not faster: calls are counted, not time."""

import hashlib
import sys

import pytest
from enrolled_plant import AGENT, CONFIG, SITE, Plant, after, batch, key

from edge_agent.wire.chain import ChainHead
from edge_agent.wire.keys import Enrolment, KeyRing, public_key
from gateway import bundle as bundle_
from gateway import decisions, leaf_list, log_evidence
from gateway.bundle import Bundle
from gateway.checkpoints import Checkpointer
from gateway.decisions import FOLDERS
from gateway.evidence import BatchReader, replay

LOG = key(24)


def checked(files):
    """Everything of the check that touches each batch: signature, chain, root, log, leaves."""
    bundle = Bundle(files)
    signer = key(9)
    ring = KeyRing([Enrolment(SITE, AGENT, public_key(signer.public_spki()))])
    ranges = [replay(SITE, AGENT, bundle.batches(AGENT), ring, BatchReader())]
    papers = decisions.read(bundle, SITE)
    leaves = log_evidence.leaves_of(SITE, ranges, files) | decisions.leaves(papers)
    log = log_evidence.check(bundle, leaves, None)
    decisions.check_order(papers, log_evidence.indexes(bundle, leaves))
    assert leaf_list.check(bundle, log.head, SITE, leaves).leaves == log.head.size
    return ranges


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    """Bundles' files with the first so many batches, each under a checkpoint of its own."""
    plant, signer = Plant(tmp_path_factory.mktemp("cost")), key(9)
    plant.enrol(signer)
    plant.configure(signer)
    found, head = {}, ChainHead()
    for seq in range(1, 241):
        raw = batch(signer, head)
        plant.offer(raw)
        plant.settle()
        head = after(head, raw)
        if seq in (60, 120, 240):
            found[seq] = _files(plant, signer, seq)
    plant.ledger.close()
    return found


def _files(plant, signer, count):
    ledger = plant.ledger
    digest = hashlib.sha256(CONFIG).digest()
    files = decisions.pack(ledger.documents.all(*FOLDERS, site=SITE))
    files[f"configs/{digest.hex()}.cose"] = ledger.config(SITE, AGENT, digest)
    rows = [(row.seq, row.raw) for row in ledger.batches(SITE, AGENT)]
    assert len(rows) == count
    files[f"batches/{AGENT}.bin"] = bundle_.pack_batches(rows)
    ring = KeyRing([Enrolment(SITE, AGENT, public_key(signer.public_spki()))])
    ranges = [replay(SITE, AGENT, rows, ring, BatchReader())]
    leaves = log_evidence.leaves_of(SITE, ranges, files)
    leaves |= decisions.leaves(decisions.read(Bundle(files), SITE))
    made = Checkpointer(ledger, LOG, "carbon-log/test", 3_600).now(plant.clock.now_ns)
    files |= log_evidence.pack(ledger.tree, made.size, made.note, made.key, leaves)
    return files | leaf_list.pack(ledger.tree, made.size)


def calls(work):
    """How many calls of Python functions a piece of work makes."""
    count = 0

    def seen(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_twice_the_batches_are_twice_the_work(month):
    checked(month[60])  # what is worked out once and remembered is not counted
    few, more, most = (calls(lambda n=n: checked(month[n])) for n in (60, 120, 240))
    assert few > 60 * 10
    assert 1.9 < (most - more) / (more - few) < 2.1

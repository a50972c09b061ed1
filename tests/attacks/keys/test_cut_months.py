"""A month whose first or last batches a gateway cuts off, and which batches an honest one takes (row 78)."""

from dataclasses import replace

import pytest
from enrolled_month import (
    AGENT,
    DAY,
    GATEWAY,
    NOVEMBER,
    NS,
    SITE,
    T0,
    EnrolledMonth,
    LaterMonth,
)
from enrolled_plant import Plant, after, batch

from edge_agent.wire import cbor
from edge_agent.wire.chain import ChainHead
from gateway import bundle as bundle_
from gateway import decisions, lab, leaf_list, log_evidence
from gateway.bundle import Bundle, BundleError
from gateway.evidence import BatchRange, BatchReader, replay
from gateway.ingest import Verdict
from gateway.leaf_list import Complete, check_stretch
from gateway.reports.stretch import stretch
from gateway.verify import verify

HOUR = 3_600 * NS


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    made = EnrolledMonth(tmp_path_factory.mktemp("quiet"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    made = LaterMonth(tmp_path_factory.mktemp("later"))
    yield made
    made.close()


def cut(month, first, last):
    """The bundle with these batches only, with the log's proof of them."""
    path = month.make("cut")
    files = {
        name: content
        for name, content in bundle_.read(path).files.items()
        if name not in (bundle_.MANIFEST, log_evidence.CHECKPOINT, log_evidence.INCLUSION)
    }
    kept = [item for item in Bundle(files).batches(AGENT) if first <= item[0] <= last]
    files[f"batches/{AGENT}.bin"] = bundle_.pack_batches(kept)
    inside = Bundle(files)
    papers = decisions.read(inside, SITE)
    ranges = [replay(SITE, AGENT, kept, month.ledger.key_ring(), BatchReader())]
    persons = bundle_.person_keys(inside)
    leaves = log_evidence.leaves_of(SITE, ranges, files) | decisions.leaves(papers)
    leaves |= lab.leaves(lab.check(SITE, bundle_.lab_documents(inside), persons))
    tree = month.ledger.tree
    made = tree.checkpoint()
    files |= log_evidence.pack(tree, made.size, made.note, made.key, leaves)
    files |= leaf_list.pack(tree, made.size)
    bundle_.write(path, files, GATEWAY)
    return path


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        (1, 17, "the log holds batches of gw-01 after batch 17, left out here"),
        (1, 10, "the log holds batches of gw-01 after batch 10, left out here"),
        (2, 18, "the log holds batches of gw-01 before batch 2, left out here"),
    ],
)
def test_a_month_whose_ends_are_cut_off_is_contradicted(quiet, first, last, told):
    path = cut(quiet, first, last)
    for trust in (None, quiet.trust()):
        assert told in verify(path, trust).difference


def test_a_month_followed_by_silence_reaches_to_the_batch_behind_it(later, quiet):
    path = later.make()
    verdict = verify(path, later.trust())
    assert verdict.proven, verdict.difference
    first, second = later.later
    assert f"4 chain         {AGENT} 1-{first}" in verdict.lines
    assert any(line.startswith(f"5 stretch       {AGENT}: no batch cut") for line in verdict.lines)
    figures = [
        cbor.decode(bundle_.read(one).files["month.cbor"])["values"] for one in (path, quiet.make())
    ]
    assert figures[0] == figures[1]
    assert second == first + 1
    cut_off = verify(cut(later, 1, first - 1), later.trust())
    assert f"after batch {first - 1}, left out here" in cut_off.difference


RANGE = BatchRange(AGENT, 5, 9, b"", b"", (), (), first_end_ns=T0 - 1, last_start_ns=NOVEMBER)
MONTH = (T0, NOVEMBER)


def judged(batches, aside=(), **changes):
    found = Complete(batches=batches)
    return check_stretch(
        found, [replace(RANGE, **changes)], MONTH, lambda _agent, seq: seq in aside
    )


def test_batches_of_other_months_may_be_left_out_on_both_sides():
    assert judged({AGENT: (1, 20)}) == []
    assert judged({AGENT: (5, 9)}, first_end_ns=T0, last_start_ns=T0) == []


def test_an_agent_without_any_batch_is_named():
    assert judged({AGENT: (5, 9), "gw-07": (1, 2)}) == ["gw-07"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"first_end_ns": T0}, "before batch 5"),
        ({"last_start_ns": NOVEMBER - 1}, "after batch 9"),
        ({"aside": (5,)}, "before batch 5"),
        ({"aside": (9,)}, "after batch 9"),
    ],
)
def test_a_batch_of_the_month_or_of_a_clock_ahead_is_no_end(changes, told):
    with pytest.raises(BundleError, match=told):
        judged({AGENT: (4, 10)}, **changes)


def times(tmp_path, signer, hours):
    """A ledger with one batch at each of these hours from the month's start."""
    plant, head = Plant(tmp_path), ChainHead()
    plant.enrol(signer)
    plant.configure(signer)
    for hour in hours:
        raw = batch(signer, head, first_ns=T0 + hour * HOUR)
        plant.clock.now_ns = T0 + 40 * DAY
        assert plant.offer(raw) is Verdict.ACCEPTED
        plant.settle()
        head = after(head, raw)
    return plant.ledger


LAST = 31 * 24
"""The hour after the month's last."""


@pytest.mark.parametrize(
    ("hours", "aside", "wanted"),
    [
        ((-90, -1, 5, LAST, LAST + 90), (), (2, 4)),
        ((-90, 5, 6, LAST + 90, LAST + 91), (), (1, 4)),
        ((5, 6), (), (1, 2)),
        ((-90, 5, LAST + 1, -80, -70), (), (1, 3)),
        ((-90, 20, -80, -70, -1, 5, LAST), (2,), (5, 7)),
        ((-90, 5, LAST + 3, LAST + 4, LAST + 5), (3, 4), (1, 5)),
        ((-90, 5, 6, 7), (3, 4), (1, 4)),
        ((-90, -80, LAST + 80), (), None),
    ],
    ids=["near", "silence", "all", "old-behind", "ahead-before", "ahead-behind", "tail", "none"],
)
def test_a_month_takes_the_batches_around_it_and_one_on_either_side(
    tmp_path, signer, hours, aside, wanted
):
    ledger = times(tmp_path, signer, hours)
    found = stretch(ledger, (SITE, AGENT), MONTH, lambda _agent, seq: seq in aside)
    assert found == wanted
    ledger.close()

"""Marks of clocks that come often: a hovering clock, or a stolen key, must not stop the reports (row 39)."""

import pytest
from enrolled_plant import AGENT, MINUTE, NOW, SITE, Plant, after, batch, key

from edge_agent.errors import TrustError
from edge_agent.wire import cbor, cose
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from gateway import audit, decisions
from gateway import bundle as bundle_
from gateway.bundle import Bundle, BundleError
from gateway.decisions import Paper
from gateway.ingest import Verdict
from gateway.ingest.recorder import Recorder
from gateway.store.sqlite import SqliteStore
from gateway.trust import clocks

GATEWAY = key(23)


class Line:
    """An agent whose batches arrive ahead of the gateway's clock, or not, as told."""

    def __init__(self, folder, signer):
        self.plant, self.signer, self.head = Plant(folder), signer, ChainHead()
        self.plant.enrol(signer)
        self.plant.configure(signer)
        self.store = SqliteStore(folder / "store.sqlite")
        self.start()

    def start(self):
        parts = (self.plant.intake, self.plant.ledger, self.store, GATEWAY, self.plant.clock)
        self.recorder = Recorder(*parts)

    def send(self, *, ahead):
        raw = batch(self.signer, self.head)
        last_ns = NOW + (self.head.seq + 1) * MINUTE
        self.plant.clock.now_ns = last_ns + (-3_600 * 10**9 if ahead else 10**9)
        assert self.plant.offer(raw) is Verdict.ACCEPTED
        self.recorder.commit()
        self.head = after(self.head, raw)

    def runs(self):
        documents = self.plant.ledger.documents.all(clocks.MARK, site=SITE)
        found = clocks.fold(documents).runs(AGENT, 1, self.head.seq)
        return [(one.first_seq, one.last_seq) for one in found]

    def marks(self):
        return len(list(self.plant.ledger.documents.all(clocks.MARK, site=SITE)))


@pytest.fixture
def line(tmp_path, signer):
    made = Line(tmp_path, signer)
    yield made
    made.recorder.close()


def test_a_clock_that_hovers_around_the_limit_makes_few_marks(line):
    for place in range(200):
        line.send(ahead=place % 2 == 0)
    assert line.marks() == 3
    assert line.runs() == [(1, 1), (3, 200)]
    for _ in range(4):
        line.send(ahead=False)
    assert line.runs() == [(1, 1), (3, 201)]  # batches 200 to 202 made three in a row
    assert line.marks() == 4
    # store and ledger set the same batches aside
    assert audit.compare(line.plant.ledger, line.store, SITE) == []


def test_a_clock_that_was_wrong_once_is_believed_with_its_next_batch(line):
    for ahead in (False, True, True, False, False):
        line.send(ahead=ahead)
    assert line.runs() == [(2, 3)]


def test_a_restart_makes_no_mark_and_ends_no_stretch(line):
    for ahead in (True, False, True, False, False):
        line.send(ahead=ahead)
    line.start()
    line.send(ahead=False)
    line.send(ahead=False)
    assert (line.marks(), line.runs()) == (3, [(1, 1), (3, 7)])
    line.send(ahead=False)
    assert (line.marks(), line.runs()) == (4, [(1, 1), (3, 7)])
    assert audit.compare(line.plant.ledger, line.store, SITE) == []


def mark(version, seq):
    """A gateway's mark; in turn ahead and not."""
    fields = {
        "v": 1, "site": SITE, "agent": AGENT, "at": NOW, "by": "gateway", "reason": clocks.FUTURE,
        "seq": seq, "hash": bytes(32), "t1": NOW, "ahead": version % 2 == 1,
    }  # fmt: skip
    raw = cose.sign(MessageType.CLOCK_MARK, cbor.encode(fields), GATEWAY)
    return Paper(clocks.MARK, SITE, AGENT, version, NOW + version, raw)


def packed(count):
    marks = [mark(version, 2 * version) for version in range(1, count + 1)]
    return marks, decisions.pack(marks)


def test_more_marks_than_a_manifest_has_lines_fit_into_a_bundle(tmp_path):
    marks, files = packed(5_000)
    assert sorted(files) == ["clocks.bin", "documents.cbor"]
    files["keys.cbor"] = bundle_.pack_keys({}, GATEWAY.public_spki(), {})
    bundle_.write(tmp_path / "a.bundle", files, GATEWAY)
    inside = bundle_.read(tmp_path / "a.bundle")
    bundle_.check_manifest(inside, {})
    assert decisions.read(inside, SITE) == marks
    aside = clocks.fold(marks)
    covered = [seq for seq in range(1, 200) if aside.covers(AGENT, seq)]
    assert covered == [seq for seq in range(1, 200) if seq % 4 in (2, 3)]
    assert [(one.first_seq, one.last_seq) for one in aside.runs(AGENT, 3, 8)] == [(3, 3), (6, 7)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content[:-1], "document 2 is cut off"),
        (lambda content: content[: len(content) // 2], "version 2 is listed .* but missing"),
        (lambda content: content + content[: len(content) // 2], "1 documents more than listed"),
        (
            lambda content: content[len(content) // 2 :] + content[: len(content) // 2],
            "another digest",
        ),
        (lambda _: b"", "version 1 is listed"),
    ],
    ids=["cut", "last", "more", "swapped", "none"],
)
def test_a_packed_file_that_is_not_the_list_is_refused(change, told):
    _, files = packed(2)
    files["clocks.bin"] = change(files["clocks.bin"])
    with pytest.raises(BundleError, match=told):
        decisions.read(Bundle(files), SITE)


def test_a_packed_file_that_nobody_listed_is_refused():
    files = decisions.pack([]) | {"clocks.bin": b""}
    with pytest.raises(BundleError, match="not listed"):
        decisions.read(Bundle(files), SITE)


def test_marks_that_do_not_follow_each_other_are_refused():
    with pytest.raises(TrustError, match="mark 2 of gw-01 is of batch 5, the one before it of"):
        clocks.fold([mark(1, 5), mark(2, 5)])

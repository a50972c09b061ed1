"""An agent whose clock was set forward (row 39): its batches are kept, but in no sum until decided."""

from dataclasses import replace

import pytest
import yaml
from enrolled_month import AGENT, GATEWAY, NS, SITE, EnrolledMonth
from enrolled_plant import Plant, after, batch, key

from edge_agent.errors import ConfigError, TrustError
from edge_agent.readings import Columns
from edge_agent.wire import cbor, cose
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import create_signer, public_key
from gateway import audit, cli, decisions, lab, log_evidence
from gateway import bundle as bundle_
from gateway import config as config_
from gateway.bundle import Bundle, BundleError, read, write
from gateway.evidence import BatchRange, BatchReader, replay
from gateway.ingest import Verdict
from gateway.ingest.recorder import Recorder
from gateway.ledger import Draft
from gateway.reports import run as reports
from gateway.store.sqlite import SqliteStore
from gateway.trust import clocks, closing, offline_clocks, statements, verdicts
from gateway.trust.clocks import Run
from gateway.verify import verify

AHEAD = range(3, 6)
"""Batches that arrive an hour before the time they tell; one of them holds the anode effect."""


class AheadMonth(EnrolledMonth):
    """The same month through the service's recorder; the clock was set forward for a while."""

    ahead = AHEAD

    def received_ns(self, seq, last_ns):
        return last_ns + (-3_600 if seq in self.ahead else 60) * NS

    def keep(self, _projection):
        if not hasattr(self, "recorder"):
            self.recorder = Recorder(
                self.plant.intake, self.ledger, self.store, GATEWAY, self.plant.clock
            )
        self.recorder.commit()

    def decide(self, first=AHEAD[0], last=AHEAD[-1], *, counts, signer=None):
        decision = self.plant.decided("checked against the shift log")
        if signer is not None:
            decision = type(decision)(signer, decision.at_ns, decision.reason)
        run = Run(AGENT, first, last, counts=counts)
        verdicts.decide(self.ledger, self.people, self.store, run, SITE, decision)
        audit.rebuild(self.ledger, self.store, SITE)
        self.state()

    def closing(self):
        last = self.head.seq
        return closing.judge(self.ledger, self.people, SITE, [(AGENT, 1, last)], required=True)

    def rows(self):
        """Every row of the store."""
        return {
            (record.series, record.time_ns): record.value
            for series in self.store.series(SITE)
            for record in self.store.read(SITE, series, 0, 2**62)
        }


class CountingMonth(AheadMonth):
    """The same where the clock was right all the time."""

    ahead = ()


@pytest.fixture
def month(tmp_path):
    made = AheadMonth(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """Store rows and report of the month with the right clock."""
    made = CountingMonth(tmp_path_factory.mktemp("right"))
    rows, figures = made.rows(), figures_of(made.make())
    made.close()
    return rows, figures


def figures_of(path):
    """Values of a bundle's month record."""
    return cbor.decode(read(path).files["month.cbor"])["values"]


def rows_of(month, seqs):
    """Series and time of every row of these batches."""
    ring = month.ledger.key_ring()
    return {
        (record.series, record.time_ns)
        for row in month.ledger.batches(SITE, AGENT)
        if row.seq in seqs
        for record in audit.contents(row, ring, clocks.fold(())).columns.records()
    }


def test_rows_of_a_clock_set_forward_are_in_no_sum_and_keep_the_month_open(month, right):
    flagged = [row.seq for row in month.ledger.batches(SITE, AGENT) if "clock_future" in row.flags]
    assert flagged == list(AHEAD)
    whole, figures = right
    assert month.rows().keys() == whole.keys() - rows_of(month, AHEAD)
    assert audit.compare(month.ledger, month.store, SITE) == []
    path = month.make()
    assert figures_of(path) != figures
    (objection,) = [one for one in month.closing().objections if "clock" in one]
    assert objection.startswith(f"batches 3-5 of {AGENT} come from a clock ahead")
    for trust in (None, month.trust()):
        verdict = verify(path, trust)
        assert verdict.proven, verdict.difference
        assert "6 clocks        2 marks, 0 verdicts, 3 batches left out" in verdict.lines
        (told,) = [line for line in verdict.lines if "clock ahead of the gateway's" in line]
        assert "batches 3-5 of gw-01" in told
        assert "left out until an operator decides" in told


def test_rebuild_audit_and_a_restart_set_the_same_batches_aside(month):
    before = month.rows()
    audit.rebuild(month.ledger, month.store, SITE)
    assert month.rows() == before
    month.store.clear(SITE)
    month.recorder.start()
    assert month.rows() == before
    assert audit.compare(month.ledger, month.store, SITE) == []


def test_a_verdict_that_they_count_gives_the_figures_of_the_right_clock(month, right):
    month.decide(counts=True)
    whole, figures = right
    assert month.rows() == whole
    assert audit.compare(month.ledger, month.store, SITE) == []
    path = month.make()
    assert figures_of(path) == figures
    found = month.closing()
    assert not [one for one in found.objections if "clock" in one]
    assert any("are counted: li: checked against the shift log" in one for one in found.notes)
    verdict = verify(path, month.trust())
    assert verdict.proven, verdict.difference
    assert "6 clocks        2 marks, 1 verdicts, 0 batches left out" in verdict.lines


def test_a_verdict_that_they_stay_out_closes_the_month_and_a_later_one_may_say_otherwise(month):
    undecided = figures_of(month.make())
    month.decide(counts=False)
    assert figures_of(month.make("out2")) == undecided
    assert not [one for one in month.closing().objections if "clock" in one]
    month.decide(3, 3, counts=True)
    path = month.make("out3")
    assert figures_of(path) != undecided
    assert audit.compare(month.ledger, month.store, SITE) == []
    verdict = verify(path, month.trust())
    assert verdict.proven, verdict.difference
    told = [line for line in verdict.lines if "clock ahead of the gateway's" in line]
    assert ["3-3" in told[0], "4-5" in told[1]] == [True, True]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"signer": Plant.approver}, "wang is no operator"),
        ({"signer": Plant.stranger}, "is no person's"),
        ({"first": 2}, "set aside are: 3-5"),
        ({"last": 6}, "set aside are: 3-5"),
        ({"first": 5, "last": 4}, "set aside are: 3-5"),
    ],
    ids=["approver", "stranger", "before", "behind", "reversed"],
)
def test_a_verdict_that_breaks_a_rule_is_refused_and_changes_nothing(month, change, told):
    before = month.rows()
    with pytest.raises(TrustError, match=told):
        month.decide(**change, counts=True)
    assert month.rows() == before
    assert list(month.ledger.documents.all(clocks.VERDICT)) == []


def test_a_forged_verdict_in_the_ledger_s_file_is_seen_at_closing_and_offline(month):
    stranger = key(9)
    fields = {
        "site": SITE, "agent": AGENT, "at": 1, "by": "li", "reason": "as told",
        "first_seq": 3, "last_seq": 5, "counts": True,
    }  # fmt: skip
    raw = statements.sign(MessageType.CLOCK_VERDICT, fields, stranger)
    now_ns = month.plant.clock.now_ns
    month.ledger.documents.add(Draft(clocks.VERDICT, SITE, AGENT, raw, now_ns))
    audit.rebuild(month.ledger, month.store, SITE)
    month.state()
    assert any("is no person's" in one for one in month.closing().objections)
    verdict = verify(month.make(), month.trust())
    assert "clocks.bin" in verdict.difference
    assert "is no person's" in verdict.difference


def rewritten(month, change, *, log=True):
    """The bundle with its decisions changed, as a gateway would sign and prove it (or not)."""
    path = month.make()
    files = dict(read(path).files)
    kept = change(decisions.read(Bundle(files), SITE))
    folders = (*decisions.FOLDERS.values(), *(() if log else ("log",)))
    for name in list(files):
        if name in ("manifest.cose", decisions.CLOCKS) or name.partition("/")[0] in folders:
            del files[name]
    files |= decisions.pack(kept)
    inside = Bundle(files)
    if log:
        ring = month.ledger.key_ring()
        ranges = [replay(SITE, AGENT, inside.batches(AGENT), ring, BatchReader())]
        papers = lab.check(SITE, bundle_.lab_documents(inside), bundle_.person_keys(inside))
        leaves = log_evidence.leaves_of(SITE, ranges, files)
        leaves |= decisions.leaves(kept) | lab.leaves(papers)
        made = month.ledger.tree.checkpoint()
        files |= log_evidence.pack(month.ledger.tree, made.size, made.note, made.key, leaves)
    write(path, files, GATEWAY)
    return path


def test_a_bundle_without_the_mark_is_contradicted_by_the_log_s_leaves(month):
    def without_marks(papers):
        return [paper for paper in papers if paper.kind != clocks.MARK]

    verdict = verify(rewritten(month, without_marks), month.trust())
    assert "clock_mark" in verdict.difference
    assert "left out here" in verdict.difference


def test_a_mark_that_the_gateway_did_not_sign_is_contradicted(month):
    def forged(papers):
        return [
            replace(
                paper,
                raw=cose.sign(MessageType.CLOCK_MARK, cose.parse(paper.raw).payload, key(9)),
            )
            if paper.kind == clocks.MARK
            else paper
            for paper in papers
        ]

    verdict = verify(rewritten(month, forged, log=False))
    assert "the mark is not signed by the gateway" in verdict.difference


NEW = key(40)
"""The gateway's key of today; the marks are signed by the one before."""


def made_by_a_new_key(month, former):
    keys = reports.GatewayKeys(NEW, former)
    return reports.make(
        month.ledger, month.store, SITE, "2026-10", keys, month.folder / "new"
    ).files[2]


def test_marks_of_a_former_gateway_key_are_believed_where_the_trust_file_names_it(month):
    path = made_by_a_new_key(month, [public_key(GATEWAY.public_spki())])
    both, new = [NEW.kid.hex(), GATEWAY.kid.hex()], [NEW.kid.hex()]
    for trust in (None, month.trust(trusted=both)):
        verdict = verify(path, trust)
        assert verdict.proven, verdict.difference
    told = verify(path, month.trust(trusted=new)).difference
    assert f"not signed by the gateway, but by key {GATEWAY.kid.hex()}" in told
    assert "keys.former" in verify(made_by_a_new_key(month, [])).difference


def test_a_mark_of_another_month_by_an_unknown_key_is_a_reservation(month):
    papers = decisions.read(bundle_.read(month.make()), SITE)
    aside = clocks.fold(papers)
    keys = {NEW.kid: public_key(NEW.public_spki())}

    def judged(first, last):
        ranges = [BatchRange(AGENT, first, last, b"", b"", (), (bytes(32),) * (last - first + 1))]
        return offline_clocks.judge(papers, (keys, ranges, aside), (None, print))

    unknown = "2 clock marks of batches that are not here are by unknown keys"
    assert judged(1, 2)[0].startswith(unknown)
    assert judged(7, 18)[0].startswith(unknown)
    for first, last in ((1, 3), (4, 5), (5, 8), (6, 8)):
        with pytest.raises(BundleError, match="not signed by the gateway"):
            judged(first, last)


def test_the_former_keys_of_the_gateway_s_file_stand_in_trust_file_and_bundle(tmp_path, capsys):
    create_signer(tmp_path / "ack.pem")
    old = create_signer(tmp_path / "old.pem")
    settings = {
        "state_dir": "state",
        "keys": {"ack": "ack.pem", "former": ["old.pub.pem"]},
        "mqtt": {"host": "127.0.0.1", "port": 1, "client_id": "ingest"},
    }
    (tmp_path / "state").mkdir()
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    (read_key,) = config_.former_keys(config_.load(file))
    assert read_key.kid == old.kid
    assert cli.main(["trust", str(file)]) == 0
    assert old.kid.hex() in capsys.readouterr().out
    (tmp_path / "old.pub.pem").unlink()
    with pytest.raises(ConfigError, match="old.pub.pem"):
        config_.former_keys(config_.load(file))


def test_rows_that_would_stand_twice_cannot_be_counted(tmp_path, signer):
    plant = Plant(tmp_path)
    plant.enrol(signer)
    plant.configure(signer)
    store = SqliteStore(tmp_path / "store.sqlite")
    recorder = Recorder(plant.intake, plant.ledger, store, GATEWAY, plant.clock)
    now = plant.clock.now_ns
    head = ChainHead()
    for received, value in ((now, 1), (now + 3_600 * NS, 2)):
        plant.clock.now_ns = received
        columns = Columns(("line.kwh",), [0], [now + 3_000 * NS], [value], [0])
        raw = batch(signer, head, first_ns=now + 3_000 * NS, columns=columns)
        assert plant.offer(raw) is Verdict.ACCEPTED
        recorder.commit()
        head = after(head, raw)
    assert [record.value for record in store.read(SITE, "line.kwh", 0, 2**62)] == [2]
    run = Run(AGENT, 1, 1, counts=True)
    with pytest.raises(TrustError, match="says 1 of line.kwh at .*, where 2 counts already"):
        verdicts.decide(plant.ledger, plant.people, store, run, SITE, plant.decided())
    left_out = Run(AGENT, 1, 1, counts=False)
    verdicts.decide(plant.ledger, plant.people, store, left_out, SITE, plant.decided())
    recorder.close()


def test_an_operator_decides_by_command(tmp_path, signer, capsys):
    (tmp_path / "state").mkdir()
    plant = Plant(tmp_path / "state")
    plant.enrol(signer)
    plant.configure(signer)
    store = SqliteStore(tmp_path / "state/store.sqlite")
    recorder = Recorder(plant.intake, plant.ledger, store, GATEWAY, plant.clock)
    raw = batch(signer, first_ns=plant.clock.now_ns + 3_600 * NS)
    plant.offer(raw)
    recorder.commit()
    recorder.close()
    create_signer(tmp_path / "li.pem")
    create_signer(tmp_path / "ack.pem")
    settings = {
        "state_dir": "state",
        "keys": {"ack": "ack.pem"},
        "mqtt": {"host": "127.0.0.1", "port": 1, "client_id": "ingest"},
        "people": [{"name": "li", "public_key": "li.pub.pem", "roles": ["operator"]}],
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert cli.main(["clocks", "list", str(file)]) == 0
    assert f"{SITE}/{AGENT} 1-1 waits for a verdict" in capsys.readouterr().out
    words = ["clocks", "decide", str(file), SITE, AGENT, "--first", "1", "--last", "1", "--count"]
    words += ["--by", str(tmp_path / "li.pem"), "--reason", "the meter's own clock agrees"]
    assert cli.main(words) == 0
    assert "batches 1-1 of gw-01 count; 1 batches projected again" in capsys.readouterr().out
    assert cli.main(["clocks", "list", str(file)]) == 0
    assert "1-1 counts, li: the meter's own clock agrees" in capsys.readouterr().out
    again = SqliteStore(tmp_path / "state/store.sqlite")
    assert again.points(SITE) == 1
    again.close()

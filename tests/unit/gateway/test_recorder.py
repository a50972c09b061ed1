import hashlib
import json
import sqlite3

import pytest

from edge_agent.errors import StoreError
from edge_agent.wire import messages, topics
from edge_agent.wire.keys import public_key
from gateway import audit
from gateway.ingest import Intake, Message, Policy, catch_up
from gateway.ingest.cadence import Allowance
from gateway.ingest.journal import Journal
from gateway.ingest.recorder import Recorder

SITE, AGENT = "al-001", "gw-01"
SOURCE = (SITE, AGENT)
EVER = (0, 2**62)


class Flaky:
    """Fails the next calls of some methods, as a full disk does."""

    def __init__(self, inner, *names):
        self._inner = inner
        self._names = names
        self.failures = 0

    def __getattr__(self, name):
        if name in self._names and self.failures > 0:
            self.failures -= 1

            def fail(*_arguments):
                raise StoreError("disk full")

            return fail
        return getattr(self._inner, name)


@pytest.fixture
def make_recorder(ring, clock, gateway_signer):
    def make(ledger, store):
        intake = Intake(ledger, ring, Policy(), clock)
        return Recorder(intake, ledger, store, gateway_signer, clock)

    return make


def arrive(recorder, *payloads, kind="batch", agent=AGENT):
    topic = topics.topic(SITE, agent, kind)
    recorder.put([Message(topic, payload, 1_767_210_000 * 10**9) for payload in payloads])


def values(store):
    return [record.value for record in store.read(SITE, "line.kwh", *EVER)]


def test_what_is_committed_stands_in_ledger_and_store(
    ledger, store, chain, make_recorder, gateway_signer
):
    recorder = make_recorder(ledger, store)
    arrive(recorder, chain.config(), kind="config")
    made = chain.batches(5)
    arrive(recorder, *made)
    assert recorder.commit().progressed == {SOURCE}
    assert ledger.head(*SOURCE).seq == store.projected(*SOURCE) == 5
    assert values(store) == [2**60 + seq for seq in range(1, 6)]
    assert [event["boot"] for event in store.read_events(SITE, *EVER)] == [
        bytes([seq]) for seq in range(1, 6)
    ]
    ((topic, raw),) = recorder.acks([SOURCE])
    ack = messages.verify_ack(raw, lambda _: public_key(gateway_signer.public_spki()))
    assert (topic, ack.seq) == ("carbon/v1/al-001/gw-01/ack", 5)
    assert ack.sha256 == ledger.head(*SOURCE).sha256
    assert audit.compare(ledger, store, SITE) == []


@pytest.mark.parametrize("failing", ["ledger", "store"])
def test_a_failing_disk_loses_nothing_and_acks_nothing(
    ledger, store, chain, make_recorder, failing
):
    flaky_ledger, flaky_store = Flaky(ledger, "write", "hash_at"), Flaky(store, "write_many")
    recorder = make_recorder(flaky_ledger, flaky_store)
    arrive(recorder, chain.config(), kind="config")
    recorder.commit()
    made = chain.batches(4)
    arrive(recorder, *made, made[0], b"junk")
    flaky = flaky_ledger if failing == "ledger" else flaky_store
    flaky.failures = 3
    for _ in range(3):
        with pytest.raises(StoreError):
            recorder.commit()
    assert recorder.commit().progressed == {SOURCE}
    assert [row.raw for row in ledger.batches(*SOURCE)] == made
    assert [count.messages for count in ledger.quarantine_counts()] == [1]
    assert audit.compare(ledger, store, SITE) == []


def saved_ns(recorder):
    return recorder.intake._chains.of(SOURCE).cadence._saved_ns


@pytest.mark.parametrize("failing", [None, "tree", "is_frozen", "write"])
def test_what_is_tried_again_after_a_failure_is_paid_for_once(
    ledger, store, chain, make_recorder, failing
):
    """A batch that carries a head of the log and one that it frees, whatever fails on the way."""
    flaky = Flaky(ledger, "is_frozen", "write")
    recorder = make_recorder(flaky, store)
    arrive(recorder, chain.config(), kind="config")
    recorder.commit()
    tree, size = Flaky(ledger.tree, "root"), ledger.tree.size()
    recorder.intake._chains.of(SOURCE).marks._tree = tree
    first = chain.batch(1, log=(size, ledger.tree.root()))
    second = chain.batch(2, hashlib.sha256(first).digest(), log=(size, ledger.tree.root()))
    arrive(recorder, second, first)
    (tree if failing == "tree" else flaky).failures = 3 if failing else 0
    for _ in range(3 if failing else 0):
        with pytest.raises(StoreError):
            recorder.commit()
    assert recorder.commit().progressed == {SOURCE}
    assert [row.raw for row in ledger.batches(*SOURCE)] == [first, second]
    # the minute that the second batch covers pays for the first one
    full_ns = Allowance().burst_hours * 3_600 * 10**9
    assert saved_ns(recorder) == full_ns - Allowance().price_ns(len(second))


def test_a_configuration_that_is_tried_again_is_paid_for_once(ledger, store, chain, make_recorder):
    flaky = Flaky(ledger, "is_frozen")
    recorder = make_recorder(flaky, store)
    arrive(recorder, chain.batch(1))
    recorder.commit()
    before_ns = saved_ns(recorder)
    arrive(recorder, chain.config(), kind="config")
    flaky.failures = 3
    for _ in range(3):
        with pytest.raises(StoreError):
            recorder.commit()
    recorder.commit()
    assert ledger.head(*SOURCE).seq == 1
    prices = [Allowance().price_ns(len(raw)) for raw in (chain.config(), chain.batch(1))]
    assert saved_ns(recorder) == before_ns - sum(prices)


def test_a_stop_between_ledger_and_store_heals_at_the_start(ledger, store, chain, make_recorder):
    broken = Flaky(store, "write_many")
    recorder = make_recorder(ledger, broken)
    arrive(recorder, chain.config(), *[], kind="config")
    arrive(recorder, *chain.batches(150))
    broken.failures = 1
    with pytest.raises(StoreError):
        recorder.commit()
    assert (ledger.head(*SOURCE).seq, store.projected(*SOURCE)) == (150, 0)
    make_recorder(ledger, store).start()
    assert store.projected(*SOURCE) == 150
    assert audit.compare(ledger, store, SITE) == []
    assert catch_up(ledger, store, SITE) == 0


def test_a_flagged_body_stands_in_the_ledger_and_not_in_the_store(
    ledger, store, chain, make_recorder
):
    recorder = make_recorder(ledger, store)
    arrive(recorder, chain.config(), kind="config")
    first_ns = 1_767_196_800 * 10**9
    arrive(recorder, chain.batch(1, first_ns=first_ns, last_ns=first_ns))
    recorder.commit()
    (row,) = ledger.batches(*SOURCE)
    assert "body_time" in row.flags
    assert store.projected(*SOURCE) == 1
    assert values(store) == []


def test_an_event_with_an_impossible_time_blocks_nothing(ledger, store, chain, make_recorder):
    recorder = make_recorder(ledger, store)
    arrive(recorder, chain.config(), kind="config")
    events = [{"t": 2**64 - 1, "type": "gap"}, {"t": -(2**64), "type": "gap"}]
    arrive(recorder, chain.batch(1, events=events))
    recorder.commit()
    assert store.projected(*SOURCE) == 1
    assert audit.compare(ledger, store, SITE) == []


def test_contradicting_batches_keep_the_first_value_and_alarm(
    ledger, store, chain, make_recorder, caplog
):
    recorder = make_recorder(ledger, store)
    arrive(recorder, chain.config(), kind="config")
    first = chain.batch(1)
    arrive(recorder, first)
    recorder.commit()
    head = ledger.head(*SOURCE).sha256
    start = 1_767_196_800 * 10**9 + 60 * 10**9
    arrive(recorder, chain.batch(2, head, value=8.0, first_ns=start, last_ns=start,
                                 columns=_columns(start)))  # fmt: skip
    recorder.commit()
    assert [record.value for record in store.read(SITE, "pot.001.v", *EVER)] == [4.125]
    assert "conflicting_values" in caplog.text
    assert audit.compare(ledger, store, SITE) == []
    audit.rebuild(ledger, store, SITE)
    assert audit.compare(ledger, store, SITE) == []


def _columns(start):
    from edge_agent.readings import Columns

    return Columns(("pot.001.v",), [0], [start], [8.0], [0])


@pytest.fixture
def recorded(ledger, store, chain, make_recorder):
    recorder = make_recorder(ledger, store)
    arrive(recorder, chain.config(), kind="config")
    arrive(recorder, *chain.batches(130))
    recorder.commit()
    return ledger, store


@pytest.mark.parametrize(
    ("edit", "series", "rows"),
    [
        ("UPDATE points SET value = value + 1 WHERE time_ns = {t} AND seq = 70", "line.kwh", 1),
        ("UPDATE points SET quality = 16 WHERE seq BETWEEN 70 AND 71 AND value < 99", "pot.001.v", 2),
        ("DELETE FROM points WHERE seq = 70 AND value > 99", "line.kwh", 1),
        ("UPDATE points SET time_ns = {t} + 1 WHERE seq = 70 AND value > 99", "line.kwh", 2),
        ("INSERT INTO points SELECT series, 5, 1.5, 0, 1, 1 FROM points LIMIT 1", None, 1),
        ("UPDATE points SET value = CAST(value AS REAL) WHERE seq = 70", "line.kwh", 1),
        ("DELETE FROM events WHERE seq = 70", "(events)", 1),
    ],
)  # fmt: skip
def test_audit_names_series_and_hour_of_every_edit_and_rebuild_heals(
    recorded, tmp_path, edit, series, rows
):
    ledger, store = recorded
    assert audit.compare(ledger, store, SITE) == []
    time_ns = 1_767_196_800 * 10**9 + 70 * 60 * 10**9
    if "value + 1" in edit:
        edit += " AND typeof(value) = 'integer'"
    outside = sqlite3.connect(tmp_path / "store.sqlite")
    outside.execute(edit.format(t=time_ns))
    outside.commit()
    outside.close()
    differences = audit.compare(ledger, store, SITE)
    assert sum(difference.rows for difference in differences) == rows
    if series is not None:
        assert {difference.series for difference in differences} == {series}
        hour_ns = time_ns // 3_600_000_000_000 * 3_600_000_000_000
        assert {difference.hour_ns for difference in differences} == {hour_ns}
    audit.rebuild(ledger, store, SITE)
    assert audit.compare(ledger, store, SITE) == []


def test_an_edited_ledger_row_does_not_verify(recorded, tmp_path):
    ledger, store = recorded
    outside = sqlite3.connect(tmp_path / "ledger.sqlite")
    outside.execute("DROP TRIGGER batches_no_update")
    (raw,) = outside.execute("SELECT raw FROM batches WHERE seq = 70").fetchone()
    outside.execute("UPDATE batches SET raw = ? WHERE seq = 70", (raw[:-1] + b"\x00",))
    outside.commit()
    outside.close()
    with pytest.raises(audit.LedgerDamage, match="gw-01 batch 70"):
        audit.compare(ledger, store, SITE)


def test_log_lines_are_limited_by_cause_and_escape_what_came_from_outside(clock, caplog):
    journal = Journal("test", clock)
    for _ in range(5):
        journal.limited(40, "refused", "a", topic='x\ny "z"')
    clock.now_ns += 11 * 10**9
    journal.limited(40, "refused", "a", topic="fine")
    assert [record.getMessage() for record in caplog.records] == [
        "refused topic=" + json.dumps('x\ny "z"'),
        "refused topic=fine left_out=4",
    ]

import hashlib
import sqlite3

import pytest

from edge_agent.errors import Fork, Gap, StoreError
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cose
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from gateway.ledger import Evidence, ForkedBatch, Ledger, Refusal

SITE, AGENT = "al-001", "gw-01"
T0, MINUTE = 1_767_196_800_000_000_000, 60_000_000_000


@pytest.fixture
def verified(chain, ring):
    return [wire_batch.verify(raw, SITE, AGENT, ring) for raw in chain.batches(10)]


@pytest.fixture
def filled(ledger, verified, chain, ring):
    ledger.append([(batch, 100 + place) for place, batch in enumerate(verified)])
    fork = wire_batch.verify(chain.batch(2, value=7.5), SITE, AGENT, ring)
    config = cose.verify(
        chain.config(), MessageType.CONFIG, lambda kid: ring.find(kid, SITE, AGENT).public
    )
    forked = [ForkedBatch(fork, 5, ledger.head(SITE, AGENT))]
    ledger.write(Evidence(configs=[(SITE, AGENT, config, 5)], forks=forked))
    ledger.enrol(ring.enrolments())
    return ledger


@pytest.mark.parametrize("table", ["batches", "configs", "forks", "enrolments", "freezes"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET site = 'x'",
        "DELETE FROM {table}",
        "INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1",
    ],
)
def test_evidence_can_not_be_changed_or_deleted(filled, tmp_path, table, statement):
    outside = sqlite3.connect(tmp_path / "ledger.sqlite")
    before = outside.execute(f"SELECT * FROM {table}").fetchall()
    assert before
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        outside.execute(statement.format(table=table))
    assert outside.execute(f"SELECT * FROM {table}").fetchall() == before
    outside.close()


def test_rows_come_back_byte_for_byte(filled, verified):
    rows = list(filled.batches(SITE, AGENT))
    assert [(row.seq, row.raw, row.sha256) for row in rows] == [
        (batch.batch.seq, batch.raw, batch.sha256) for batch in verified
    ]
    assert [row.received_ns for row in rows] == list(range(100, 110))
    assert (rows[0].first_ns, rows[0].last_ns) == (T0 + MINUTE, T0 + 2 * MINUTE)
    assert [row.seq for row in filled.batches(SITE, AGENT, 3, 5)] == [3, 4, 5]
    assert filled.head(SITE, AGENT) == ChainHead(10, verified[9].sha256)
    assert filled.hash_at(SITE, AGENT, 4) == verified[3].sha256
    assert filled.hash_at(SITE, AGENT, 11) is None
    assert (filled.sites(), filled.agents(SITE)) == ([SITE], [AGENT])
    assert filled.contiguous(SITE, AGENT)


def test_a_window_is_half_open_and_takes_every_overlap(filled):
    def window(first, last):
        return filled.window(SITE, AGENT, T0 + first, T0 + last)

    assert window(3 * MINUTE, 4 * MINUTE) == (2, 3)
    assert window(3 * MINUTE + 1, 4 * MINUTE) == (3, 3)
    assert window(3 * MINUTE, 4 * MINUTE + 1) == (2, 4)
    assert window(-MINUTE, MINUTE) is None
    assert window(11 * MINUTE, 12 * MINUTE) == (10, 10)
    assert window(11 * MINUTE + 1, 12 * MINUTE) is None
    assert filled.window(SITE, AGENT, 0, 2**63 - 1) == (1, 10)
    assert filled.span(SITE, AGENT) == (T0 + MINUTE, T0 + 11 * MINUTE)


def test_a_transaction_is_all_or_nothing(ledger, verified):
    with pytest.raises(Gap):
        ledger.append([(verified[0], 1), (verified[2], 1)])
    assert ledger.head(SITE, AGENT) == ChainHead()
    ledger.append([(verified[0], 1), (verified[1], 1)])
    assert ledger.head(SITE, AGENT).seq == 2


def test_append_skips_what_is_there_and_refuses_another_history(ledger, verified, chain, ring):
    ledger.append([(verified[0], 1), (verified[1], 1)])
    ledger.append([(verified[1], 9), (verified[2], 9)])
    assert [row.received_ns for row in ledger.batches(SITE, AGENT)] == [1, 1, 9]
    other = wire_batch.verify(chain.batch(3, value=5.5), SITE, AGENT, ring)
    with pytest.raises(Fork):
        ledger.append([(other, 1)])


def test_another_process_reads_while_batches_arrive(ledger, verified, tmp_path):
    reader = Ledger(tmp_path / "ledger.sqlite")
    ledger.append([(verified[0], 1)])
    rows = reader.batches(SITE, AGENT)
    assert next(rows).seq == 1
    ledger.append([(verified[1], 1)])
    assert [row.seq for row in rows] == [2]
    reader.close()


def test_quarantine_is_bounded_and_keeps_counting(tmp_path):
    ledger = Ledger(tmp_path / "small.sqlite", quarantine_messages=5, quarantine_per_topic=3)
    for number in range(6):
        ledger.quarantine(Refusal("envelope", "a/topic", bytes([number]) * 5_000, number))
    ledger.quarantine(Refusal("envelope", "a/topic", bytes([0]) * 5_000, 6))
    for number in range(4):
        ledger.quarantine(Refusal("size", f"topic/{number}", b"x", number, (SITE, AGENT)))
    rows = ledger._all("SELECT topic, head, sha256, size FROM quarantine ORDER BY id", ())
    assert [row[0] for row in rows] == ["a/topic"] * 3 + ["topic/0", "topic/1"]
    first = bytes(5_000)
    assert rows[0][1:] == (first[:4_096], hashlib.sha256(first).digest(), 5_000)
    counts = {count.reason: count for count in ledger.quarantine_counts()}
    assert (counts["envelope"].messages, counts["envelope"].not_kept) == (7, 3)
    assert (counts["size"].messages, counts["size"].not_kept) == (4, 2)
    assert (counts["size"].site, counts["size"].agent) == (SITE, AGENT)
    ledger.close()


def test_freezes_and_releases_stay_on_record(ledger):
    assert not ledger.is_frozen(SITE, AGENT)
    ledger.freeze(SITE, AGENT, 1, "operator")
    assert ledger.is_frozen(SITE, AGENT)
    ledger.release(SITE, AGENT, 2, "operator")
    assert not ledger.is_frozen(SITE, AGENT)
    assert len(ledger._all("SELECT * FROM freezes", ())) == 2


def test_a_file_that_is_no_ledger_is_a_store_error(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database" * 1_000)
    with pytest.raises(StoreError, match="ledger"):
        Ledger(path)

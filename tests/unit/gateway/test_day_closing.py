"""Every plant day of a site gets one signed record, whatever stops and starts meanwhile."""

import hashlib
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.calc.windows import to_ns
from edge_agent.errors import StoreError, TrustError
from edge_agent.readings import Columns
from edge_agent.wire import cbor, cose, merkle, notes
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import public_key
from gateway import day_records
from gateway.checkpoints import Checkpointer
from gateway.day_closing import DayCloser
from gateway.day_records import KIND, MOST_DAYS
from gateway.ingest import Intake, Message, Policy
from gateway.ingest.recorder import Recorder
from gateway.ledger import Ledger

ORIGIN = "carbon-log/test"
SITE, AGENT = "al-001", "gw-01"
HOUR = timedelta(hours=1)
NOON = datetime(2026, 1, 1, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai
CONTENT = cbor.encode({"site": SITE, "timezone": "Asia/Shanghai"})


@pytest.fixture
def open_log(gateway_signer):
    def make(ledger):
        days = DayCloser(ledger, gateway_signer, 300)
        return Checkpointer(ledger, gateway_signer, ORIGIN, 3_600, days)

    return make


@pytest.fixture
def log(open_log, ledger):
    return open_log(ledger)


@pytest.fixture
def site(make_desk, chain, clock):
    """Gives a function that sends the next batches of a site in Shanghai at a time."""
    desk = make_desk()
    desk.offer(chain.config(CONTENT), "config")
    sent = []

    def send(moment, count=1, **changes):
        clock.now_ns = to_ns(moment)
        for _ in range(count):
            prev = hashlib.sha256(sent[-1]).digest() if sent else bytes(32)
            first_ns = changes.get("first_ns", clock.now_ns - 120 * 10**9)
            fields = {
                "first_ns": first_ns,
                "last_ns": first_ns + 60 * 10**9,
                "config": CONTENT,
                "columns": Columns(("line.kwh",), [0], [first_ns], [1], [0]),
                "events": [],
            }
            sent.append(chain.batch(len(sent) + 1, prev, **fields | changes))
            desk.offer(sent[-1])
            desk.settle()

    return send


@pytest.fixture
def records(ledger, gateway_signer):
    public = public_key(gateway_signer.public_spki())

    def read(of=ledger, site=SITE):
        found = of.documents.of_kind(KIND, site)
        return [day_records.open_(one.raw, {public.kid: public}) for one in found]

    return read


def ranges(found):
    return [(one.day, one.first, one.last, one.size) for one in found]


def test_days_follow_one_another_with_their_leaves_and_a_checkpoint(log, site, records, ledger):
    site(NOON, 3)
    log.tick(to_ns(NOON))
    site(NOON + 11 * HOUR, 2)
    assert records() == []
    log.tick(to_ns(NOON + 12 * HOUR) + 5 * 10**9)
    (first,) = records()
    assert ranges([first]) == [("2026-01-01", 0, 5, 6)]  # the configuration and five batches
    assert first.agents[AGENT] == day_records.Came(1, 5, {"2026-01": 5})
    site(NOON + 20 * HOUR, 2)
    log.tick(to_ns(NOON + 36 * HOUR))
    assert ranges(records()) == [("2026-01-01", 0, 5, 6), ("2026-01-02", 6, 8, 9)]
    assert records()[1].agents[AGENT] == day_records.Came(6, 7, {"2026-01": 2})
    for one in records():
        made = ledger.tree.checkpoint(one.size)
        assert (made.size, made.root) == (one.size, one.root)
        assert notes.parse(made.note)[0].extension == (one.note_line,)
        assert ledger.tree.index_of(one.leaf) >= one.size


def test_a_second_look_and_a_restart_close_nothing_twice(log, open_log, site, records, ledger):
    site(NOON)
    for _ in range(3):
        log.tick(to_ns(NOON + 13 * HOUR))
        open_log(ledger).tick(to_ns(NOON + 14 * HOUR))
        log.now(to_ns(NOON + 15 * HOUR))
    assert [one.day for one in records()] == ["2026-01-01"]
    assert ledger.documents.last_of(KIND, SITE).version == 1


def test_a_day_in_which_nothing_came_has_an_empty_range(log, site, records):
    site(NOON)
    log.tick(to_ns(NOON + 13 * HOUR))
    log.tick(to_ns(NOON + 37 * HOUR))
    log.tick(to_ns(NOON + 61 * HOUR))
    assert ranges(records()) == [
        ("2026-01-01", 0, 1, 2),
        ("2026-01-02", 2, 2, 3),  # nothing but the record before
        ("2026-01-03", 3, 3, 4),
    ]
    assert [one.agents for one in records()[1:]] == [{}, {}]


def test_days_of_an_outage_are_closed_before_anything_new_is_written(log, site, records):
    """The gateway stands still from the first day's noon to the fourth day."""
    site(NOON, 2)
    back = NOON + 3 * 24 * HOUR
    log.close_days(to_ns(back))  # as the recorder does before it writes
    site(back, 4)
    log.tick(to_ns(back))
    assert ranges(records()) == [
        ("2026-01-01", 0, 2, 3),
        ("2026-01-02", 3, 2, 3),
        ("2026-01-03", 3, 2, 3),
    ]
    log.tick(to_ns(back + 12 * HOUR))
    last = records()[-1]
    assert (last.day, last.first, last.agents[AGENT].first_seq) == ("2026-01-04", 3, 3)


def test_the_recorder_closes_days_before_it_writes_what_came_later(
    log, site, records, ledger, store, ring, clock, chain, gateway_signer
):
    """Nobody looked for due days between the last evening and this batch."""
    site(NOON)
    recorder = Recorder(Intake(ledger, ring, Policy(), clock), ledger, store, gateway_signer, clock)
    recorder.before_writing(log.close_days)
    clock.now_ns = to_ns(NOON + 13 * HOUR)
    head = ledger.head(SITE, AGENT)
    raw = chain.batch(head.seq + 1, head.sha256, config=CONTENT)
    recorder.put([Message(f"carbon/v1/{SITE}/{AGENT}/batch", raw, clock.now_ns)])
    recorder.commit()
    (one,) = records()
    assert (one.day, one.agents[AGENT].last_seq, ledger.head(SITE, AGENT).seq) == (
        "2026-01-01",
        1,
        2,
    )
    leaf = merkle.batch_leaf(SITE, AGENT, 2, ledger.head(SITE, AGENT).sha256)
    assert ledger.tree.index_of(leaf) > one.last


@pytest.mark.parametrize("table", ["checkpoints", "documents", "leaves"])
def test_a_day_is_closed_whole_or_not_at_all(log, site, records, ledger, tmp_path, table):
    site(NOON)
    log.tick(to_ns(NOON))
    site(NOON + HOUR)
    outside = sqlite3.connect(tmp_path / "ledger.sqlite")
    outside.execute(
        f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    size, stated = ledger.tree.size(), ledger.tree.checkpoint().size
    with pytest.raises(StoreError, match="full"):
        log.tick(to_ns(NOON + 13 * HOUR))
    assert (ledger.tree.size(), ledger.tree.checkpoint().size, records()) == (size, stated, [])
    outside.execute("DROP TRIGGER full")
    outside.close()
    log.tick(to_ns(NOON + 13 * HOUR))
    assert [one.day for one in records()] == ["2026-01-01"]


def test_a_restored_backup_closes_its_own_days(log, open_log, site, records, ledger, tmp_path):
    site(NOON, 2)
    log.tick(to_ns(NOON + 13 * HOUR))
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(tmp_path / "ledger.sqlite", tmp_path / "backup.sqlite")
    site(NOON + 20 * HOUR, 2)
    log.tick(to_ns(NOON + 37 * HOUR))
    restored = Ledger(tmp_path / "backup.sqlite")
    open_log(restored).tick(to_ns(NOON + 64 * HOUR))
    found = records(restored)
    assert [one.day for one in found] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert found[0] == records()[0]
    assert found[1].agents == {}
    restored.close()


def test_a_ledger_from_before_begins_with_the_day_of_its_last_checkpoint(
    log, site, records, ledger, gateway_signer
):
    before = Checkpointer(ledger, gateway_signer, ORIGIN, 3_600)
    site(NOON, 2)
    before.tick(to_ns(NOON))
    site(NOON + 24 * HOUR)
    before.tick(to_ns(NOON + 24 * HOUR))
    site(NOON + 25 * HOUR)
    log.tick(to_ns(NOON + 37 * HOUR))
    (one,) = records()
    # behind the last checkpoint of the day before
    assert (one.day, one.first, one.last) == ("2026-01-02", 3, 4)
    assert one.agents[AGENT] == day_records.Came(3, 4, {"2026-01": 2})


def test_late_rows_are_told_on_the_day_they_come(log, site, records):
    site(NOON)
    december_ns = to_ns(NOON - 15 * HOUR)
    site(NOON, first_ns=december_ns)
    site(NOON, first_ns=to_ns(datetime(2025, 12, 31, 15, 59, 30, tzinfo=UTC)))  # over new year
    outside = Columns(("line.kwh",), [0], [december_ns + 10**12], [1], [0])
    site(NOON, first_ns=december_ns, columns=outside)  # a bad body has no rows
    log.tick(to_ns(NOON + 13 * HOUR))
    (one,) = records()
    assert one.agents[AGENT] == day_records.Came(1, 4, {"2025-12": 2, "2026-01": 2})


def test_a_clock_that_runs_years_ahead_closes_nothing(log, site, records):
    site(NOON)
    log.tick(to_ns(NOON))
    log.tick(to_ns(NOON + timedelta(days=MOST_DAYS + 1)))
    assert records() == []
    assert "401 plant days of al-001 since 2026-01-01" in log.days.problem
    log.tick(to_ns(NOON + 13 * HOUR))
    assert [one.day for one in records()] == ["2026-01-01"]
    assert log.days.problem == ""


def test_every_site_has_days_of_its_own_time_zone(log, site, records, chain, make_desk):
    site(NOON)
    other = cbor.encode({"site": SITE, "timezone": "Europe/Berlin"})
    desk = make_desk()
    desk.offer(chain.config(other), "config")
    desk.settle()
    log.tick(to_ns(NOON + 13 * HOUR))
    assert records() == []  # 18:00 in Berlin
    log.tick(to_ns(NOON + 19 * HOUR))
    (one,) = records()
    assert (one.day, one.timezone) == ("2026-01-01", "Europe/Berlin")
    assert one.end_ns == to_ns(datetime(2026, 1, 1, 23, tzinfo=UTC))


@pytest.mark.parametrize(
    "change",
    [
        {"v": "1"},
        {"day": "2026-1-1"},
        {"day": "2026-02-30"},
        {"timezone": "../passwd"},
        {"timezone": "Mars/Olympus"},
        {"first": "0"},
        {"ahead_s": 1.5},
        {"agents": {"gw-01": [1, 2]}},
        {"agents": {"gw-01": [2, 1, {}]}},
        {"agents": {"gw-01": [1, 2, {"2026-01": "all"}]}},
        {"more": 1},
    ],
)
def test_a_record_of_another_shape_is_refused(log, site, ledger, gateway_signer, change):
    site(NOON)
    log.tick(to_ns(NOON + 13 * HOUR))
    raw = ledger.documents.last_of(KIND, SITE).raw
    plain = cbor.decode(cose.parse(raw).payload) | change
    changed = cose.sign(MessageType.DAY_CLOSE, cbor.encode(plain), gateway_signer)
    with pytest.raises(TrustError):
        day_records.unchecked(changed)


def test_a_record_of_another_key_is_refused(log, site, ledger, signer):
    site(NOON)
    log.tick(to_ns(NOON + 13 * HOUR))
    public = public_key(signer.public_spki())
    with pytest.raises(TrustError, match="not signed by the gateway"):
        day_records.open_(ledger.documents.last_of(KIND, SITE).raw, {public.kid: public})

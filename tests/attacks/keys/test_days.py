"""Records of closed days that a gateway edits, swaps, leaves out or makes up (rows 73, 74, 78)."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from enrolled_month import AGENT, DAY, GATEWAY, LOG, NOVEMBER, NS, SITE, T0, ClosedMonth
from enrolled_plant import key

from edge_agent.wire import cbor, notes
from edge_agent.wire.notes import Head
from gateway import bundle as bundle_
from gateway import (
    day_check,
    day_evidence,
    day_records,
    decisions,
    lab,
    leaf_list,
    ledger_audit,
    log_evidence,
)
from gateway.bundle import Bundle, BundleError
from gateway.day_records import KIND, Came
from gateway.evidence import BatchReader, replay
from gateway.ledger import Draft
from gateway.reports import run as reports
from gateway.trust import closed_months
from gateway.verify import verify


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    made = ClosedMonth(tmp_path_factory.mktemp("closed"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def bundle(month):
    return month.make()


@pytest.fixture(scope="module")
def judged(month, bundle):
    """The records and what the verifier holds them against."""
    seen = []
    check = day_check.check
    day_check.check = lambda *given: seen.append(given) or check(*given)
    try:
        verdict = verify(bundle, month.trust())
    finally:
        day_check.check = check
    assert verdict.proven, verdict.difference
    return seen[0]


def told(verdict, start):
    return [line.split(None, 2)[2] for line in verdict.lines if line.startswith(start)]


def test_a_month_tells_until_when_it_counts_and_what_came_late(month, bundle):
    verdict = verify(bundle, month.trust())
    assert verdict.proven, verdict.difference
    (days,) = told(verdict, "5 days")
    assert days == (
        "2026-10-01 to 2026-11-13, none missing; 1 batches came on a later day than they end; "
        "nothing of the month is left out of what came until 2026-11-13 was closed"
    )
    record = cbor.decode(bundle_.read(bundle).files["month.cbor"])
    assert record["counted"] == [
        "2026-11-13",
        month.ledger.documents.last_of(KIND, SITE)
        and (day_records.unchecked(month.ledger.documents.last_of(KIND, SITE).raw).last),
    ]
    assert not any("日结" in text for text in told(verdict, "9"))
    assert ledger_audit.check(month.ledger, month.maker.key).findings == []


def test_the_evidence_sheet_lists_the_days(month, bundle):
    import io

    from openpyxl import load_workbook

    sheet = load_workbook(io.BytesIO(bundle_.read(bundle).files["report.xlsx"]))["evidence 证据"]
    rows = dict(sheet.iter_rows(values_only=True, max_col=2))
    assert rows["day closed 日结 2026-10-01"].endswith("18 batches of this month")
    assert rows["day closed 日结 2026-10-02"].endswith("0 batches of this month")
    assert rows["day closed 日结 2026-11-12"].endswith("1 batches of this month")
    assert "day closed 日结 2026-11-11" not in rows
    assert rows["counted 计入范围"].startswith("what came until 2026-11-13 was closed")


# -- a bundle that is signed and proven anew ------------------------------------------------------


def forged(month, bundle, tmp_path, change=lambda _files, _items: None, *, last=None, leaves=True):
    """The bundle with its records of days changed, or its batches cut, with a new proof of the rest."""
    files = dict(bundle_.read(bundle).files)
    files.pop(bundle_.MANIFEST)
    items = cbor.decode(files[day_evidence.FILE])
    change(files, items)
    files[day_evidence.FILE] = cbor.encode(items)
    kept = [item for item in Bundle(files).batches(AGENT) if last is None or item[0] <= last]
    files[f"batches/{AGENT}.bin"] = bundle_.pack_batches(kept)
    inside = Bundle(files)
    ranges = [replay(SITE, AGENT, kept, month.ledger.key_ring(), BatchReader())]
    papers = lab.check(SITE, bundle_.lab_documents(inside), bundle_.person_keys(inside))
    known = log_evidence.leaves_of(SITE, ranges, files)
    known |= decisions.leaves(decisions.read(inside, SITE)) | lab.leaves(papers)
    known |= day_evidence.leaves(day_evidence.read(inside))
    tree = month.ledger.tree
    made = tree.checkpoint()
    files |= log_evidence.pack(tree, made.size, made.note, made.key, known)
    if not leaves:
        files.pop(leaf_list.FILE)
    path = tmp_path / "forged.bundle"
    bundle_.write(path, files, GATEWAY)
    return path


@pytest.mark.parametrize("leaves", [True, False])
def test_a_late_batch_behind_the_closing_one_cannot_be_left_out(month, bundle, tmp_path, leaves):
    """The bundle ends with a batch that begins after the month, as an honest one may."""
    path = forged(month, bundle, tmp_path, last=month.later[0], leaves=leaves)
    assert verify(path).difference == (
        "log/days.cbor: on 2026-11-12 came 1 batches of gw-01 with times of 2026-10, of 21-21, which "
        "are left out here"
    )


@pytest.mark.parametrize(
    ("left_out", "leaves", "told_"),
    [
        ([20], True, "the record of 2026-10-22: it follows that of 2026-10-20"),
        ([20], False, "the record of 2026-10-22: it follows that of 2026-10-20"),
        ([-1], True, "day_close of 2026-11-13 (leaf"),
        (range(31, 44), False, "2026-11-01 was over when batch 19 of gw-01 was made"),
        (range(44), False, ""),
        ([0], True, "the log holds records of days before"),
    ],
    ids=["middle", "middle-no-leaves", "last", "after-the-month", "all", "first"],
)
def test_a_record_left_out_is_named(month, bundle, tmp_path, left_out, leaves, told_):
    def change(_files, items):
        for place in sorted((range(44)[place] for place in left_out), reverse=True):
            del items[place]

    verdict = verify(forged(month, bundle, tmp_path, change, leaves=leaves), month.trust())
    if told_:
        assert told_ in verdict.difference
    else:  # the report names days that nothing shows
        assert "report.json: differs" in verdict.difference or "month.cbor" in verdict.difference


def resigned(items, place, signer=GATEWAY, **changes):
    record = replace(day_records.unchecked(items[place][0]), **changes)
    items[place][0] = day_records.sign(record, signer)


def test_an_edited_record_is_not_in_the_log(month, bundle, tmp_path):
    path = forged(month, bundle, tmp_path)
    assert verify(path, month.trust()).proven
    files = dict(bundle_.read(path).files)
    files.pop(bundle_.MANIFEST)
    items = cbor.decode(files[day_evidence.FILE])
    resigned(items, 42, agents={})
    files[day_evidence.FILE] = cbor.encode(items)
    bundle_.write(path, files, GATEWAY)
    assert "do not give the root" in verify(path).difference


def test_two_records_swapped_are_named(month, bundle, tmp_path):
    def change(_files, items):
        items[3], items[4] = items[4], items[3]

    path = forged(month, bundle, tmp_path, change)
    assert "the record of 2026-10-05: it follows that of 2026-10-03" in verify(path).difference


def test_days_without_a_log_are_refused(month, bundle, tmp_path):
    path = forged(month, bundle, tmp_path)
    files = dict(bundle_.read(path).files)
    for name in (bundle_.MANIFEST, log_evidence.CHECKPOINT):
        files.pop(name)
    bundle_.write(path, files, GATEWAY)
    assert "without a checkpoint of the log" in verify(path).difference


@pytest.fixture
def own(tmp_path):
    made = ClosedMonth(tmp_path)
    yield made
    made.close()


def test_a_record_of_another_site_in_the_place_of_one(own, tmp_path):
    """It stands in the log, under the same name, signed by the same gateway."""
    bundle = own.make()
    items = cbor.decode(bundle_.read(bundle).files[day_evidence.FILE])
    other = replace(day_records.unchecked(items[5][0]), site="al-002")
    raw = day_records.sign(other, GATEWAY)
    own.ledger.documents.add(Draft(KIND, "al-002", other.day, raw, 1))
    made = own.maker.now(own.plant.clock.now_ns)

    def change(_files, found):
        for item in found:
            size = day_records.unchecked(item[0]).size
            item[2] = own.ledger.tree.consistency(size, made.size)
        found[5][0] = raw

    def other_list(files, found):
        change(files, found)
        files |= leaf_list.pack(own.ledger.tree, made.size)

    path = forged(own, bundle, tmp_path, other_list)
    assert verify(path).difference.startswith(
        "log/days.cbor: the record of 2026-10-06: it is of al-002"
    )


def test_two_records_of_one_day_in_the_log_contradict(own):
    last = own.ledger.documents.last_of(KIND, SITE)
    raw = day_records.sign(replace(day_records.unchecked(last.raw), at_ns=2**61), GATEWAY)
    own.ledger.documents.add(Draft(KIND, SITE, last.id, raw, 1))
    own.maker.now(own.plant.clock.now_ns)
    found = ledger_audit.check(own.ledger, own.maker.key).findings
    assert any("a day is missing or stands twice" in text for text in found)


# -- a gateway that makes a wrong record when the day ends ---------------------------------------

LATE, FIRST, LAST = 42, 0, 43
OTHER = key(77)


def changed(days, place, *, signer=GATEWAY, note=None, hashes=None, **fields):
    """The records with one of them as another gateway would have made it."""
    made = list(days)
    day = made[place]
    raw = day_records.sign(replace(day.record, **fields), signer)
    made[place] = day_evidence.Day(
        day_records.unchecked(raw), note or day.note, day.hashes if hashes is None else hashes
    )
    return made


def lying_note(day, line):
    head, _ = notes.parse(day.note)
    return notes.sign_checkpoint(Head(head.origin, head.size, head.root, (line,)), LOG)


@pytest.mark.parametrize(
    ("place", "fields", "told_"),
    [
        (LATE, {"signer": OTHER}, "not signed by the gateway, but by key"),
        (5, {"site": "al-002"}, "it is of al-002"),
        (5, {"day": "2026-10-07"}, "it follows that of 2026-10-05"),
        (5, {"day": "2026-10-05"}, "a day is missing or stands twice"),
        (5, {"first": 7}, "its leaves begin with 7"),
        (5, {"last": 2**40}, "under a checkpoint of"),
        (5, {"at_ns": T0 + 6 * DAY - 1}, "made before the day was over"),
        (5, {"timezone": "America/New_York"}, "made before the day was over"),
        (5, {"root": bytes(32)}, "or another root"),
        (5, {"hashes": []}, "the consistency path is too short"),
        (5, {"agents": {AGENT: Came(1, 2, {})}}, "counts batches 1-2 of gw-01, the log holds none"),
        (LATE, {"agents": {}}, "counts batches none of gw-01, the log holds 21-21"),
        (
            LATE,
            {"agents": {AGENT: Came(21, 21, {"2026-11": 1})}},
            "counts 0 batches of gw-01 with times of 2026-10, here are 1",
        ),
        (
            FIRST,
            {"agents": {AGENT: Came(1, 18, {"2026-10": 19})}},
            "counts 19 batches of gw-01 with times of 2026-10, here are 18",
        ),
    ],
)
def test_a_record_that_lies_is_contradicted(judged, place, fields, told_):
    days, context = judged
    day_check.check(days, context)
    with pytest.raises(BundleError, match="log/days.cbor: ") as caught:
        day_check.check(changed(days, place, **fields), context)
    assert told_ in str(caught.value)


def test_a_record_that_stands_inside_its_own_range_is_contradicted(judged):
    days, context = judged
    name = days[5].record.leaf_name
    with pytest.raises(BundleError, match="inside what its checkpoint covers"):
        day_check.check(days, replace(context, indexes=context.indexes | {name: 3}))


def test_the_checkpoint_must_say_the_same_of_the_day(judged):
    days, context = judged
    note = lying_note(days[5], f"day {SITE} 2026-10-06 0-99")
    with pytest.raises(BundleError, match="says 'day al-001 2026-10-06 0-99', the record"):
        day_check.check(changed(days, 5, note=note), context)
    day_check.check(
        changed(days, 5, note=lying_note(days[5], "day al-009 2026-10-06 0-99")), context
    )


def test_a_day_that_existed_before_it_was_over_by_outside_time_is_contradicted(judged):
    days, context = judged
    size = days[5].record.size + 1
    end = datetime(2026, 10, 6, 16, tzinfo=UTC)  # midnight in Shanghai
    day_check.check(days, replace(context, tokens=[(size, end)]))
    with pytest.raises(BundleError, match="record of 2026-10-06: by an outside time stamp"):
        day_check.check(days, replace(context, tokens=[(size, end.replace(hour=15))]))


def test_a_batch_in_a_day_that_was_closed_before_the_batch_ends_is_contradicted(judged):
    """The late batch says that it ends on November 13, the day after the one that holds it."""
    days, context = judged
    (one,) = context.ranges
    later = replace(one, ends_ns=(*one.ends_ns[:-1], NOVEMBER + 13 * DAY))
    with pytest.raises(BundleError, match="batch 21 of gw-01 lies in the range of 2026-11-12"):
        day_check.check(days, replace(context, ranges=[later]))
    aside = replace(context, ranges=[later], is_aside=lambda _agent, seq: seq == 21)
    with pytest.raises(
        BundleError, match="with times of"
    ):  # set aside: no time of it proves a thing
        day_check.check(days, aside)


def test_batches_that_are_set_aside_may_be_left_out(judged):
    days, context = judged
    (one,) = context.ranges
    parts = {name: getattr(one, name)[:-1] for name in ("hashes", "starts_ns", "ends_ns")}
    short = replace(context, ranges=[replace(one, last_seq=20, **parts)])
    with pytest.raises(BundleError, match="of 21-21, which are left out here"):
        day_check.check(days, short)
    day_check.check(days, replace(short, is_aside=lambda _agent, seq: seq == 21))


def test_where_clocks_are_not_compared_days_are_not_held_against_batches(judged):
    days, context = judged
    for place in range(len(days)):
        days = changed(days, place, ahead_s=None)
    found = day_check.check(days, context)
    assert any("clock is not compared" in text for text in found.reservations)
    found = day_check.check(days[:32], replace(context, leaves=None))
    assert not any("not closed" in text for text in found.reservations)


def test_a_record_of_absurd_counts_keeps_nobody_busy(judged):
    days, context = judged
    said = {"gw-99": Came(1, 2**53, {"2026-10": 2**53})}
    with pytest.raises(BundleError, match="of 1-9007199254740992, which are left out"):
        day_check.check(changed(days, 5, agents=said), replace(context, leaves=None))


def test_days_that_are_not_closed_yet_and_none_at_all_are_reservations(judged):
    days, context = judged
    (one,) = context.ranges
    short = replace(
        one, last_seq=18, **{n: getattr(one, n)[:18] for n in ("hashes", "starts_ns", "ends_ns")}
    )
    within = replace(context, ranges=[short], leaves=None)
    found = day_check.check(days[:20], within)
    assert any("after 2026-10-20 are not closed" in text for text in found.reservations)
    found = day_check.check([], within)
    assert found.reservations == ["no day of this month is closed in the log 无日结记录"]
    found = day_check.check(days[1:20], within)
    assert any("came in before days were recorded" in text for text in found.reservations)


def test_a_new_version_of_a_month_carries_the_record_of_the_one_before(own):
    made = reports.make(own.ledger, own.store, SITE, "2026-10", GATEWAY, own.folder / "first")
    now_ns = own.plant.clock.now_ns
    one = closed_months.close(own.ledger, made.plain, made.manifest_sha256, GATEWAY, now_ns)
    assert (one.version, one.agents) == (1, {AGENT: own.late})
    own.send(T0 + 5 * DAY, 4, now_ns + 60 * NS)
    assert closed_months.FLAG in own.plant.rows()[-1].flags
    assert closed_months.standing(own.ledger, [SITE])[0]["needs_new_version"]
    own.maker.now(now_ns + 120 * NS)
    path = own.make("second")
    verdict = verify(path)
    assert verdict.proven, verdict.difference
    assert "6 records       1 versions of closed months, 0 keys of persons revoked" in verdict.lines
    assert told(verdict, "4 chain") == [f"{AGENT} 1-{own.late + 1}"]
    report = json.loads(bundle_.read(path).files["report.json"])
    (month_,) = [x for x in report["governance"]["decisions"] if x["kind"] == "month"]
    assert month_["about"] == f"2026-10, manifest of SHA-256 {made.manifest_sha256.hex()}"


def test_another_day_until_which_the_month_counts_is_contradicted(month, bundle, tmp_path):
    def change(files, _items):
        record = cbor.decode(files["month.cbor"])
        files["month.cbor"] = cbor.encode(record | {"counted": ["2026-12-31", 9_999]})

    path = forged(month, bundle, tmp_path, change)
    assert "month.cbor: counts ['2026-12-31', 9999], by the records" in verify(path).difference

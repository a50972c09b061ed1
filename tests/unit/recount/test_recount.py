"""The second sums agree with the first where both are right, whatever the rows are."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calc import integration, windows
from edge_agent.calc.integration import TotaliserRule
from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from gateway.recount import Rows
from gateway.recount.amounts import unwrapped
from gateway.recount.check import Difference, recount
from gateway.recount.inputs import Inputs, NotCounted, bounds, entries

HOUR = 3_600 * 10**9
ZONES = ("Asia/Shanghai", "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe")


@given(
    st.lists(st.integers(0, 999), min_size=1, max_size=40),
    st.sampled_from([None, 1_000, 2_000]),
    st.sampled_from([None, 50.0, 800.0]),
    st.integers(1, 3),
)
def test_a_counter_rises_by_what_the_first_computation_says(readings, modulus, most, hours):
    times = [place * hours * HOUR for place in range(len(readings))]
    expected = integration.total(readings, TotaliserRule(modulus, most), times).total
    counter = {"modulus": modulus, "max_rate_per_h": most}
    assert unwrapped(list(zip(times, readings, strict=True)), counter, 0) == expected


def test_a_counter_opens_with_its_last_reading_at_or_before_the_month():
    found = [(-2, 5), (-1, 7), (1, 9), (2, 12)]
    counter = {"modulus": None, "max_rate_per_h": None}
    assert unwrapped(found, counter, 0) == 5
    assert unwrapped(found[2:], counter, 0) == 3
    assert unwrapped([], counter, 0) is None


@given(st.integers(1971, 2100), st.integers(1, 12), st.sampled_from(ZONES))
def test_a_month_begins_and_ends_where_the_first_computation_says(year, month, zone):
    name = f"{year}-{month:02d}"
    assert bounds(name, zone) == windows.month_bounds(name, ZoneInfo(zone))


def test_rows_keep_the_order_of_signing_and_leave_out_bad_and_missing_ones(
    make_batch, signer, ring
):
    rows = Rows()
    columns = Columns(
        ("m.count", "line1.pot001.v"),
        [0, 1, 0, 0, 0],
        [1_000_000, 1_000_000, 3_000_000, 2_000_000, 4_000_000],
        [5, 4.2, 7, 6, None],
        [0, 0, 16, 0, 33],
    )
    batch = replace(make_batch(), first_ns=0, last_ns=5_000_000, columns=columns)
    verified = wire_batch.verify(wire_batch.sign(batch, signer), batch.site, batch.agent, ring)
    rows.add(verified)
    assert rows.between("m.count", 0, 9_000_000) == [(1_000_000, 5), (3_000_000, 7), (2_000_000, 6)]
    assert rows.between("m.count", 1_000_001, 3_000_000) == [(2_000_000, 6)]
    assert rows.between("line1.pot001.v", 0, 9_000_000) == []  # nothing is added up there


def paper(signer, version, value, id_="october"):
    plain = {"id": id_, "version": version, "entries": [{"value": value}]}
    return cose.sign(MessageType.LAB, cbor.encode(plain), signer)


def test_of_a_lab_document_the_newest_version_counts(signer):
    raws = [paper(signer, 2, "b"), paper(signer, 1, "a"), paper(signer, 1, "c", "other")]
    assert [one["value"] for one in entries(raws)] == ["b", "c"]


FACTORS = {
    "options": {"set": {"value": "ar5"}},
    "factors": [
        {"id": "gwp", "value": 1.0, "when": "set=ar4"},
        {"id": "gwp", "value": 2.0, "when": "set=ar5", "valid_to": "2026-09-30"},
        {"id": "gwp", "value": 3.0, "when": "set=ar5", "valid_from": "2026-10-01"},
        {"id": "old", "value": 4.0, "valid_to": "2020-01-01"},
    ],
}


def test_of_a_factor_the_choice_taken_and_the_first_day_count():
    start, end = bounds("2026-10", "Asia/Shanghai")
    inputs = Inputs({"timezone": "Asia/Shanghai", "factor_set": FACTORS}, start, end, [], {})
    assert inputs.factor("gwp") == 3.0
    with pytest.raises(NotCounted):
        inputs.factor("old")


POTLINE = {
    "sector": "aluminium",
    "timezone": "UTC",
    "potlines": [{"id": "line1", "pots": {"first": 1, "count": 2}}],
}


@pytest.mark.parametrize(
    ("reported", "agrees"),
    [("2", True), ("2.0", True), ("3", False), ("2.0000001", False), (None, False)],
)
def test_a_figure_that_differs_is_named(reported, agrees):
    record = {"month": "2026-10", "values": [["pots", "line1", reported, reported]]}
    report = [{"id": "pots", "scope": "line1", "unit": "1", "substitutions": []}]
    if agrees:
        assert recount(POTLINE, [], Rows(), record, report).agree == 1
    else:
        with pytest.raises(Difference, match=f"pots of line1: reported as {reported}, the second"):
            recount(POTLINE, [], Rows(), record, report)


def test_what_has_no_rule_is_said():
    values = [["pots", "line1", "2", "2"], ["current_ka", "line1", "300", "300"]]
    report = [{"id": one[0], "scope": one[1], "unit": "1", "substitutions": []} for one in values]
    found = recount(POTLINE, [], Rows(), {"month": "2026-10", "values": values}, report)
    assert (found.agree, found.left) == (1, ("current_ka",))

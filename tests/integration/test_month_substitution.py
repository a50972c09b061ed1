"""Missing hours and missing analyses in a whole month: filled by the plan, and listed."""

import json
from decimal import Decimal

import pytest
from openpyxl import load_workbook

from gateway import verify as verify_
from gateway.explain import explain

HOURS = 744
T0 = 1_790_784_000 * 10**9
HOUR_NS = 3600 * 10**9


@pytest.fixture(scope="module")
def month(build_site, counter, rate, only_kiln1, enter_kiln1):
    """kiln1 without its belt weigher for 44 h, its slag weigher for 125 min and its coal analyses."""

    readings = [
        *counter("k1.clinker.total", 15_500_000, hours=range(701)),
        *rate("k1.clinker.rate", 210.0),
        *rate("k1.slag.rate", 12.0, skip={100, 101}),
        *counter("k1.steel_slag.total", 3_500_000),
        *counter("k1.ash.total", 1_800_000),
        *counter("grid.energy", 12_000_000),
    ]
    site = build_site("cement", readings, only_kiln1)
    enter_kiln1(site)
    return site.make()


def test_a_dead_belt_weigher_is_filled_hour_by_hour_from_the_redundant_one(month, figures_of):
    found = figures_of(month)["clinker_t", "kiln1"]
    hours = found["substitutions"]
    assert [item["hour"] for item in hours] == [T0 + hour * HOUR_NS for hour in range(700, HOURS)]
    assert {item["method"] for item in hours} == {"redundant_meter"}
    assert {item["source"] for item in hours} == {"k1_clinker_spare belt weigher B2 class 1.0"}
    measured = Decimal(15_500_000 * 700 // HOURS) / 100
    assert float(found["value"]) == pytest.approx(float(measured) + 44 * 210.0, rel=1e-12)
    assert float(found["completeness"]) == pytest.approx(700 / HOURS, abs=1e-6)


def test_a_gap_of_a_deduction_is_filled_with_the_cautious_lower_bound(month, figures_of):
    found = figures_of(month)["substitute_t", "kiln1.carbide_slag"]
    missing = [float(item["missing_s"]) for item in found["substitutions"]]
    assert missing == [300.0, 3600.0, 3600.0]
    assert {item["method"] for item in found["substitutions"]} == {"conservative_bound"}
    assert float(found["value"]) == pytest.approx(12.0 * (HOURS - 7500 / 3600), rel=1e-12)


def test_a_month_without_analyses_takes_the_default_and_says_so(month, figures_of):
    found = figures_of(month)["fuel_ncv", "kiln1.coal"]
    assert found["value"] == "23.076"
    ((item),) = found["substitutions"]
    assert (item["method"], item["missing_s"]) == ("guide_default", str(HOURS * 3600.0))
    assert any("fuel_ncv of kiln1.coal" in text for text in month.plain["reservations"])


def test_a_substituted_amount_is_less_certain_than_a_measured_one(month, figures_of):
    share = float(figures_of(month)["clinker_t", "kiln1"]["uncertainty"]["relative"])
    assert share > 2 * 0.005 / 3**0.5  # the weigher's class alone


def test_every_substituted_hour_stands_in_the_sheet_and_in_the_explanation(month):
    sheet = load_workbook(month.files[1])["substituted 替代"]
    rows = list(sheet.iter_rows(min_row=2, values_only=True))
    listed = sum(len(item["substitutions"]) for item in month.plain["parameters"])
    assert len(rows) == listed == 44 + 3 + 1
    content = verify_.verify(month.files[2]).content
    text = explain(content, "clinker_t", "kiln1")
    assert text.count("替代 substituted") == 44
    assert "2026-10-30T04:00+08:00 3600 s redundant_meter" in text


def test_the_substituted_month_is_verified_offline(month):
    verdict = verify_.verify(month.files[2])
    assert verdict.proven, verdict.difference
    assert json.loads(month.files[0].read_text())["control_plan"]["id"] == "cm-001-dqcp"

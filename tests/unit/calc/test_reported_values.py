"""Reported values beside those recomputed from printed inputs; anode routes; deadlines."""

import math
from decimal import Decimal

import pytest

from edge_agent.calc import aluminium, cement
from edge_agent.calc.aluminium import anode_co2
from edge_agent.calc.combustion import co2_by_heating_value
from edge_agent.calc.deadlines import storage_deadline
from edge_agent.calc.rounding import Given, half_up, report
from edge_agent.errors import CalculationError


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (2.5, 0, "3"), (-2.5, 0, "-3"), (0.5, 0, "1"), (1.005, 2, "1.01"), (2.675, 2, "2.68"),
        (-0.004, 2, "0.00"), (1e-9, 2, "0.00"), (123456789.005, 2, "123456789.01"),
        ("0.125", 2, "0.13"), (Decimal("0.135"), 2, "0.14"), (41.95, 1, "42.0"), (7, 2, "7.00"),
    ],
)  # fmt: skip
def test_half_up_rounds_what_a_person_reads_away_from_zero(value, decimals, text):
    assert str(half_up(value, decimals)) == text


def test_a_report_keeps_full_precision_and_recomputes_from_what_it_prints():
    """CE-04 and CE-05 of the worked cases: 33642.92 at full precision, 33642.71 from the form."""
    given = {
        "amount": Given(15544.45, 2),
        "ncv_gj": Given(354011.4973 / 15544.45, 3),
        "carbon_t_per_gj": Given(0.02618, 5),
        "oxidation": Given(0.99, 2),
    }
    done = report(co2_by_heating_value, given, 2)
    assert math.isclose(done.value, 33642.91622750982, rel_tol=1e-9)
    assert (str(done.rounded), str(done.recomputed)) == ("33642.92", "33642.71")
    assert done.difference == Decimal("0.21")
    assert str(given["ncv_gj"].rounded) == "22.774"


def test_a_report_refuses_what_its_formula_refuses():
    with pytest.raises(CalculationError):
        report(cement.clinker_co2, {"clinker_t": Given(-1, 2), "factor_t_per_t": Given(1, 3)}, 2)


# -- anode routes and deadlines ---------------------------------------------------------------


def test_anode_routes_refuse_what_cannot_be():
    with pytest.raises(CalculationError, match=r"butts 5 t"):
        aluminium.net_consumption(4, 5, 100)
    with pytest.raises(CalculationError, match=r"loss 15\.18"):
        aluminium.net_from_gross(100, 15.18)
    with pytest.raises(CalculationError, match="metal 0 t"):
        aluminium.net_consumption(4, 0, 0)
    with pytest.raises(CalculationError, match="-1"):
        aluminium.anode_co2_by_tonne(-1, 1.424)


def test_the_draft_s_default_a_tonne_is_that_of_nc_0_398():
    """domain-china.md 3.3: 1.424 tCO2/t is NC 0.398 with S 2 % and A 0.4 %."""
    measured = anode_co2(1000, 0.398, 0.02, 0.004)
    assert abs(measured - aluminium.anode_co2_by_tonne(1000, 1.424)) < 0.5


def test_a_deadline_counts_calendar_days_from_the_month_s_last_day():
    assert str(storage_deadline("2028-02", 1)) == "2028-03-01"
    for month, days in (("2026-13", 40), ("2026", 40), ("2026-01", -1)):
        with pytest.raises(CalculationError):
            storage_deadline(month, days)

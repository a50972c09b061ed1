"""Reported values beside those recomputed from printed inputs; rates to amounts; anode routes."""

import math
from decimal import Decimal

import numpy as np
import pytest

from edge_agent.calc import anode_routes, cement
from edge_agent.calc.aluminium import anode_co2
from edge_agent.calc.combustion import co2_by_heating_value
from edge_agent.calc.deadlines import storage_deadline
from edge_agent.calc.rates import trapezoid
from edge_agent.calc.rounding import Given, half_up, report
from edge_agent.errors import CalculationError

NS = 10**9


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


# -- rates ------------------------------------------------------------------------------------


def samples(*points):
    times, values = zip(*points, strict=True)
    return np.array(times, np.int64) * NS, np.array(values, np.float64)


def test_a_rate_is_integrated_by_trapezoids_over_uneven_samples():
    """3 for 10 s falling to 1 over 4 s: 30 + 8."""
    done = trapezoid(*samples((0, 3), (10, 3), (14, 1)), 60 * NS)
    assert (done.total, done.covered_ns, done.gaps) == (38, 14 * NS, ())


def test_a_gap_longer_than_the_limit_is_missing_time_and_named():
    done = trapezoid(*samples((0, 2), (10, 2), (71, 2), (81, 2)), 60 * NS)
    assert (done.total, done.covered_ns) == (40, 20 * NS)
    assert done.gaps == ((10 * NS, 71 * NS),)
    bridged = trapezoid(*samples((0, 2), (10, 2), (70, 2), (80, 2)), 60 * NS)
    assert (bridged.total, bridged.gaps) == (160, ())


def test_pieces_that_share_their_boundary_sample_add_up_to_the_whole():
    random = np.random.default_rng(5)
    times = np.cumsum(random.integers(1, 90, 400)) * NS
    values = random.uniform(-3, 9, 400)
    whole = trapezoid(times, values, 60 * NS)
    for cut in (1, 17, 200, 398):
        parts = [
            trapezoid(times[: cut + 1], values[: cut + 1], 60 * NS),
            trapezoid(times[cut:], values[cut:], 60 * NS),
        ]
        assert math.isclose(sum(part.total for part in parts), whole.total, rel_tol=1e-12)
        assert sum(part.covered_ns for part in parts) == whole.covered_ns
        assert parts[0].gaps + parts[1].gaps == whole.gaps
    assert whole.gaps


def test_less_than_two_samples_cover_nothing():
    assert trapezoid(*samples((5, 2)), NS).covered_ns == 0
    empty = trapezoid(np.array([], np.int64), np.array([], np.float64), NS)
    assert (empty.total, empty.gaps) == (0, ())


@pytest.mark.parametrize("points", [((0, 1), (0, 2)), ((5, 1), (4, 2)), ((0, 1), (1, math.nan))])
def test_times_that_do_not_rise_and_values_that_are_no_numbers_are_refused(points):
    with pytest.raises(CalculationError):
        trapezoid(*samples(*points), NS)


# -- anode routes and deadlines ---------------------------------------------------------------


def test_anode_routes_refuse_what_cannot_be():
    with pytest.raises(CalculationError, match="5 t butts of 4 t anodes"):
        anode_routes.net_anode_by_butts(4, 5)
    with pytest.raises(CalculationError, match=r"loss_rate is 15\.18"):
        anode_routes.net_anode_by_loss(100, 15.18)
    with pytest.raises(CalculationError, match="NC is not defined"):
        anode_routes.consumption_per_tonne(4, 0)


def test_the_draft_s_default_a_tonne_is_that_of_nc_0_398():
    """domain-china.md 3.3: 1.424 tCO2/t is NC 0.398 with S 2 % and A 0.4 %."""
    measured = anode_co2(1000, 0.398, 0.02, 0.004)
    assert abs(measured - anode_routes.co2_by_tonne(1000, 1.424)) < 0.5


def test_a_deadline_counts_calendar_days_from_the_month_s_last_day():
    assert str(storage_deadline("2028-02", 1)) == "2028-03-01"
    for month, days in (("2026-13", 40), ("2026", 40), ("2026-01", -1)):
        with pytest.raises(CalculationError):
            storage_deadline(month, days)

"""Propagation of uncertainty: against closed forms of the GUM and against Monte Carlo."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calc.factors import Factor
from edge_agent.calc.uncertainty import (
    certified,
    exact,
    normal_95,
    of_accuracy_class,
    of_factor,
    rectangular,
    relative_95,
    total,
    with_standard,
)
from edge_agent.errors import CalculationError

DRAWS = 400_000
sizes = st.floats(0.1, 1e6)
spreads = st.floats(0.0, 100.0)


def near(got, expected, rel=1e-12):
    assert math.isclose(got, expected, rel_tol=rel, abs_tol=1e-300), (got, expected)


def test_a_normal_95_interval_is_1_96_standard_deviations():
    near(normal_95("x", 10, 1.96).standard, 1.0, 1e-4)
    near(relative_95("s", -0.143, 0.06).standard, 0.143 * 0.06 / 1.959963984540054)


def test_an_accuracy_class_is_rectangular_of_the_reading_or_of_full_scale():
    near(of_accuracy_class("m", 200, 0.5).standard, 1 / math.sqrt(3))
    near(of_accuracy_class("m", 200, 0.5, full_scale=1_000).standard, 5 / math.sqrt(3))
    near(rectangular("x", 1, 3).standard, math.sqrt(3))


def test_a_certificate_states_its_own_coverage():
    near(certified("scale", 50, 0.3).standard, 0.15)
    near(certified("scale", 50, 0.3, coverage=3).standard, 0.1)


def test_independent_terms_of_a_sum_add_in_squares():
    """GUM 5.1.2: u = sqrt(3^2 + 4^2) = 5, and U = 2 u."""
    result = with_standard("a", 100, 3) + with_standard("b", 50, 4) - 20
    assert result.value == 130
    near(result.standard, 5)
    near(result.expanded, 10)
    near(result.relative_expanded, 10 / 130)


def test_relative_uncertainties_of_a_product_and_quotient_add_in_squares():
    """GUM 5.1.6."""
    result = (
        7 * with_standard("a", 10, 0.3) * with_standard("b", 4, 0.16) / with_standard("c", 2, 0)
    )
    assert result.value == 140
    near(result.standard / result.value, 0.05)


def test_a_power_multiplies_the_relative_uncertainty_by_its_exponent():
    result = with_standard("a", 16, 0.16) ** 0.5
    assert result.value == 4
    near(result.standard / 4, 0.005)
    assert (with_standard("a", 16, 1) ** 0).standard == 0


def test_a_budget_names_the_largest_contribution_first():
    result = 2 * with_standard("small", 1, 1) + 3 * with_standard("large", 1, 4 / 3)
    shares = result.budget()
    assert [share.name for share in shares] == ["large", "small"]
    near(shares[0].of_variance, 16 / 20)
    near(sum(share.of_variance for share in shares), 1)
    assert exact(3).budget() == []


def test_a_factor_shared_by_several_terms_is_fully_correlated():
    """Ten lines under one slope: 6 % stays 6 %, where ten independent slopes would give 1.9 %."""
    metals = [exact(1_000) for _ in range(10)]
    shared = relative_95("slope", 0.143, 0.06)
    lines = total(shared * metal for metal in metals)
    near(lines.standard / lines.value, 0.06 / 1.959963984540054)
    apart = total(relative_95(f"slope{n}", 0.143, 0.06) * metal for n, metal in enumerate(metals))
    near(apart.standard / apart.value, 0.06 / 1.959963984540054 / math.sqrt(10))


def test_what_enters_and_leaves_cancels():
    stock = with_standard("stock", 500, 25)
    assert (stock + 3 - stock).standard == 0
    near((stock / stock).value, 1)
    assert (stock / stock).standard == pytest.approx(0, abs=1e-15)
    near((stock * stock).standard, (stock**2).standard)


def test_stock_at_month_end_adds_to_one_month_and_is_taken_from_the_next():
    """Purchases + opening - closing: over two months the stock between them cancels."""
    stocks = [with_standard(f"stock{n}", 1_000, 30) for n in range(3)]
    months = [exact(5_000) + stocks[n] - stocks[n + 1] for n in range(2)]
    near(months[0].standard, 30 * math.sqrt(2))
    near(total(months).standard, 30 * math.sqrt(2))


def test_a_factor_without_a_stated_uncertainty_is_exact_and_named():
    bare = Factor("anode.ash", 0.004, "1", "a document")
    stated = Factor("pfc.slope.cwpb", 0.143, "kg", "a document", relative_uncertainty=0.06)
    result = of_factor(stated) * (1 - of_factor(bare))
    assert result.unstated == {"anode.ash"}
    near(result.standard / result.value, 0.06 / 1.959963984540054)
    assert total([result, exact(1)]).unstated == {"anode.ash"}


def test_given_correlations_follow_gum_equation_13():
    """The resistors of GUM 5.2.2: ten of 1000 ohm, calibrated with one standard of 100 mohm."""
    chain = total(with_standard(f"r{n}", 1_000, 0.1) for n in range(10))
    pairs = {(f"r{i}", f"r{j}"): 1.0 for i in range(10) for j in range(i)}
    near(chain.correlated(pairs), 1.0)
    near(chain.standard, 0.1 * math.sqrt(10))
    one = with_standard("a", 5, 3) - with_standard("b", 5, 4)
    near(one.correlated({("b", "a"): 0.5}), math.sqrt(9 + 16 - 12))
    near(one.correlated({("a", "elsewhere"): 1.0}), 5)


@pytest.mark.parametrize(
    "pairs", [{("a", "b"): 1.1}, {("a", "a"): 1.0}, {("a", "b"): 0.1, ("b", "a"): 0.1}]
)
def test_impossible_correlations_are_refused(pairs):
    value = with_standard("a", 1, 1) + with_standard("b", 1, 1)
    with pytest.raises(CalculationError, match="correlation"):
        value.correlated(pairs)


def test_contradicting_correlations_are_refused():
    value = total(with_standard(name, 1, 1) for name in "abc")
    with pytest.raises(CalculationError, match="contradict"):
        value.correlated({("a", "b"): -1, ("b", "c"): -1, ("a", "c"): -1})


def test_one_name_for_two_inputs_is_refused():
    with pytest.raises(CalculationError, match="'scale' stands for two"):
        with_standard("scale", 10, 1) + with_standard("scale", 11, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_standard("x", math.nan, 1),
        lambda: with_standard("x", 1, -1),
        lambda: with_standard("x", 1, math.inf),
        lambda: with_standard("", 1, 1),
        lambda: certified("x", 1, 1, coverage=0),
        lambda: exact(math.inf),
        lambda: exact(1) / exact(0),
        lambda: exact(-1) ** 0.5,
        lambda: exact(1e300) * 1e300,
    ],
)
def test_what_has_no_meaning_is_refused(make):
    with pytest.raises(CalculationError):
        make()


def test_a_relative_uncertainty_of_zero_is_undefined():
    assert (with_standard("a", 1, 1) - 1).relative_expanded is None


@given(values=st.lists(st.tuples(sizes, spreads), min_size=2, max_size=6), scale=sizes)
def test_units_scale_value_and_uncertainty_alike(values, scale):
    inputs = [with_standard(str(n), size, spread) for n, (size, spread) in enumerate(values)]
    near((scale * total(inputs)).standard, scale * total(inputs).standard, 1e-9)


@given(values=st.lists(st.tuples(sizes, spreads), min_size=2, max_size=6), cut=st.integers(1, 5))
def test_a_sum_of_parts_is_the_sum_of_the_whole(values, cut):
    inputs = [with_standard(str(n), size, spread) for n, (size, spread) in enumerate(values)]
    parts = total([total(inputs[:cut]), total(inputs[cut:])])
    near(parts.standard, total(inputs).standard)


def test_the_month_of_an_aluminium_line_agrees_with_monte_carlo():
    """CO2e of PFC and anodes of two lines under shared factors, as the month computes it."""
    rng = np.random.default_rng(20_261)
    slope = relative_95("slope", 0.143, 0.06)
    ratio = relative_95("ratio", 0.121, 0.11)
    scale = of_accuracy_class("scale", 13_000, 0.5)
    aem = [with_standard("aem1", 0.162, 0.008), with_standard("aem2", 0.31, 0.01)]
    carbon = normal_95("carbon", 0.42, 0.01)

    def model(slope_, ratio_, metal, aems, carbon_):
        pfc = sum(slope_ * one * metal * (1 + ratio_ * 1.6742) for one in aems) * 6.63
        return pfc + 2 * carbon_ * metal * 44 / 12

    result = model(slope, ratio, scale, aem, carbon)

    def normal(value):
        return rng.normal(value.value, value.standard, DRAWS)

    half = scale.standard * math.sqrt(3)
    drawn = model(
        normal(slope),
        normal(ratio),
        rng.uniform(13_000 - half, 13_000 + half, DRAWS),
        [normal(item) for item in aem],
        normal(carbon),
    )
    near(result.value, float(np.mean(drawn)), 1e-3)
    near(result.standard, float(np.std(drawn)), 0.01)


def test_quotients_powers_and_cancellation_agree_with_monte_carlo():
    rng = np.random.default_rng(7)
    a, b, c = (
        with_standard("a", 5, 0.05),
        with_standard("b", 3, 0.04),
        with_standard("c", 2, 0.02),
    )

    def model(x, y, z):
        return (x - y) ** 1.5 / (z * x) + 4 / y - z**-2

    drawn = model(*(rng.normal(item.value, item.standard, DRAWS) for item in (a, b, c)))
    near(model(a, b, c).standard, float(np.std(drawn)), 0.01)

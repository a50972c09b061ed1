"""Clinker: both routes, floors, dusts, several lines; expected numbers by hand or published."""

import math
from fractions import Fraction

import pytest

from edge_agent import factor_sets
from edge_agent.calc import cement
from edge_agent.calc.cement import Clinker, ClinkerStock, Dust, LineTotal, Substitute
from edge_agent.calc.vocabulary import SUBSTITUTES
from edge_agent.errors import CalculationError

GUIDE = factor_sets.find("cets-ag-02.01-v01-2024")


def test_the_ipcc_default_of_64_6_percent_lime_gives_0_507():
    """IPCC Good Practice Guidance 2000, cement: 64.6 % CaO x 0.785 makes 0.507 tCO2 a tonne.

    The guidance prints 44/56 with three decimals, which takes 0.1 % off.
    """
    found = cement.clinker_factor(0.646, 0, 0, 0)
    assert abs(found - 0.507) < 0.001
    assert round(found * 0.785 / (44 / 56), 3) == 0.507


def test_65_percent_cao_and_2_2_percent_mgo_give_the_chinese_default():
    """domain-china.md 4.3: the check of 0.535."""
    expected = Fraction("0.65") * 44 / 56 + Fraction("0.022") * 44 / 40
    found = cement.clinker_factor(0.65, 0.022, 0, 0)
    assert math.isclose(found, expected, rel_tol=1e-15)
    assert round(found, 3) == GUIDE.get("clinker.portland.ef").value


def test_a_deduction_stops_at_zero_on_each_line_alone():
    """Two lines: 10 t of CO2 and 8 t deduction on one, 10 t and 30 t on the other: 2 + 0 t."""
    first = cement.line_process_co2([Clinker("portland", 20, 0.5)], [Substitute("a", 20, 0.4)])
    second = cement.line_process_co2([Clinker("portland", 20, 0.5)], [Substitute("a", 75, 0.4)])
    assert (first.gross_t, first.co2_t, first.floored) == (10, 2, False)
    assert (second.deduction_t, second.co2_t, second.floored) == (30, 0, True)
    plant = cement.plant_total(
        {
            "1": LineTotal(combustion_t=5, process_t=first.co2_t, clinker_t=20),
            "2": LineTotal(combustion_t=7, process_t=second.co2_t, clinker_t=20),
        }
    )
    assert (plant.process_t, plant.combustion_t, plant.co2_t, plant.clinker_t) == (2, 12, 14, 40)
    assert plant.intensity_t_per_t == 0.35


def test_every_substitute_of_the_vocabulary_has_a_deduction():
    """domain-china.md 4.3: eight values over thirty materials."""
    values = {name: GUIDE.get(f"deduction.{name}").value for name in SUBSTITUTES}
    assert len(values) == 30
    counts = {value: list(values.values()).count(value) for value in sorted(set(values.values()))}
    assert counts == {0.055: 7, 0.135: 3, 0.215: 2, 0.245: 7, 0.305: 4, 0.375: 3, 0.48: 2, 0.6: 2}


def test_a_negative_substitute_or_clinker_is_refused():
    with pytest.raises(CalculationError, match="mass of fly_ash is -1"):
        cement.line_process_co2([Clinker("white", 1, 0.5)], [Substitute("fly_ash", -1, 0.05)])
    with pytest.raises(CalculationError, match="clinker -1 t"):
        cement.line_process_co2([Clinker("white", -1, 0.5)], [])
    with pytest.raises(CalculationError, match="clinker nan t"):
        cement.clinker_co2(math.nan, 0.5)


def test_the_carbide_slag_rate_is_a_percentage_of_calcareous_materials():
    assert cement.carbide_slag_rate(15, 100) == 15
    assert cement.carbide_slag_rate(0, 100) == 0
    for slag, whole in ((101, 100), (0, 0), (-1, 100)):
        with pytest.raises(CalculationError):
            cement.carbide_slag_rate(slag, whole)


def test_the_unverified_definition_of_the_rate_says_so():
    assert "unverified" in (cement.carbide_slag_rate.__doc__ or "")


def test_oxide_route_adds_dusts_and_the_carbon_of_the_meal():
    """By hand with EF 0.5: 100 x 0.5 + 4 x 0.5 + 2 x 0.5 x 0.25 + 12 x 0.01 x 44/12."""
    done = cement.oxide_process_co2(100, 0.5, Dust(4, 2, 0.25, 12, 0.01))
    assert (done.clinker_t, done.kiln_dust_t, done.bypass_dust_t) == (50, 2, 0.25)
    assert math.isclose(done.raw_meal_carbon_t, 0.44, rel_tol=1e-15)
    assert math.isclose(done.co2_t, 52.69, rel_tol=1e-15)
    assert cement.oxide_process_co2(100, 0.5, Dust()).co2_t == 50


def test_a_dust_or_share_out_of_range_is_refused():
    with pytest.raises(CalculationError, match="bypass_decomposition is 60"):
        cement.oxide_process_co2(100, 0.5, Dust(bypass_dust_t=1, bypass_decomposition=60))
    with pytest.raises(CalculationError, match="raw_meal_t is -1"):
        cement.oxide_process_co2(100, 0.5, Dust(raw_meal_t=-1))


def test_clinker_by_stock_stands_beside_the_belt_weigher():
    stock = ClinkerStock(
        used_in_grinding_t=800, sold_t=150, opening_t=60, closing_t=90, bought_t=30
    )
    made = cement.clinker_by_stock(stock)
    assert made == 950
    both = cement.compare_clinker(969, made)
    assert (both.difference_t, both.difference_percent) == (19, 2)
    assert cement.compare_clinker(5, 0).difference_percent is None


def test_a_stock_that_eats_clinker_is_refused():
    with pytest.raises(CalculationError, match="clinker_by_stock is -10"):
        cement.clinker_by_stock(ClinkerStock(0, 0, 10, 0))


def test_a_line_that_stood_still_has_no_intensity():
    assert LineTotal(3, 0, 0).intensity_t_per_t is None
    assert LineTotal(3, 4, 10, alternative_fuel_t=1).intensity_t_per_t == 0.8


@pytest.mark.parametrize(
    "oxides",
    [
        (1.1, 0, 0, 0),
        (0.6, 0.02, 0.61, 0),
        (0.6, 0.02, 0, 0.03),
        (65, 2.2, 0, 0),
        (0.6, 0, -0.1, 0),
    ],
)
def test_oxides_that_are_no_fractions_or_parts_above_their_whole_are_refused(oxides):
    with pytest.raises(CalculationError, match="fractions with part <= whole"):
        cement.clinker_factor(*oxides)


def test_clinker_without_carbonate_or_of_no_mass_emits_nothing():
    assert cement.clinker_factor(0.6, 0.02, 0.6, 0.02) == 0
    assert cement.clinker_factor(1, 0, 0, 0) == 44 / 56
    assert cement.clinker_co2(0, 0.5) == cement.clinker_co2(5, 0) == 0
    assert cement.oxide_process_co2(100, 0.5, Dust(raw_meal_t=9)).co2_t == 50


def test_magnesia_that_came_without_carbonate_is_taken_off():
    """(0.02 - 0.005) x 44/40."""
    assert math.isclose(cement.clinker_factor(0, 0.02, 0, 0.005), 0.0165, rel_tol=1e-15)


def test_a_deduction_of_exactly_the_gross_leaves_zero_without_a_floor():
    line = cement.line_process_co2([Clinker("white", 8, 0.5)], [Substitute("a", 16, 0.25)])
    assert (line.co2_t, line.floored) == (0, False)

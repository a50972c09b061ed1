"""Fuels: routes, bases, stocks, lots, gas volumes; numbers by hand or from public documents."""

import math
from fractions import Fraction

import pytest

from edge_agent import factor_sets
from edge_agent.calc import basis, combustion, energy, gas, stock
from edge_agent.calc.basis import Basis, Moisture
from edge_agent.calc.combustion import FuelUse, Origin, Route, burn
from edge_agent.calc.defaults import Measured, fuel_use, oxidation
from edge_agent.errors import CalculationError

CEMENT = factor_sets.find("cets-ag-02.01-v01-2024")
STEEL = factor_sets.find("cets-ag-03.01-v01-2024")


def test_carbon_by_ultimate_analysis_gives_the_factor_of_ap_42():
    """AP-42 5th ed. section 1.1: 72.6 lb CO2 a short ton and percent of carbon at 99 %."""
    per_percent = 2000 * combustion.co2_by_carbon_content(1, 0.01, 0.99)
    assert math.isclose(per_percent, 72.6, rel_tol=1e-12)


def test_a_measured_carbon_content_wins_over_heating_value():
    use = FuelUse("bituminous", 100, 1, ncv_gj=20, carbon_t_per_gj=0.02618, carbon_t_per_unit=0.6)
    done = burn(use)
    assert done.route is Route.MEASURED_CARBON
    assert done.carbon_t == 60
    assert math.isclose(done.co2_t, 220, rel_tol=1e-15)
    assert done.heat_gj == 2000


def test_without_measured_carbon_the_heating_value_counts():
    done = burn(FuelUse("coke", 10, 0.5, ncv_gj=28, carbon_t_per_gj=0.03))
    assert done.route is Route.HEATING_VALUE
    expected = Fraction(10) * 28 * Fraction(3, 100) * Fraction(1, 2) * Fraction(44, 12)
    assert math.isclose(done.co2_t, expected, rel_tol=1e-15)
    assert math.isclose(done.carbon_t, 8.4, rel_tol=1e-15)


def test_the_carbon_of_a_gas_may_exceed_one_tonne_a_unit_but_not_that_of_a_solid():
    gas_ = FuelUse("blast_furnace_gas", 2, 1, unit="10^4Nm3", carbon_t_per_unit=2.3)
    assert burn(gas_).carbon_t == 4.6
    with pytest.raises(CalculationError, match=r"carbon of coke \[tC/t\] is 2.3"):
        burn(FuelUse("coke", 2, 1, carbon_t_per_unit=2.3))


@pytest.mark.parametrize(
    ("use", "match"),
    [
        (FuelUse("coke", -1, 1, carbon_t_per_unit=0.8), "negative amount needs a reason"),
        (FuelUse("coke", math.nan, 1, carbon_t_per_unit=0.8), "finite number"),
        (FuelUse("coke", 1, 1.01, carbon_t_per_unit=0.8), "oxidation of coke is 1.01"),
        (FuelUse("coke", 1, 1, ncv_gj=28), "neither a measured carbon content"),
        (FuelUse("coke", 1, 1, ncv_gj=-28, carbon_t_per_gj=0.03), "ncv_gj is -28"),
        (FuelUse("coke", 1, 1, ncv_gj=28, carbon_t_per_gj=-0.03), "carbon_t_per_gj is -0.03"),
        (FuelUse("coke", 1, 1, ncv_gj=math.nan, carbon_t_per_unit=0.8), "ncv_gj is nan"),
        (FuelUse("coke", 1, 1, carbon_t_per_unit=-0.8), "carbon of coke is -0.8"),
        (FuelUse("coke", 1, 1, unit="kg", carbon_t_per_unit=0.8), "unit of coke is 'kg'"),
    ],
)
def test_a_fuel_use_out_of_range_is_refused_by_name(use, match):
    with pytest.raises(CalculationError, match=match):
        burn(use)


def test_a_negative_amount_with_a_reason_deducts():
    done = burn(FuelUse("coke", -3, 1, carbon_t_per_unit=0.8, reason="sold from stock"))
    assert math.isclose(done.co2_t, -8.8, rel_tol=1e-15)


def test_only_the_fossil_part_of_an_alternative_fuel_counts():
    assert combustion.alternative_fuel_co2(100, 20, 0.09, 0) == 0
    assert math.isclose(combustion.alternative_fuel_co2(100, 20, 0.09, 0.25), 45, rel_tol=1e-15)
    with pytest.raises(CalculationError, match="fossil_fraction is 25"):
        combustion.alternative_fuel_co2(100, 20, 0.09, 25)


# -- defaults out of a factor set -------------------------------------------------------------


@pytest.mark.parametrize(
    ("equipment", "expected"),
    [("cement_kiln", 0.99), ("power_boiler", 0.95), ("industrial_boiler", 0.85), ("other", 0.95)],
)
def test_a_solid_fuel_oxidises_by_where_it_burns(equipment, expected):
    """domain-china.md 2.2, source A."""
    assert oxidation(CEMENT, "bituminous", equipment).value == expected
    assert oxidation(CEMENT, "diesel", equipment).value == 0.98


def test_a_solid_fuel_without_equipment_is_refused_with_those_there_are():
    with pytest.raises(CalculationError, match="one of cement_kiln, power_boiler"):
        fuel_use(CEMENT, "bituminous", Measured(1))


def test_what_was_measured_takes_the_place_of_the_default_and_of_it_alone():
    use, taken = fuel_use(CEMENT, "coke", Measured(7, ncv_gj=27.5), "cement_kiln")
    assert (use.ncv_gj, use.carbon_t_per_gj, use.oxidation) == (27.5, 0.02942, 0.99)
    assert [factor.id for factor in taken] == ["oxidation.solid.cement_kiln", "fuel.coke.carbon"]
    use, taken = fuel_use(CEMENT, "coke", Measured(7, carbon_t_per_unit=0.85), "cement_kiln")
    assert (use.ncv_gj, use.carbon_t_per_unit) == (None, 0.85)
    assert [factor.id for factor in taken] == ["oxidation.solid.cement_kiln"]
    use, taken = fuel_use(STEEL, "converter_gas", Measured(5, origin=Origin.OWN))
    assert (use.unit, use.origin, use.ncv_gj) == ("10^4Nm3", Origin.OWN, 84.0)
    assert len(taken) == 3


def test_an_unknown_fuel_is_refused_with_those_there_are():
    with pytest.raises(CalculationError, match="no fuel 'peat'; known: anthracite"):
        fuel_use(CEMENT, "peat", Measured(1))
    with pytest.raises(CalculationError, match=r"no factor 'fuel.crude_benzol.oxidation'"):
        fuel_use(CEMENT, "crude_benzol", Measured(1))


# -- coal bases -------------------------------------------------------------------------------


def test_contents_convert_between_the_three_bases():
    moisture = Moisture(ar_percent=10, ad_percent=4)
    assert basis.convert(60, Basis.DRY, Basis.AS_RECEIVED, moisture) == 54
    assert basis.convert(54, Basis.AS_RECEIVED, Basis.DRY, moisture) == 60
    assert math.isclose(basis.convert(48, Basis.AIR_DRIED, Basis.DRY, moisture), 50)
    assert basis.convert(48, Basis.AIR_DRIED, Basis.AIR_DRIED, moisture) == 48


def test_a_net_heating_value_pays_for_its_water():
    """By hand: (25 + 0.023 x 2) x 90/98 - 0.023 x 10."""
    found = basis.convert_ncv(25, Basis.AIR_DRIED, Basis.AS_RECEIVED, Moisture(10, 2), 0.023)
    assert math.isclose(
        found, float(Fraction("25.046") * 90 / 98 - Fraction("0.23")), rel_tol=1e-15
    )
    evaporation = CEMENT.get("coal.evaporation")
    assert (evaporation.value, evaporation.unit) == (0.023, "GJ/t/%")


@pytest.mark.parametrize(
    ("moisture", "match"),
    [
        (Moisture(101, 2), "M_ar is 101"),
        (Moisture(10, -1), "M_ad is -1"),
        (Moisture(10, 100), "nothing but water"),
    ],
)
def test_an_impossible_moisture_is_refused(moisture, match):
    with pytest.raises(CalculationError, match=match):
        basis.convert(50, Basis.AIR_DRIED, Basis.AS_RECEIVED, moisture)


def test_a_moisture_that_was_not_measured_is_not_taken_as_zero():
    with pytest.raises(CalculationError, match="M_ad was not measured"):
        basis.convert(50, Basis.AIR_DRIED, Basis.AS_RECEIVED, Moisture(ar_percent=10))
    with pytest.raises(CalculationError, match="M_ar was not measured"):
        basis.convert(50, Basis.DRY, Basis.AS_RECEIVED, Moisture(ad_percent=2))
    assert basis.convert(50, Basis.DRY, Basis.AS_RECEIVED, Moisture(ar_percent=10)) == 45


def test_coal_too_wet_to_burn_is_refused():
    """2 GJ/t dry at 50 % moisture and 0.02 GJ/t/% leaves nothing, which is still no error."""
    assert basis.convert_ncv(2, Basis.DRY, Basis.AS_RECEIVED, Moisture(50), 0.02) == 0
    with pytest.raises(CalculationError, match="more heat than there is"):
        basis.convert_ncv(20, Basis.DRY, Basis.AS_RECEIVED, Moisture(95), 0.023)


# -- stocks and lots --------------------------------------------------------------------------


def test_net_consumption_below_zero_needs_a_reason():
    balance = stock.StockBalance(opening=10, bought=5, closing=12, passed_on=8)
    with pytest.raises(CalculationError, match="net consumption is -5"):
        stock.net_consumption(balance)
    assert stock.net_consumption(balance, reason="stock count corrected") == -5


def test_a_negative_stock_is_refused_even_with_a_reason():
    with pytest.raises(CalculationError, match="closing is -1"):
        stock.net_consumption(stock.StockBalance(1, 1, -1), reason="because")


def test_lots_are_weighted_by_mass_and_not_counted():
    done = stock.blend([stock.Lot(3, 20), stock.Lot(1, 28), stock.Lot(0, 1000)])
    assert (done.mass_t, done.weighted, done.mean) == (4, 88, 22)
    with pytest.raises(CalculationError, match="weigh nothing"):
        stock.blend([])
    with pytest.raises(CalculationError, match="mass_t is -1"):
        stock.blend([stock.Lot(-1, 3)])


# -- gas volumes ------------------------------------------------------------------------------


def test_a_volume_at_sales_conditions_shrinks_by_the_ratio_of_temperatures():
    sold = gas.GasVolume(293_150, gas.Compensation.SALES_20C)
    assert math.isclose(gas.to_normal(sold).nm3, 273_150, rel_tol=1e-15)
    assert math.isclose(gas.to_normal(sold).amount, 27.315, rel_tol=1e-15)


def test_a_compensated_volume_stays_and_is_never_corrected_twice():
    assert gas.to_normal(gas.GasVolume(5, gas.Compensation.NORMAL)) == gas.NormalVolume(5)
    for compensation in (gas.Compensation.NORMAL, gas.Compensation.SALES_20C):
        with pytest.raises(CalculationError, match="corrected twice"):
            gas.to_normal(gas.GasVolume(5, compensation, 8.2, 34))


def test_an_uncompensated_volume_needs_pressure_and_temperature():
    with pytest.raises(CalculationError, match="needs its gauge pressure"):
        gas.to_normal(gas.GasVolume(5, gas.Compensation.NONE, temperature_c=20))
    with pytest.raises(CalculationError, match="kPa absolute"):
        gas.to_normal(gas.GasVolume(5, gas.Compensation.NONE, -101.325, 20))
    normal = gas.GasVolume(5, gas.Compensation.NONE, 0, 0)
    assert gas.to_normal(normal).nm3 == 5
    doubled = gas.GasVolume(5, gas.Compensation.NONE, 101.325, 273.15)
    assert gas.to_normal(doubled).nm3 == 5


def test_a_standard_cubic_metre_of_15_degrees_is_0_948_normal_ones():
    """The conversion that gas suppliers print for ISO 13443 reference conditions."""
    one = gas.GasVolume(1, gas.Compensation.NONE, 0, 15)
    assert round(gas.to_normal(one).nm3, 3) == 0.948


def test_the_atmosphere_of_a_plateau_counts():
    plateau = gas.GasVolume(1000, gas.Compensation.NONE, 0, 0, atmosphere_kpa=81.06)
    assert math.isclose(gas.to_normal(plateau).nm3, 800, rel_tol=1e-15)


# -- electricity and heat ---------------------------------------------------------------------


def test_electricity_is_counted_by_source_and_net_of_what_is_sold():
    sources = [
        energy.PowerSource("grid", 1000, 0.5306, sold_mwh=200),
        energy.PowerSource("direct wind line", 300, 0),
    ]
    done = energy.electricity_co2(sources)
    assert list(done) == ["grid", "direct wind line"]
    assert math.isclose(done["grid"], 424.48, rel_tol=1e-15)
    assert done["direct wind line"] == 0


def test_a_source_of_electricity_stands_once_and_sells_more_than_it_buys_with_a_reason():
    with pytest.raises(CalculationError, match="'grid' stands twice"):
        energy.electricity_co2([energy.PowerSource("grid", 1, 1)] * 2)
    with pytest.raises(CalculationError, match="net MWh of grid is -4"):
        energy.electricity_co2([energy.PowerSource("grid", 1, 0.5, sold_mwh=5)])
    surplus = energy.PowerSource("grid", 1, 0.5, sold_mwh=5, reason="waste heat power")
    assert energy.electricity_co2([surplus]) == {"grid": -2}


def test_heat_of_hot_water_and_steam_by_hand():
    """100 t from 20 to 70 C: 100 x 50 x 4.1868/1000 = 20.934 GJ."""
    assert math.isclose(energy.hot_water_heat_gj(100, 70, 20, 4.1868), 20.934, rel_tol=1e-15)
    assert math.isclose(energy.steam_heat_gj(10, 2783.74, 83.74), 27, rel_tol=1e-15)
    assert math.isclose(energy.heat_co2(100, 0.11), 11, rel_tol=1e-15)


def test_water_at_its_base_holds_no_heat_and_electricity_is_not_sold_unless_said():
    assert energy.steam_heat_gj(10, 83.74, 83.74) == 0
    assert energy.hot_water_heat_gj(10, 20, 20, 4.1868) == 0
    assert energy.electricity_co2([energy.PowerSource("grid", 2, 0.5)]) == {"grid": 1}


def test_heat_that_flows_the_wrong_way_is_refused():
    with pytest.raises(CalculationError, match="colder than the base"):
        energy.hot_water_heat_gj(100, 15, 20, 4.1868)
    with pytest.raises(CalculationError, match="less than feed water"):
        energy.steam_heat_gj(10, 80, 83.74)
    with pytest.raises(CalculationError, match="net heat is -3"):
        energy.heat_co2(-3, 0.11)
    assert energy.heat_co2(-3, 0.1, reason="heat sold to the town") == pytest.approx(-0.3)

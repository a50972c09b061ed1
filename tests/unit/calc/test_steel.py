"""Steel: enterprise, units, gases, netting; factors checked against chemistry, not against code."""

import math

import pytest

from edge_agent import factor_sets
from edge_agent.calc import process, steel
from edge_agent.calc.combustion import NM3_10K, FuelUse, Origin
from edge_agent.calc.defaults import Measured, fuel_use
from edge_agent.calc.process import Item
from edge_agent.calc.steel_units import (
    GasOutside,
    Material,
    Netting,
    Unit,
    UnitMonth,
    gas_accounts,
    net_units,
    power_co2,
    unit_co2,
)
from edge_agent.errors import CalculationError

GUIDE = factor_sets.find("cets-ag-03.01-v01-2024")


@pytest.mark.parametrize(
    ("factor", "chemistry", "tolerance"),
    [
        ("steel.material.limestone", 44 / 100, 0.001),  # CaCO3
        ("steel.material.electrode", 0.999 * 44 / 12, 0.0005),  # graphite of 99.9 % C
        ("steel.material.pig_iron", 0.047 * 44 / 12, 0.001),  # 4.7 % C
        ("steel.material.dri", 0.02 * 44 / 12, 0.001),  # 2 % C
        ("steel.product.tar", 33.453 * 0.022 * 44 / 12, 0.001),
        ("steel.product.crude_benzol", 72.06 / 78.11 * 44 / 12, 0.001),  # C6H6
    ],
)
def test_a_factor_fits_the_chemistry_behind_it(factor, chemistry, tolerance):
    assert abs(GUIDE.get(factor).value - chemistry) < tolerance


def test_both_dolomite_factors_lie_below_pure_dolomite():
    """CaMg(CO3)2: 2 x 44.01/184.40 = 0.4773 (IPCC 2006 vol. 3 table 2.1)."""
    values = [item.value for item in GUIDE.factors["steel.material.dolomite"]]
    assert values == [0.471, 0.476]
    assert max(values) < 2 * 44.01 / 184.40


def coal(name, amount, carbon, **more):
    return FuelUse(name, amount, 1, carbon_t_per_unit=carbon, **more)


def gas(name, amount, carbon, **more):
    return FuelUse(name, amount, 1, unit=NM3_10K, carbon_t_per_unit=carbon, **more)


def test_a_gas_made_inside_is_not_counted_at_the_enterprise():
    own = gas("blast_furnace_gas", 10, 2.3, origin=Origin.OWN)
    with pytest.raises(CalculationError, match="blast_furnace_gas was made inside"):
        steel.enterprise([coal("coke", 1, 0.8), own], [], [])


def test_a_gas_made_inside_that_leaves_is_deducted_with_its_reason():
    left = gas("coke_oven_gas", -30, 2, origin=Origin.OWN, reason="sold to the town")
    works = steel.enterprise([coal("washed_coal", 150, 0.7), left], [], [])
    assert math.isclose(works.co2_t, (105 - 60) * 44 / 12, rel_tol=1e-15)
    silent = gas("coke_oven_gas", -30, 2, origin=Origin.OWN)
    with pytest.raises(CalculationError, match="needs a reason"):
        steel.enterprise([silent], [], [])


def test_a_fuel_stands_once():
    with pytest.raises(CalculationError, match="'coke' stands 2 times"):
        steel.enterprise([coal("coke", 1, 0.8), coal("coke", 2, 0.8)], [], [])


def test_the_enterprise_is_fuels_plus_process_minus_products():
    works = steel.enterprise(
        [coal("coke", 30, 0.8)],
        [Item("limestone", 100, 0.44), Item("scrap", -5, 0.037)],
        [Item("crude_steel", 200, 0.037)],
    )
    assert math.isclose(works.fuel_t, 88, rel_tol=1e-15)
    assert works.process_t == 44
    assert math.isclose(works.product_t, 7.4, rel_tol=1e-15)
    assert math.isclose(works.co2_t, 124.6, rel_tol=1e-15)
    assert [item.floored for item in works.materials] == [False, True]


def test_products_are_never_negative():
    with pytest.raises(CalculationError, match="amount of tar is -1"):
        process.kept([Item("tar", -1, 2.699)])


def test_oxidation_is_a_choice_of_the_factor_set():
    """2 % between the two readings of the guide, on solids; 1 % on gases."""
    use, _ = fuel_use(GUIDE, "coke", Measured(1))
    assert (GUIDE.option("oxidation_in_steel").value, use.oxidation) == ("none", 1)
    both = {item.when: item.value for item in GUIDE.factors["fuel.converter_gas.oxidation"]}
    assert both == {"oxidation_in_steel=none": 1, "oxidation_in_steel=by_state": 0.99}


# -- units ------------------------------------------------------------------------------------

COKING = UnitMonth(
    Unit.COKING,
    "1",
    fuels_in=(coal("washed_coal", 100, 0.8), gas("blast_furnace_gas", 4, 2.5)),
    fuels_out=(coal("coke", 70, 0.85), gas("coke_oven_gas", 5, 2), coal("tar", 3, 0.9)),
    product_t=70,
)
FURNACE = UnitMonth(
    Unit.BLAST_FURNACE,
    "1",
    fuels_in=(coal("coke", 70, 0.85), gas("coke_oven_gas", 2, 2)),
    fuels_out=(gas("blast_furnace_gas", 16, 2.5),),
    materials_in=(Material("limestone", 10, 0.12),),
    materials_out=(Material("hot_metal", 150, 0.046),),
)
POWER = UnitMonth(Unit.POWER, "1", fuels_in=(gas("blast_furnace_gas", 9, 2.5),))


def test_a_unit_reports_gross_in_gross_out_and_their_difference():
    """By hand: in 80 + 10 tC, out 59.5 + 10 + 2.7 tC."""
    done = unit_co2(COKING)
    assert math.isclose(done.gross_in_t, 90 * 44 / 12, rel_tol=1e-15)
    assert math.isclose(done.gross_out_t, 72.2 * 44 / 12, rel_tol=1e-15)
    assert math.isclose(done.co2_t, 17.8 * 44 / 12, rel_tol=1e-14)
    assert math.isclose(done.balance_co2_t, done.co2_t, rel_tol=1e-12)
    assert math.isclose(done.closure_carbon_t, 0, abs_tol=1e-12)


def test_closure_names_the_carbon_that_the_form_does_not_see():
    """The form counts 59.5 + 4 - 40 = 23.5 tC; hot metal takes 6.9 and limestone brings 1.2."""
    done = unit_co2(FURNACE)
    assert math.isclose(done.co2_t, 23.5 * 44 / 12, rel_tol=1e-14)
    assert math.isclose(done.balance_co2_t, (64.7 - 46.9) * 44 / 12, rel_tol=1e-14)
    assert math.isclose(done.closure_carbon_t, -5.7, rel_tol=1e-12)
    assert math.isclose(done.closure_percent, -100 * 5.7 / 64.7, rel_tol=1e-12)


def test_a_unit_without_carbon_has_no_closure_percentage():
    assert unit_co2(UnitMonth(Unit.ROLLING, "1")).closure_percent is None


@pytest.mark.parametrize(
    ("rule", "carbon_t"),
    [(Netting.NET, 17.8 + 23.5 - 4), (Netting.NET_FLOORED, 41.3), (Netting.GROSS_IN, 153.5)],
)
def test_units_are_netted_by_the_rule_of_the_set_and_power_stays_apart(rule, carbon_t):
    lime = UnitMonth(Unit.LIME, "1", fuels_out=(coal("coke", 5, 0.8),))
    results = [unit_co2(month) for month in (COKING, FURNACE, lime, POWER)]
    assert math.isclose(net_units(results, rule), carbon_t * 44 / 12, rel_tol=1e-13)
    assert math.isclose(power_co2(results), 22.5 * 44 / 12, rel_tol=1e-14)


def test_the_rule_of_the_shipped_set_is_one_of_those_there_are():
    assert Netting(GUIDE.option("netting_rule_steel").value) is Netting.NET


def test_a_line_of_a_unit_stands_once():
    results = [unit_co2(COKING), unit_co2(COKING)]
    with pytest.raises(CalculationError, match="coking line '1' stands 2 times"):
        net_units(results, Netting.NET)


def test_other_balances_units_and_power_to_the_enterprise():
    done = steel.summary(1000, 700, 250)
    assert done.other_t == 50
    assert steel.summary(900, 700, 250).other_t == -50


def test_every_gas_is_accounted_for_once():
    """Made 16, used 4 + 9, flared 2, stored 1: closes. 5 made, 2 used, 2 sold: 1 is missing."""
    accounts = gas_accounts(
        (COKING, FURNACE, POWER),
        {
            "blast_furnace_gas": GasOutside(flared=2, stock_change=1),
            "coke_oven_gas": GasOutside(sold=2),
        },
    )
    furnace, oven = accounts
    assert (furnace.gas, furnace.made, furnace.used) == ("blast_furnace_gas", 16, 13)
    assert furnace.difference == 0
    assert furnace.closes(0)
    assert (oven.gas, oven.difference, oven.difference_percent) == ("coke_oven_gas", 1, 20)
    assert not oven.closes(19.9)
    assert oven.closes(20)


def test_a_gas_that_is_used_but_never_made_does_not_close():
    (account,) = gas_accounts((POWER,), {})
    assert (account.difference, account.difference_percent) == (-9, None)
    assert not account.closes(100)
    (bought,) = gas_accounts((POWER,), {"blast_furnace_gas": GasOutside(bought=9)})
    assert bought.closes(0)


def test_a_negative_flare_is_refused():
    with pytest.raises(CalculationError, match="blast_furnace_gas flared is -1"):
        gas_accounts((POWER,), {"blast_furnace_gas": GasOutside(flared=-1)})


def test_a_material_out_of_range_is_refused_by_name():
    month = UnitMonth(Unit.CONVERTER, "2", materials_in=(Material("hot_metal", 5, 4.6),))
    with pytest.raises(CalculationError, match="carbon of hot_metal is 4.6"):
        unit_co2(month)


def test_intensity_of_no_product_is_none():
    assert steel.intensity(5, 0) is None
    assert steel.intensity(5, 4) == 1.25


@pytest.mark.parametrize("stream", [(-1, 0.5), (1, 1.5), (1, -0.1), (math.nan, 0.5)])
def test_a_balance_with_an_impossible_stream_is_refused(stream):
    for sides in (([stream], []), ([], [stream])):
        with pytest.raises(CalculationError, match="0 to 1 are right"):
            steel.carbon_balance_co2(*sides)


def test_the_difference_of_a_gas_is_a_share_of_what_was_made_and_bought():
    """Made 16 and bought 4, used 13: 7 of 20."""
    months = (COKING, FURNACE, POWER)
    (account, _) = gas_accounts(months, {"blast_furnace_gas": GasOutside(bought=4)})
    assert (account.difference, account.difference_percent) == (7, 35)

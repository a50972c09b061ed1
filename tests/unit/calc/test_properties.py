"""Properties that hold for any inputs: units, monotonicity, additivity, conservation, round trips."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.calc import basis, cement, combustion, gas, process, stock
from edge_agent.calc.basis import Basis, Moisture
from edge_agent.calc.combustion import NM3_10K, FuelUse, burn
from edge_agent.calc.process import Item
from edge_agent.calc.rounding import half_up
from edge_agent.calc.steel import carbon_balance_co2, enterprise
from edge_agent.calc.steel_units import (
    GasOutside,
    Material,
    Unit,
    UnitMonth,
    gas_accounts,
    unit_co2,
)

PROPERTY = settings(derandomize=True, deadline=None, max_examples=80, database=None)


def numbers(low, high):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


AMOUNT, SHARE, PERCENT = numbers(0, 1e6), numbers(0, 1), numbers(0, 100)
NCV, CARBON = numbers(0.1, 500), numbers(0.001, 0.1)
NAMES = ("coke", "tar", "scrap", "flux")


def near(a, b, scale=0.0):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * max(1.0, scale))


@PROPERTY
@given(AMOUNT, AMOUNT, NCV, CARBON, SHARE)
def test_combustion_of_two_spans_adds_up_to_that_of_both(first, second, ncv, carbon, oxidation):
    parts = [combustion.co2_by_heating_value(x, ncv, carbon, oxidation) for x in (first, second)]
    whole = combustion.co2_by_heating_value(first + second, ncv, carbon, oxidation)
    assert near(sum(parts), whole)


@PROPERTY
@given(AMOUNT, NCV, CARBON, SHARE, SHARE)
def test_more_oxidation_never_emits_less(amount, ncv, carbon, one, other):
    low, high = sorted((one, other))
    assert combustion.co2_by_heating_value(
        amount, ncv, carbon, low
    ) <= combustion.co2_by_heating_value(amount, ncv, carbon, high)


@PROPERTY
@given(AMOUNT, numbers(0.1, 40), CARBON)
def test_kilograms_and_tonnes_agree(amount_t, ncv, carbon):
    """Mass in kg with GJ/kg is the same heat, hence the same CO2."""
    tonnes = combustion.co2_by_heating_value(amount_t, ncv, carbon, 1)
    kilograms = combustion.co2_by_heating_value(amount_t * 1000, ncv / 1000, carbon, 1)
    assert near(tonnes, kilograms)


@PROPERTY
@given(AMOUNT, numbers(0.1, 40), numbers(0.001, 0.025), SHARE)
def test_the_measured_route_agrees_with_the_default_one_for_the_same_carbon(
    amount, ncv, carbon, oxidation
):
    by_heat = burn(FuelUse("coke", amount, oxidation, ncv_gj=ncv, carbon_t_per_gj=carbon))
    by_carbon = burn(FuelUse("coke", amount, oxidation, carbon_t_per_unit=ncv * carbon))
    assert near(by_heat.co2_t, by_carbon.co2_t)
    assert near(by_heat.carbon_t, by_carbon.carbon_t)


@PROPERTY
@given(AMOUNT, numbers(0.01, 1))
def test_what_leaves_again_with_its_reason_cancels_what_came(amount, carbon):
    came = burn(FuelUse("coke", amount, 1, carbon_t_per_unit=carbon))
    went = burn(FuelUse("coke", -amount, 1, carbon_t_per_unit=carbon, reason="returned"))
    assert came.co2_t + went.co2_t == 0


@PROPERTY
@given(PERCENT, numbers(0, 60), numbers(0, 30), st.sampled_from(Basis), st.sampled_from(Basis))
def test_a_content_converted_there_and_back_is_the_same(content, ar, ad, one, other):
    moisture = Moisture(ar, ad)
    there = basis.convert(content, one, other, moisture)
    if there <= 100:
        assert near(basis.convert(there, other, one, moisture), content)


@PROPERTY
@given(numbers(10, 40), numbers(0, 40), numbers(0, 30), st.sampled_from(Basis))
def test_a_heating_value_converted_there_and_back_is_the_same(ncv, ar, ad, other):
    moisture = Moisture(ar, ad)
    dry = basis.convert_ncv(ncv, Basis.DRY, other, moisture, 0.023)
    assert near(basis.convert_ncv(dry, other, Basis.DRY, moisture, 0.023), ncv)


@PROPERTY
@given(PERCENT, numbers(0, 60), numbers(0, 30))
def test_air_drying_is_no_detour(content, ar, ad):
    """From dry to as received directly, or by the air-dried basis."""
    moisture = Moisture(ar, ad)
    direct = basis.convert(content, Basis.DRY, Basis.AS_RECEIVED, moisture)
    between = basis.convert(content, Basis.DRY, Basis.AIR_DRIED, moisture)
    assert near(basis.convert(between, Basis.AIR_DRIED, Basis.AS_RECEIVED, moisture), direct)


LOTS = st.lists(st.tuples(numbers(0.1, 1e5), numbers(0, 50)), min_size=1, max_size=8)


@PROPERTY
@given(LOTS, LOTS)
def test_blending_in_two_steps_gives_the_mean_of_all(first, second):
    def blend(lots):
        return stock.blend([stock.Lot(*lot) for lot in lots])

    steps = [blend(first), blend(second)]
    whole = blend(first + second)
    assert near(blend([(step.mass_t, step.mean) for step in steps]).mean, whole.mean)
    assert min(v for _, v in first + second) <= whole.mean <= max(v for _, v in first + second)


@PROPERTY
@given(st.lists(st.tuples(AMOUNT, AMOUNT), min_size=1, max_size=6), AMOUNT)
def test_net_consumption_of_a_year_is_the_sum_of_its_months(months, opening):
    """Each month's closing stock is the next one's opening stock."""
    level, total = opening, []
    for bought, closing in months:
        balance = stock.StockBalance(level, bought, closing)
        total.append(stock.net_consumption(balance, reason="property"))
        level = closing
    year = stock.StockBalance(opening, math.fsum(bought for bought, _ in months), level)
    assert near(math.fsum(total), stock.net_consumption(year, reason="property"), 1e6)


@PROPERTY
@given(AMOUNT, numbers(-50, 500), numbers(-50, 300), numbers(60, 110))
def test_a_volume_at_normal_conditions_holds_the_same_gas(volume, gauge, celsius, atmosphere):
    """p V / T before and after (ideal gas)."""
    metered = gas.GasVolume(volume, gas.Compensation.NONE, gauge, celsius, atmosphere)
    normal = gas.to_normal(metered)
    before = (atmosphere + gauge) * volume / (celsius + 273.15)
    assert near(normal.nm3 * 101.325 / 273.15, before)


# -- cement -----------------------------------------------------------------------------------

CLINKERS = st.lists(st.tuples(AMOUNT, numbers(0.2, 0.6)), min_size=1, max_size=4)
SUBSTITUTES = st.lists(st.tuples(AMOUNT, numbers(0, 0.6)), max_size=4)


def line(clinkers, substitutes):
    return cement.line_process_co2(
        [cement.Clinker("portland", *item) for item in clinkers],
        [cement.Substitute("fly_ash", *item) for item in substitutes],
    )


@PROPERTY
@given(CLINKERS, SUBSTITUTES, numbers(0.1, 1e5))
def test_a_further_substitute_never_raises_and_clinker_never_lowers_the_process_co2(
    clinkers, substitutes, more
):
    base = line(clinkers, substitutes).co2_t
    assert line(clinkers, [*substitutes, (more, 0.3)]).co2_t <= base
    assert line([*clinkers, (more, 0.5)], substitutes).co2_t >= base
    assert base >= 0


@PROPERTY
@given(CLINKERS, SUBSTITUTES)
def test_floors_a_line_never_give_less_than_one_floor_for_all(clinkers, substitutes):
    lines = [line([item], substitutes[:1]) for item in clinkers]
    together = line(clinkers, substitutes[:1] * len(clinkers))
    assert math.fsum(item.co2_t for item in lines) >= together.co2_t - 1e-6


@PROPERTY
@given(numbers(0, 0.7), numbers(0, 0.05), SHARE, SHARE)
def test_a_clinker_factor_falls_with_what_came_without_carbonate(cao, mgo, share, other):
    low, high = sorted((share, other))
    factors = [cement.clinker_factor(cao, mgo, cao * part, mgo * part) for part in (low, high)]
    assert factors[0] >= factors[1] >= -1e-15


# -- steel ------------------------------------------------------------------------------------

STREAMS = st.lists(st.tuples(AMOUNT, SHARE), max_size=5)


@PROPERTY
@given(STREAMS, STREAMS)
def test_what_enters_a_unit_leaves_it_or_is_emitted(entered, left):
    emitted = carbon_balance_co2(entered, left) * 12 / 44
    came = math.fsum(mass * carbon for mass, carbon in entered)
    went = math.fsum(mass * carbon for mass, carbon in left)
    assert near(came, went + emitted, came + went)


@PROPERTY
@given(STREAMS, STREAMS, STREAMS, STREAMS)
def test_closure_is_what_the_materials_carry_when_nothing_stays_unburnt(
    fuels_in, fuels_out, materials_in, materials_out
):
    def uses(rows):
        return tuple(
            FuelUse(f"f{i}", mass, 1, carbon_t_per_unit=carbon)
            for i, (mass, carbon) in enumerate(rows)
        )

    def materials(rows):
        return tuple(Material(f"m{i}", *row) for i, row in enumerate(rows))

    done = unit_co2(
        UnitMonth(
            Unit.CONVERTER,
            "1",
            uses(fuels_in),
            uses(fuels_out),
            materials(materials_in),
            materials(materials_out),
        )
    )
    carried = math.fsum(m * c for m, c in materials_in) - math.fsum(m * c for m, c in materials_out)
    scale = done.carbon_in_t + done.carbon_out_t
    assert near(done.closure_carbon_t, carried, scale)
    assert near(done.gross_in_t - done.gross_out_t, done.co2_t)
    assert near(done.balance_co2_t, done.co2_t + carried * 44 / 12, 4 * scale)


@PROPERTY
@given(AMOUNT, numbers(0, 1), numbers(0, 1), numbers(0, 1))
def test_an_own_gas_passed_between_units_changes_no_total(made, used_share, flared_share, carbon):
    """Two units and a flare: what one loses as gas the other burns; the works keep their carbon."""
    used = made * used_share
    flared = (made - used) * flared_share
    first = UnitMonth(
        Unit.BLAST_FURNACE,
        "1",
        fuels_in=(FuelUse("coke", 2 * made, 1, carbon_t_per_unit=carbon),),
        fuels_out=(FuelUse("gas", made, 1, unit=NM3_10K, carbon_t_per_unit=carbon),),
    )
    second = UnitMonth(
        Unit.ROLLING, "1", (FuelUse("gas", used, 1, unit=NM3_10K, carbon_t_per_unit=carbon),)
    )
    rest = made - used - flared
    (account,) = gas_accounts((first, second), {"gas": GasOutside(flared=flared, sold=rest)})
    assert near(account.difference, 0, made)
    units = unit_co2(first).co2_t + unit_co2(second).co2_t
    bought = enterprise([first.fuels_in[0]], [], []).co2_t
    outside = (flared + rest) * carbon * 44 / 12
    assert near(units + outside, bought, bought)


@PROPERTY
@given(st.lists(st.tuples(st.sampled_from(NAMES), AMOUNT, numbers(0, 4)), max_size=6))
def test_items_add_up_in_any_order_and_split(rows):
    items = [Item(*row) for row in rows]
    halves = [Item(name, amount / 2, factor) for name, amount, factor in rows]
    total = process.total(process.used(items))
    assert total == process.total(process.used(reversed(items)))
    assert near(2 * process.total(process.used(halves)), total)


@PROPERTY
@given(numbers(-1e9, 1e9), st.integers(0, 5))
def test_rounding_moves_a_value_by_at_most_half_a_step_and_only_once(value, decimals):
    once = half_up(value, decimals)
    assert abs(float(once) - value) <= 0.5 * 10**-decimals * (1 + 1e-6) + 1e-7
    assert half_up(once, decimals) == once
    assert half_up(-value, decimals) == -once

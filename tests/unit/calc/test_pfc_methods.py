"""PFC of pots, lines, cell types and months: routes, bounds, and what must add up."""

import math
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calc import effect_rates, pfc, pfc_methods
from edge_agent.calc.effect_rates import EffectSums, share_metal
from edge_agent.calc.factors import Factor, FactorSet
from edge_agent.calc.pfc import EffectLaw, Plausibility
from edge_agent.calc.pfc_methods import Activity, Choice, Method, Overvoltage
from edge_agent.errors import CalculationError

MP = 8.05375e-3 * 300 * 0.94  # t per cell-day at 300 kA and 94 %


def factors(**values):
    items = {
        name.replace("__", "."): (Factor(name.replace("__", "."), value, "unit", "a document"),)
        for name, value in values.items()
    }
    return FactorSet("test-set", 1, "numbers of a test", items)


SET = factors(
    pfc__slope__cwpb=0.143,
    pfc__overvoltage__cwpb=1.16,
    pfc__c2f6_ratio__cwpb=0.121,
    pfc__slope__swpb=0.272,
    pfc__c2f6_ratio__swpb=0.252,
    pfc__default__cf4=0.034,
    pfc__default__c2f6=0.0034,
)
LAW = factors(
    pfc__per_effect__scale__cwpb=0.143,
    pfc__per_effect__exponent__cwpb=1.0,
    pfc__per_effect__ratio__cwpb=0.121,
)
# 200 pots for 30 days with 540 effects of 1.8 min: AEF 0.09, AED 1.8, AEM 0.162.
MONTH = EffectSums(6_000 * 86_400.0, 972 * 60.0, 540, 1.2e6, 1.1e6)
LINE = Activity(MONTH, 6_000 * MP, 300, 94.0, (1.8,) * 540)

pots_sums = st.dictionaries(
    st.integers(1, 400).map(lambda n: f"pot{n:03d}"),
    st.builds(
        lambda days, share, count: EffectSums(
            days * 86_400.0, share * days * 86_400, count, share * days * 1e5, share * days * 9e4
        ),
        st.floats(0.1, 31),
        st.floats(0, 0.01, allow_subnormal=False),
        st.integers(0, 40),
    ),
    min_size=1,
    max_size=12,
)


def close(got, expected):
    assert math.isclose(got, expected, rel_tol=1e-12, abs_tol=1e-15), (got, expected)


# -- rates -----------------------------------------------------------------------------------


def test_the_rates_of_a_month_are_those_of_their_definitions():
    close(MONTH.cell_days, 6_000)
    close(MONTH.aef, 0.09)
    close(MONTH.aed_min, 1.8)
    close(MONTH.aem_min, 0.162)
    close(MONTH.aeo_positive_mv, 1000 * 1.2e6 / (6_000 * 86_400))
    close(MONTH.aeo_algebraic_mv, 1000 * 1.1e6 / (6_000 * 86_400))


def test_without_an_effect_there_is_no_mean_duration():
    quiet = EffectSums(86_400.0)
    assert (quiet.aef, quiet.aem_min, quiet.aed_min) == (0, 0, None)


def test_without_cell_time_no_rate_is_defined():
    nothing = EffectSums()
    assert [nothing.aef, nothing.aem_min, nothing.aeo_positive_mv, nothing.aed_min] == [None] * 4


def test_a_month_with_the_end_of_an_effect_only_has_minutes_but_no_mean_duration():
    rest = EffectSums(86_400.0, 90.0, 0)
    assert (rest.aem_min, rest.aed_min) == (1.5, None)


@given(pots_sums)
def test_effect_minutes_a_cell_day_are_frequency_times_duration(by_pot):
    line = effect_rates.add(by_pot.values())
    if line.effects:
        assert math.isclose(line.aef * line.aed_min, line.aem_min, rel_tol=1e-12, abs_tol=1e-300)
    assert line.aeo_algebraic_mv <= line.aeo_positive_mv


def test_coverage_is_the_observed_share_of_the_required_time():
    assert effect_rates.coverage(EffectSums(75.0), 100.0) == 0.75
    assert effect_rates.coverage(EffectSums(101.0), 100.0) == 1.0
    assert effect_rates.coverage(EffectSums(), 0.0) is None
    with pytest.raises(CalculationError, match="required"):
        effect_rates.coverage(EffectSums(), -1.0)


def test_metal_without_cell_time_cannot_be_shared_out():
    with pytest.raises(CalculationError, match="shared out"):
        share_metal(1.0, {"pot001": EffectSums()})
    assert share_metal(0.0, {"pot001": EffectSums()}) == {"pot001": 0.0}


# -- methods ---------------------------------------------------------------------------------


def test_slope_gives_the_masses_of_the_computed_example():
    """C1 of the reference vectors: 315.68 kg CF4 and 38.20 kg C2F6."""
    got = pfc_methods.emission(LINE, Choice("cwpb"), SET)
    assert round(got.cf4_t * 1000, 2) == 315.68
    assert round(got.c2f6_t * 1000, 2) == 38.20
    assert got.low_voltage is None
    assert got.plausibility is Plausibility.USUAL


def test_overvoltage_uses_the_percent_number_and_the_kind_that_was_chosen():
    positive = pfc_methods.emission(LINE, Choice("cwpb", Method.OVERVOLTAGE), SET)
    close(positive.high_voltage.ef_cf4_kg_per_t, 1.16 * MONTH.aeo_positive_mv / 94)
    choice = Choice("cwpb", Method.OVERVOLTAGE, Overvoltage.ALGEBRAIC)
    algebraic = pfc_methods.emission(LINE, choice, SET)
    close(algebraic.cf4_t / positive.cf4_t, 1.1 / 1.2)


@pytest.mark.parametrize("efficiency", [0.94, 0, 49.9, 100.1, math.nan, None])
def test_overvoltage_refuses_what_is_no_percent_number(efficiency):
    activity = replace(LINE, current_efficiency_percent=efficiency)
    with pytest.raises(CalculationError, match="current efficiency"):
        pfc_methods.emission(activity, Choice("cwpb", Method.OVERVOLTAGE), SET)


def test_the_default_factors_need_no_effect_data():
    """25 000 t with 0.034 and 0.0034 kg/t: 0.85 t and 0.085 t."""
    activity = Activity(EffectSums(), 25_000, 300)
    got = pfc_methods.emission(activity, Choice("cwpb", Method.DEFAULT), SET)
    close(got.cf4_t, 0.85)
    close(got.c2f6_t, 0.085)


@pytest.mark.parametrize("method", [Method.SLOPE, Method.OVERVOLTAGE])
def test_a_method_without_cell_time_is_refused(method):
    with pytest.raises(CalculationError, match="not defined"):
        pfc_methods.emission(replace(LINE, sums=EffectSums()), Choice("cwpb", method), SET)


@pytest.mark.parametrize(
    ("choice", "missing"),
    [
        (Choice("vss"), "pfc.slope.vss"),
        (Choice("swpb", Method.OVERVOLTAGE), "pfc.overvoltage.swpb"),
        (Choice("cwpb", Method.PER_EFFECT), "pfc.per_effect.scale.cwpb"),
    ],
)
def test_a_method_without_coefficients_is_refused_and_names_them(choice, missing):
    with pytest.raises(CalculationError, match=missing):
        pfc_methods.emission(LINE, choice, SET)


def test_coefficients_out_of_their_validity_are_refused():
    old = Factor("pfc.slope.cwpb", 0.143, "unit", "a document", valid_to=date(2024, 12, 31))
    dated = FactorSet("dated", 1, "", {**SET.factors, "pfc.slope.cwpb": (old,)})
    pfc_methods.emission(LINE, Choice("cwpb"), dated, date(2024, 6, 1))
    with pytest.raises(CalculationError, match="valid on 2026-01-01"):
        pfc_methods.emission(LINE, Choice("cwpb"), dated, date(2026, 1, 1))


def test_ducts_that_catch_98_percent_stand_for_the_whole():
    duct = pfc_methods.emission(LINE, Choice("cwpb"), SET)
    whole = pfc_methods.emission(LINE, Choice("cwpb", collection_efficiency_percent=98), SET)
    close(whole.cf4_t, duct.cf4_t / 0.98)
    close(whole.c2f6_t, duct.c2f6_t / 0.98)
    with pytest.raises(CalculationError, match="collection efficiency"):
        pfc_methods.emission(LINE, Choice("cwpb", collection_efficiency_percent=0), SET)


def test_low_voltage_emissions_stand_on_their_own_line():
    low = FactorSet(
        "low", 1, "", {**SET.factors, **factors(pfc__low_voltage__cf4__cwpb=0.02).factors}
    )
    without, got = (pfc_methods.emission(LINE, Choice("cwpb"), each) for each in (SET, low))
    assert without.low_voltage is None
    close(got.low_voltage.cf4_t, 0.02 * LINE.metal_t / 1000)
    assert got.low_voltage.c2f6_t == 0
    assert got.high_voltage == without.high_voltage
    close(got.cf4_t, without.cf4_t + got.low_voltage.cf4_t)


# -- effect by effect ------------------------------------------------------------------------


def test_effect_by_effect_with_exponent_one_is_the_slope_method():
    slope = pfc_methods.emission(LINE, Choice("cwpb"), SET)
    single = pfc_methods.emission(LINE, Choice("cwpb", Method.PER_EFFECT), LAW)
    close(single.cf4_t, slope.cf4_t)
    close(single.c2f6_t, slope.c2f6_t)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=30))
def test_effect_by_effect_with_exponent_one_is_the_slope_method_for_any_durations(durations):
    sums = EffectSums(6_000 * 86_400.0, 60 * math.fsum(durations), len(durations))
    law = EffectLaw(0.143, 1.0, 0.121)
    got = pfc.by_effects(durations, 13_000, sums.cell_days, law)
    slope = pfc.by_slope(sums.aem_min, 13_000, 0.143, 0.121)
    assert math.isclose(got.cf4_t, slope.cf4_t, rel_tol=1e-12, abs_tol=1e-18)
    assert math.isclose(got.c2f6_t, slope.c2f6_t, rel_tol=1e-12, abs_tol=1e-18)


def test_a_concave_law_gives_two_short_effects_more_than_one_long():
    law = EffectLaw(0.2, 0.5, 0.1, -0.5)
    two = pfc.by_effects([2.0, 2.0], 3.0, 1.0, law)
    one = pfc.by_effects([4.0], 3.0, 1.0, law)
    close(two.cf4_t, 2 * 0.2 * 3 * math.sqrt(2) / 1000)
    close(one.cf4_t, 0.2 * 3 * 2 / 1000)
    close(one.c2f6_t, 0.1 / 2 * one.cf4_t)


def test_effects_of_no_duration_emit_nothing():
    assert pfc.by_effects([0.0], 3.0, 1.0, EffectLaw(0.2, 0.5, 0.1, -0.5)).c2f6_t == 0


@pytest.mark.parametrize("law", [(-1, 1, 0.1), (1, 0, 0.1), (1, 1, -0.1), (math.nan, 1, 0.1)])
def test_a_law_that_cannot_be_is_refused(law):
    with pytest.raises(CalculationError, match="law of single effects"):
        EffectLaw(*law)


@pytest.mark.parametrize("given_", [([-1.0], 1, 1), ([1.0], -1, 1), ([1.0], 1, 0)])
def test_effects_that_cannot_be_are_refused(given_):
    with pytest.raises(CalculationError, match="negative"):
        pfc.by_effects(*given_, EffectLaw(1, 1, 0.1))


# -- bounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Method.SLOPE, Method.OVERVOLTAGE, Method.PER_EFFECT])
def test_no_method_may_exceed_what_the_current_can_make(method):
    """Coefficients a hundred times too high: the percent trap, and its like."""
    wrong = {
        name: (replace(item, value=100 * item.value),)
        for (name, (item,)) in {**SET.factors, **LAW.factors}.items()
        if "exponent" not in name and "ratio" not in name
    }
    wrong |= {name: items for name, items in SET.factors.items() if "ratio" in name}
    wrong |= {n: i for n, i in LAW.factors.items() if "exponent" in n or "ratio" in n}
    with pytest.raises(CalculationError, match="kg CF4 is above"):
        pfc_methods.emission(LINE, Choice("cwpb", method), FactorSet("wrong", 1, "", wrong))


def test_factors_per_metal_may_not_exceed_what_its_current_can_make():
    pfc.check_bound_of_metal(2_446, 1.0)
    with pytest.raises(CalculationError, match="current for 1.0 t"):
        pfc.check_bound_of_metal(4_900, 1.0)
    wrong = factors(pfc__default__cf4=5_000.0, pfc__default__c2f6=0.0)
    with pytest.raises(CalculationError, match="kg CF4 is above"):
        pfc_methods.emission(LINE, Choice("cwpb", Method.DEFAULT), wrong)


@pytest.mark.parametrize(
    ("ef", "flag"), [(0, "USUAL"), (0.0099, "LOW"), (0.01, "USUAL"), (0.1, "USUAL"), (0.92, "HIGH")]
)
def test_an_unusual_result_is_flagged_not_refused(ef, flag):
    assert pfc.plausibility(ef) is Plausibility[flag]


# -- what must add up ------------------------------------------------------------------------


@pytest.mark.parametrize("method", [Method.SLOPE, Method.OVERVOLTAGE, Method.DEFAULT])
@given(by_pot=pots_sums)
def test_the_pots_of_a_line_add_up_to_the_line(method, by_pot):
    line = effect_rates.add(by_pot.values())
    metal_t = line.cell_days * MP
    choice = Choice("cwpb", method)
    whole = pfc_methods.emission(Activity(line, metal_t, 300, 94.0), choice, SET)
    metal = share_metal(metal_t, by_pot)
    pots = [
        pfc_methods.emission(Activity(sums, metal[pot], 300, 94.0), choice, SET)
        for pot, sums in by_pot.items()
    ]
    together = pfc_methods.add(pots)
    assert math.isclose(together.cf4_t, whole.cf4_t, rel_tol=1e-9, abs_tol=1e-15)
    assert math.isclose(together.c2f6_t, whole.c2f6_t, rel_tol=1e-9, abs_tol=1e-15)
    assert math.isclose(together.metal_t, metal_t, rel_tol=1e-12)


def test_cell_types_are_computed_apart_and_added():
    parts = [
        pfc_methods.emission(Activity(MONTH, 13_000, 300), Choice("cwpb"), SET),
        pfc_methods.emission(Activity(MONTH, 5_000, 300), Choice("swpb"), SET),
    ]
    total = pfc_methods.add(parts)
    close(total.cf4_t, 0.162 * (0.143 * 13 + 0.272 * 5))
    close(total.c2f6_t, 0.162 * (0.143 * 13 * 0.121 + 0.272 * 5 * 0.252))
    close(total.high_voltage.ef_cf4_kg_per_t, total.cf4_t / 18)


def test_months_are_computed_one_by_one_and_added():
    """40 CFR 98 eq. F-1: a year from mean rates and whole production would be another number."""
    months = [
        Activity(EffectSums(6_000 * 86_400.0, 60 * minutes, 500), metal_t, 300)
        for minutes, metal_t in ((900.0, 13_000), (1_800.0, 9_000))
    ]
    year = pfc_methods.add(pfc_methods.emission(each, Choice("cwpb"), SET) for each in months)
    close(year.cf4_t, 0.143 * (0.15 * 13 + 0.30 * 9))
    pooled = pfc.by_slope(2_700 / 12_000, 22_000, 0.143, 0.121).cf4_t
    assert abs(pooled - year.cf4_t) > 0.01


def test_low_voltage_of_a_sum_is_none_only_when_no_part_estimated_it():
    low = FactorSet(
        "low", 1, "", {**SET.factors, **factors(pfc__low_voltage__cf4__cwpb=0.02).factors}
    )
    without, with_ = (pfc_methods.emission(LINE, Choice("cwpb"), each) for each in (SET, low))
    assert pfc_methods.add([without, without]).low_voltage is None
    close(pfc_methods.add([without, with_]).low_voltage.cf4_t, with_.low_voltage.cf4_t)


@given(aem=st.floats(0, 2), metal_t=st.floats(0, 1e5), scale=st.floats(0.01, 100))
def test_cf4_is_linear_in_metal_minutes_and_slope(aem, metal_t, scale):
    base = pfc.by_slope(aem, metal_t, 0.143, 0.121).cf4_t
    for args in ((aem * scale, metal_t, 0.143), (aem, metal_t * scale, 0.143)):
        assert math.isclose(
            pfc.by_slope(*args, 0.121).cf4_t, base * scale, rel_tol=1e-9, abs_tol=1e-15
        )
    assert math.isclose(
        pfc.by_slope(aem, metal_t, 0.143 * scale, 0.1).cf4_t,
        base * scale,
        rel_tol=1e-9,
        abs_tol=1e-15,
    )


def test_slope_and_overvoltage_agree_for_effects_of_16_7_volts_over_target():
    """Anode-effect minutes of 16.7 V over target: both methods within one percent at CE 94."""
    sums = EffectSums(6_000 * 86_400.0, 972 * 60.0, 540, 16.7 * 972 * 60, 16.7 * 972 * 60)
    line = replace(LINE, sums=sums)
    one = pfc_methods.emission(line, Choice("cwpb"), SET)
    other = pfc_methods.emission(line, Choice("cwpb", Method.OVERVOLTAGE), SET)
    assert math.isclose(one.cf4_t, other.cf4_t, rel_tol=0.01)

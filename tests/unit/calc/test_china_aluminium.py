"""Aluminium by the Chinese guides: every AL case of the reference file; anode routes and checks."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from edge_agent.calc import aluminium, pfc
from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.combustion import CO2_PER_C
from edge_agent.calc.detector_state import DetectorSettings
from edge_agent.calc.effect_rates import EffectSums
from edge_agent.calc.rounding import half_up
from edge_agent.errors import CalculationError
from edge_agent.readings import AnodeEffect

FILE = json.loads(
    (Path(__file__).parents[2] / "data" / "vectors" / "china.json").read_text(encoding="utf-8")
)
CASES = {item["id"]: item for item in FILE["vectors"] if item["id"].startswith("AL-")}
NS = 10**9


class Case:
    """A case's inputs, and its steps to compare with."""

    def __init__(self, case_id):
        self.given = CASES[case_id]["inputs"]
        self.steps = {step["name"]: step for step in CASES[case_id]["steps"]}

    def check(self, name, got):
        step = self.steps[name]
        assert math.isclose(got, step["value"], rel_tol=1e-9), (name, got, step["value"])
        if "dp" in step:
            # The cases print some values without trailing zeros.
            assert half_up(got, step["dp"]) == half_up(float(step["rounded"]), step["dp"])


def test_al_01_anodes_by_default_net_consumption():
    case = Case("AL-01")
    given = case.given
    case.check("EF_anode", aluminium.anode_co2(1, given["NC_tC_per_t"], given["S"], given["A"]))
    case.check(
        "E_anode", aluminium.anode_co2(given["P_t"], given["NC_tC_per_t"], given["S"], given["A"])
    )


def test_al_02_rounding_the_factor_first_gives_another_result():
    case = Case("AL-02")
    given = case.given
    factor = aluminium.anode_co2(1, given["NC_tC_per_t"], given["S"], given["A"])
    case.check("EF_anode", factor)
    case.check("EF_anode_2dp", float(half_up(factor, 2)))
    case.check("E_anode_from_rounded_EF", given["P_t"] * float(half_up(factor, 2)))
    case.check("E_anode", given["P_t"] * factor)


def test_al_03_anodes_by_gross_consumption_and_loss_rate():
    case = Case("AL-03")
    given = case.given
    net = aluminium.net_from_gross(given["gross_anode_t"], given["loss_rate"])
    case.check("net_anode", net)
    consumption = aluminium.net_consumption(net, 0, given["P_t"])
    case.check("NC_implied", consumption)
    case.check("E_anode", aluminium.anode_co2(given["P_t"], consumption, given["S"], given["A"]))


def test_al_04_anodes_by_weighing_anodes_and_butts():
    case = Case("AL-04")
    given = case.given
    consumption = aluminium.net_consumption(
        given["anodes_set_t"], given["butts_returned_t"], given["P_t"]
    )
    case.check("net_anode", consumption * given["P_t"])
    case.check("NC", consumption)
    case.check("E_anode", aluminium.anode_co2(given["P_t"], consumption, given["S"], given["A"]))


def test_al_05_pfc_by_default_factors():
    case = Case("AL-05")
    given = case.given
    ratio = given["EF_C2F6_kg_per_t"] / given["EF_CF4_kg_per_t"]
    gases = pfc.by_factor(given["EF_CF4_kg_per_t"], given["P_t"], ratio)
    case.check("m_CF4", gases.cf4_t)
    case.check("m_C2F6", gases.c2f6_t)
    case.check("CO2e_CF4", pfc.co2e(gases.cf4_t, 0, given["GWP_CF4"], given["GWP_C2F6"]))
    case.check("CO2e_C2F6", pfc.co2e(0, gases.c2f6_t, given["GWP_CF4"], given["GWP_C2F6"]))
    case.check("E_PFC", pfc.co2e(gases.cf4_t, gases.c2f6_t, given["GWP_CF4"], given["GWP_C2F6"]))


def test_al_06_pfc_by_slope():
    case = Case("AL-06")
    given = case.given
    aem = given["AEF_per_cell_day"] * given["AED_min"]
    case.check("AEM", aem)
    gases = pfc.by_slope(aem, given["P_t"], given["slope"], given["C2F6_ratio"])
    case.check("EF_CF4", gases.ef_cf4_kg_per_t)
    case.check("EF_C2F6", gases.ef_cf4_kg_per_t * given["C2F6_ratio"])
    case.check("m_CF4", gases.cf4_t)
    case.check("m_C2F6", gases.c2f6_t)
    case.check("E_PFC", pfc.co2e(gases.cf4_t, gases.c2f6_t, given["GWP_CF4"], given["GWP_C2F6"]))


def test_al_07_pfc_under_four_sets_of_warming_potentials():
    case = Case("AL-07")
    given = case.given
    gases = pfc.by_slope(given["AEM"], given["P_t"], given["slope"], given["F"])
    case.check("m_CF4", gases.cf4_t)
    case.check("m_C2F6", gases.c2f6_t)
    for name, values in {
        "SAR": (6_500, 9_200),
        "AR4": (7_390, 12_200),
        "AR5": (6_630, 11_100),
        "AR6": (7_380, 12_400),
    }.items():
        case.check(f"E_PFC_{name}", pfc.co2e(gases.cf4_t, gases.c2f6_t, *values))


def test_al_08_pfc_by_overvoltage():
    case = Case("AL-08")
    given = case.given
    gases = pfc.by_overvoltage(
        given["AEO_mV"], given["CE_percent"], given["P_t"], given["OVC"], given["F"]
    )
    case.check("EF_CF4", gases.ef_cf4_kg_per_t)
    case.check("m_CF4", gases.cf4_t)
    case.check("m_C2F6", gases.c2f6_t)
    case.check("E_PFC", pfc.co2e(gases.cf4_t, gases.c2f6_t, given["GWP_CF4"], given["GWP_C2F6"]))


def test_al_09_rates_of_a_month_with_two_pots_away():
    case = Case("AL-09")
    given = case.given
    days = aluminium.cell_days(
        given["pots"], given["days"], given["pots_out"] * given["days_out_each"]
    )
    case.check("cell_days", days)
    sums = EffectSums(days * 86_400, given["total_minutes"] * 60, given["effects"])
    case.check("AEF", sums.aef)
    case.check("AED", sums.aed_min)
    case.check("AEM", sums.aem_min)
    case.check("AEM_2dp", float(half_up(sums.aem_min, 2)))


def test_al_10_detection_on_one_pot_day():
    case = Case("AL-10")
    given = case.given
    volts = np.full(86_400, given["V_normal"])
    for start, end, volt in given["segments_start_s_end_s_volts"]:
        volts[int(start) : int(end)] = volt
    settings = DetectorSettings(
        v_on=given["threshold_V"],
        v_off=given["threshold_V"],
        t_on_s=given["min_duration_s"] - 1,
        reoccur_s=given["restrike_window_s"],
        v_target=given["V_normal"],
    )
    detector = PotDetector("pot", settings)
    detector.feed(np.arange(86_400, dtype=np.int64) * NS, volts, np.ones(86_400, dtype=np.bool_))
    found = [item for item in detector.outputs() if isinstance(item, AnodeEffect)]
    case.check("effects", len({effect.group for effect in found}))
    case.check("minutes_above_8V", sum(effect.above_threshold_s for effect in found) / 60)
    integral = sum(effect.overvoltage_v_s for effect in found)
    case.check("overvoltage_integral", integral)
    case.check("AEO", EffectSums(86_400.0, overvoltage_v_s=integral).aeo_positive_mv)


def test_al_11_the_process_part_of_an_enterprise_month():
    case = Case("AL-11")
    given = case.given
    case.check("E_anode", aluminium.anode_co2(given["P_t"], given["NC"], 0.02, 0.004))
    gases = pfc.by_slope(given["AEM"], given["P_t"], 0.143, 0.1)
    case.check("E_PFC", pfc.co2e(gases.cf4_t, gases.c2f6_t, 6_630, 11_100))


def test_al_12_metal_by_faraday_s_law():
    """The case uses the rounded 0.3356 g/Ah: one part in ten thousand above the constant."""
    case = Case("AL-12")
    given = case.given
    current_ka, efficiency = given["I_A"] / 1000, 100 * given["CE"]
    check = aluminium.cross_check_metal(
        27_865.0, current_ka * given["hours"], given["cells"], efficiency
    )
    expected = case.steps["P_faraday"]["value"] / 0.3356 * 0.335573
    assert math.isclose(check.faraday_t, expected, rel_tol=1e-6)
    assert check.within_tolerance
    assert math.isclose(
        aluminium.metal_per_cell_day(current_ka, efficiency),
        case.steps["one_cell_day"]["value"],
        rel_tol=1e-4,
    )


def test_every_aluminium_case_is_tested():
    names = {
        name[5:10].upper().replace("_", "-") for name in globals() if name.startswith("test_al_")
    }
    assert names == CASES.keys()


# -- anode and metal checks ------------------------------------------------------------------


def test_anode_consumption_below_what_the_reaction_needs_is_refused():
    """0.3339 / 0.94 = 0.3552 t/t."""
    aluminium.check_net_consumption(0.356, 94)
    with pytest.raises(CalculationError, match=r"at least 0\.3552"):
        aluminium.check_net_consumption(0.355, 94)
    with pytest.raises(CalculationError, match="percent number"):
        aluminium.check_net_consumption(0.4, 0.94)
    with pytest.raises(CalculationError, match="nan"):
        aluminium.check_net_consumption(math.nan, 94)


def test_metal_away_from_faraday_s_law_is_flagged():
    charge_kah = 300 * 720
    right = 0.335573e-3 * charge_kah * 200 * 0.94
    for share, within in ((1.0, True), (1.029, True), (1.031, False), (0.969, False)):
        check = aluminium.cross_check_metal(share * right, charge_kah, 200, 94)
        assert check.within_tolerance is within
        assert math.isclose(check.deviation, share - 1, rel_tol=1e-3, abs_tol=1e-5)
        assert math.isclose(check.implied_efficiency_percent, 94 * share, rel_tol=1e-5)
    above = aluminium.cross_check_metal(1.02 * right / 0.94, charge_kah, 200, 100)
    assert above.implied_efficiency_percent > 100
    assert not above.within_tolerance


@pytest.mark.parametrize(
    "call",
    [
        lambda: aluminium.net_consumption(10, 11, 1),
        lambda: aluminium.net_consumption(10, 1, 0),
        lambda: aluminium.net_consumption(10, -1, 1),
        lambda: aluminium.net_from_gross(-1, 0.1),
        lambda: aluminium.net_from_gross(1, 15.18),
        lambda: aluminium.cross_check_metal(1, 0, 1, 94),
        lambda: aluminium.packing_coke_co2(0.015, -1, 2, 2.5),
        lambda: aluminium.packing_coke_co2(0.015, 1, 98, 2.5),
        lambda: aluminium.pitch_volatiles_co2(100, 1, 100, 0),
        lambda: aluminium.soderberg_co2(-1, paste()),
        lambda: aluminium.soderberg_co2(1, paste(dust_t_per_t=0.6)),
        lambda: paste(binder_percent=101),
        lambda: paste(pitch_sulphur=97),
        lambda: paste(coke_ash=-0.1),
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(CalculationError):
        call()


def paste(**changes):
    usual = {
        "paste_t_per_t": 0.5, "cyclohexane_kg_per_t": 4.0, "binder_percent": 27.0,
        "pitch_sulphur": 0.6, "pitch_ash": 0.2, "pitch_hydrogen": 3.3,
        "coke_sulphur": 1.9, "coke_ash": 0.2, "dust_t_per_t": 0.01,
    }  # fmt: skip
    return aluminium.SoderbergPaste(**{**usual, **changes})


def test_soderberg_paste_burns_what_no_loss_takes_away():
    """0.5 - 0.004 - 0.27 x 0.5 x 4.1 % - 0.73 x 0.5 x 2.1 % - 0.01 t of carbon per tonne."""
    carbon = 0.5 - 0.004 - 0.27 * 0.5 * 0.041 - 0.73 * 0.5 * 0.021 - 0.01
    got = aluminium.soderberg_co2(1_000, paste())
    assert math.isclose(got, 1_000 * carbon * CO2_PER_C, rel_tol=1e-12)

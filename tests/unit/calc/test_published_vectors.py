"""Vector files: emissions, anode effects and PFC; expected numbers come from the files alone."""

import copy
import json
import math
import random
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edge_agent import factor_sets
from edge_agent.calc import aluminium, pfc
from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.detector_state import DetectorSettings, DetectorState, Windows
from edge_agent.calc.rounding import half_up
from edge_agent.calc.windows import month_bounds, to_ns
from edge_agent.errors import CalculationError
from edge_agent.pipeline.buffers import SignalBuffer
from edge_agent.readings import AnodeEffect, Sample
from gateway import cases

DATA = Path(__file__).parents[2] / "data" / "vectors"
SHARED = Path(__file__).parents[4] / "shared" / "vectors"
EMISSIONS, EFFECTS, PFC = (
    json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("emissions", "anode_effects", "pfc")
)
CALCULATION = {item["id"]: item for item in PFC["calculation_vectors"]}
DETECTOR = {item["id"]: item for item in PFC["detector_vectors"]}
NS = 10**9


@pytest.mark.parametrize("name", ["emissions", "anode_effects", "pfc"])
def test_the_vectors_here_are_those_that_are_shared(name):
    if not SHARED.is_dir():
        pytest.skip("the shared folder is not on this machine")
    assert (DATA / f"{name}.json").read_bytes() == (SHARED / f"{name}.json").read_bytes()


# -- emissions --------------------------------------------------------------------------------


def same(got, expected):
    if isinstance(expected, float):
        return math.isclose(got, expected, rel_tol=1e-12, abs_tol=0)
    if isinstance(expected, dict):
        return got.keys() == expected.keys() and all(same(got[k], v) for k, v in expected.items())
    return got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("area", "place"), [(area, i) for area, items in EMISSIONS.items() for i in range(len(items))]
)
def test_an_emission_case_gives_its_published_result(area, place):
    case = EMISSIONS[area][place]
    (result,) = cases.evaluate({area: [{"input": case["input"]}]})[area]
    assert same(result["result"], case["expect"])


def test_evaluation_does_not_read_what_is_expected():
    spoilt = copy.deepcopy(EMISSIONS)
    for items in spoilt.values():
        for item in items:
            item["expect"] = {"co2_t": -1.0}
    assert cases.evaluate(spoilt) == cases.evaluate(EMISSIONS)
    bare = {area: [{"input": i["input"]} for i in items] for area, items in EMISSIONS.items()}
    assert cases.evaluate(bare) == cases.evaluate(EMISSIONS)
    assert "expect" not in json.dumps(cases.evaluate(EMISSIONS))


def test_evaluation_changes_no_input():
    before = copy.deepcopy(EMISSIONS)
    cases.evaluate(EMISSIONS)
    assert before == EMISSIONS


# -- anode effects ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(len(EFFECTS["cases"])))
def test_an_effect_case_gives_its_published_groups(place):
    case = EFFECTS["cases"][place]
    given = {"name": case["name"], "voltage": case["voltage"]}
    done = cases.evaluate_effects({"rule": EFFECTS["rule"], "cases": [given]})
    assert done["rule"] == EFFECTS["rule"]
    (result,) = done["cases"]
    assert result["name"] == case["name"]
    assert len(result["result"]) == len(case["expect"])
    for got, expected in zip(result["result"], case["expect"], strict=True):
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            assert (key == "above_s" and value is None) or got[key] == value


def test_effect_evaluation_does_not_read_what_is_expected():
    spoilt = copy.deepcopy(EFFECTS)
    for case in spoilt["cases"]:
        case["expect"] = [{"start_s": 1, "end_s": 2, "above_s": 3}] * 3
    assert cases.evaluate_effects(spoilt) == cases.evaluate_effects(EFFECTS)


# -- PFC: calculation -------------------------------------------------------------------------


class Vector:
    """One calculation vector, compared at its own tolerance."""

    def __init__(self, vector_id):
        plain = CALCULATION[vector_id]
        self.given, self.between, self.out = (
            plain[key] for key in ("inputs", "intermediates", "outputs")
        )
        self.tolerance = plain["rel_tolerance"]

    def close(self, got, expected, tolerance=None):
        assert math.isclose(got, expected, rel_tol=tolerance or self.tolerance), (got, expected)

    def printed(self, got, expected):
        """Against a number that the file prints with a fixed count of decimals."""
        decimals = max(0, -Decimal(repr(expected)).as_tuple().exponent)
        assert abs(got - expected) <= max(0.5 * 10**-decimals, abs(expected) * self.tolerance) * (
            1 + 1e-6
        ), (got, expected)

    def gwp(self):
        values = PFC["constants"]["gwp100"][self.given["gwp"]]
        return values["CF4"], values["C2F6"]


@pytest.mark.parametrize("vector_id", ["P1", "P3", "C1", "C2", "C3", "C4a", "C4b", "C5a", "C5b"])
def test_a_slope_vector_gives_its_masses(vector_id):
    vector = Vector(vector_id)
    given, out = vector.given, vector.out
    if "cell_days" in given:
        aem = given["ae_minutes"] / given["cell_days"]
        per_cell_day = aluminium.metal_per_cell_day(given["i_ka"], given["ce_percent"])
        metal_t = per_cell_day * given["cell_days"]
        vector.printed(per_cell_day, vector.between["mp_t_per_cell_day"])
        vector.printed(metal_t, vector.between["al_t"])
        vector.close(aem, vector.between["aem"])
    else:
        aem, metal_t = given["aem_min_per_cell_day"], given["al_t"]
    gases = pfc.by_slope(aem, metal_t, given["slope"], given["c2f6_cf4"])
    kg = 1 if "cf4_kg" in out else 1_000
    vector.printed(gases.cf4_t * 1_000 / kg, out.get("cf4_kg", out.get("cf4_t")))
    vector.printed(gases.c2f6_t * 1_000 / kg, out.get("c2f6_kg", out.get("c2f6_t")))
    if "cf4_ef_kg_per_t" in out:
        vector.printed(gases.ef_cf4_kg_per_t, out["cf4_ef_kg_per_t"])
    vector.printed(pfc.co2e(gases.cf4_t, gases.c2f6_t, *vector.gwp()), out["co2e_t"])


def test_p1_and_c1_use_coefficients_that_the_ipcc_set_holds():
    factors = factor_sets.find("ipcc-2006")
    for name, values in PFC["coefficient_tables"]["IPCC2006_slope"].items():
        assert factors.get(f"pfc.slope.{name.lower()}").value == values["slope"]
        assert factors.get(f"pfc.c2f6_ratio.{name.lower()}").value == values["c2f6_cf4"]
    for name, values in PFC["coefficient_tables"]["overvoltage"].items():
        assert factors.get(f"pfc.overvoltage.{name.lower()}").value == values["ovc"]
    for report, values in PFC["constants"]["gwp100"].items():
        known = {"AR2": "sar"}.get(report, report.lower())
        assert factors.get(f"gwp100.{known}.cf4").value == values["CF4"]
        assert factors.get(f"gwp100.{known}.c2f6").value == values["C2F6"]


def test_the_constants_are_those_of_the_file():
    constants = PFC["constants"]
    assert constants["faraday_c_per_mol"] == aluminium.FARADAY_C_PER_MOL
    assert constants["m_al_g_per_mol"] == aluminium.ALUMINIUM_G_PER_MOL
    assert math.isclose(aluminium.ALUMINIUM_G_PER_AH, constants["k_al_g_per_ah"], rel_tol=1e-11)


@pytest.mark.parametrize("vector_id", ["P2", "C6"])
def test_an_overvoltage_vector_gives_its_masses(vector_id):
    vector = Vector(vector_id)
    given, out = vector.given, vector.out
    gases = pfc.by_overvoltage(
        given["aeo_mv"], given["ce_percent"], given["al_t"], given["ovc"], given["c2f6_cf4"]
    )
    vector.printed(gases.cf4_t * 1_000, out["cf4_kg"])
    vector.printed(gases.c2f6_t * 1_000, out["c2f6_kg"])
    vector.printed(pfc.co2e(gases.cf4_t, gases.c2f6_t, *vector.gwp()), out["co2e_t"])


def test_p4_metal_of_a_pot_day_agrees_with_the_stated_one():
    vector = Vector("P4")
    kg = 1_000 * aluminium.metal_per_cell_day(vector.given["i_ka"], vector.given["ce_percent"])
    vector.close(kg, vector.out["stated_kg_per_cell_day"])
    vector.close(kg, vector.out["computed_kg_per_cell_day"], 1e-9)


def test_p5_current_efficiency_is_that_of_the_nameplate():
    vector = Vector("P5")
    given = vector.given
    charge_kah = given["i_ka"] * 24 * given["days"]
    got = aluminium.current_efficiency_percent(given["al_t_per_year"], charge_kah, given["pots"])
    vector.close(got, vector.out["ce_percent"])


def test_c6x_the_hundredfold_mass_of_the_percent_trap_is_refused_by_faraday_s_bound():
    vector = Vector("C6x")
    given, out = vector.given, vector.out
    effect_min = Vector("C1").given["ae_minutes"]  # the activity data of C1 to C6
    current_ka = Vector("C1").given["i_ka"]
    pfc.check_bound(out["correct_cf4_kg"], current_ka, effect_min)
    with pytest.raises(CalculationError, match="CF4"):
        pfc.check_bound(out["wrong_cf4_kg"], current_ka, effect_min)
    with pytest.raises(CalculationError, match="percent"):
        pfc.by_overvoltage(
            given["aeo_mv"], given["ce_percent"] / 100, given["al_t"], given["ovc"], 0.121
        )
    right = pfc.by_overvoltage(
        given["aeo_mv"], given["ce_percent"], given["al_t"], given["ovc"], 0.121
    )
    vector.printed(right.cf4_t * 1_000, out["correct_cf4_kg"])


def test_c7_events_one_by_one_give_the_total_of_the_slope_method():
    vector = Vector("C7")
    given, out = vector.given, vector.out
    per_event = [
        given["slope"] * seconds / 60 * given["mp_t_per_cell_day"]
        for seconds in given["durations_s"]
    ]
    for got, expected in zip(per_event, vector.between["per_event_cf4_kg"], strict=True):
        vector.printed(got, expected)
    cell_days = given["pots"] * given["days"]
    aem = sum(given["durations_s"]) / 60 / cell_days
    gases = pfc.by_slope(aem, given["mp_t_per_cell_day"] * cell_days, given["slope"], 0.121)
    vector.printed(gases.cf4_t * 1_000, out["slope_total_kg"])
    vector.close(gases.cf4_t * 1_000, sum(per_event))


@pytest.mark.parametrize(
    ("in_service", "days", "aem"),
    [
        (True, "cell_days_pots_in_circuit", "aem_in_circuit"),
        (False, "cell_days_energised", "aem_energised"),
    ],
)
def test_c8_cell_days_of_pots_cut_out_and_of_a_line_outage(in_service, days, aem):
    """All 200 pots at ten minutes a sample: two leave after 20.5 d, the line is off for 3 h."""
    vector = Vector("C8")
    given, step = vector.given, 600 * NS
    settings = DetectorSettings(max_hold_s=600, outage_in_service=in_service, v_target=4.2)
    end = given["days"] * 86_400 * NS
    times = np.arange(0, end, step, dtype=np.int64)
    off = (times >= 5 * 86_400 * NS) & (times < (5 * 24 + given["line_outage_h"]) * 3600 * NS)
    observed = {}
    for cut_out in (False, True):
        detector = PotDetector("pot", settings)
        leaves = end - round(given["out_days_each"] * 86_400) * NS if cut_out else end
        stays = times < leaves
        detector.feed(times[stays], np.where(off, 1.2, 4.2)[stays], ~off[stays])
        if cut_out:
            detector.set_circuit(leaves, in_circuit=False)
            detector.feed(times[~stays], np.full(int((~stays).sum()), 0.3), ~off[~stays])
        detector.advance(end)
        assert all(not isinstance(item, AnodeEffect) for item in detector.outputs())
        observed[cut_out] = sum(
            sums.observed_ns for _, sums in detector.state.windows.take_hours(end + 3600 * NS)
        )
    whole = given["pots"] - given["pots_out"]
    total = whole * observed[False] + given["pots_out"] * observed[True]
    cell_days = total / NS / 86_400
    vector.close(cell_days, vector.between[days])
    vector.printed(given["ae_minutes"] / cell_days, vector.out[aem])


def test_c9_an_event_over_the_month_s_end_is_split_by_time_and_counted_once():
    vector = Vector("C9")
    zone = ZoneInfo(vector.given["tz"])
    start, end = (to_ns(datetime.fromisoformat(vector.given[key])) for key in ("start", "end"))
    detector = PotDetector("pot", DetectorSettings(v_target=4.2))
    times = np.arange(start - 600 * NS, end + 600 * NS, NS, dtype=np.int64)
    volts = np.where((times >= start) & (times < end), 28.0, 4.2)
    detector.feed(times, volts, np.ones(len(times), dtype=np.bool_))
    (effect,) = (item for item in detector.outputs() if isinstance(item, AnodeEffect))
    assert effect.above_threshold_s == vector.between["duration_s"]
    hours = detector.state.windows.take_hours(2**62)
    for month, name in (("2026-01", "jan"), ("2026-02", "feb")):
        first, after = month_bounds(month, zone)
        inside = [sums for at, sums in hours if first <= at < after]
        minutes = sum(sums.effect_ns for sums in inside) / NS / 60
        assert minutes == vector.out[f"{name}_minutes"]
        assert sum(sums.effects for sums in inside) == vector.out[f"{name}_count"]


@pytest.mark.parametrize("report", ["AR2", "AR4", "AR5", "AR6"])
def test_c10_equivalents_under_a_set_of_warming_potentials(report):
    vector = Vector("C10")
    values = PFC["constants"]["gwp100"][report]
    got = pfc.co2e(
        vector.given["cf4_kg"] / 1_000,
        vector.given["c2f6_kg"] / 1_000,
        values["CF4"],
        values["C2F6"],
    )
    vector.close(got, vector.out[report])


def test_c11_anode_co2_of_prebaked_anodes():
    vector = Vector("C11")
    given = vector.given
    got = aluminium.anode_co2(
        given["al_t"], given["nac_t_per_t"], given["s_percent"] / 100, given["ash_percent"] / 100
    )
    vector.close(got, vector.out["co2_t"])


def test_c14_faraday_s_bound_per_minute_of_effect():
    vector = Vector("C14")
    bound = pfc.cf4_bound_kg(vector.given["i_ka"], 1)
    vector.printed(bound, vector.out["max_cf4_kg_per_min"])
    vector.printed(
        vector.between["slope_kg_per_min_pot"] / bound, vector.out["slope_share_of_limit"]
    )
    assert vector.given["m_cf4_g_mol"] == pfc.CF4_G_PER_MOL
    pfc.check_bound(bound, vector.given["i_ka"], 1)
    with pytest.raises(CalculationError):
        pfc.check_bound(bound * (1 + 1e-12), vector.given["i_ka"], 1)


def test_c15_metal_per_cell_day_at_six_currents():
    vector = Vector("C15")
    for (current, efficiency), expected in zip(
        vector.given["cases"], vector.out["kg_per_cell_day"], strict=True
    ):
        vector.printed(1_000 * aluminium.metal_per_cell_day(current, efficiency), expected)


def test_c16_point_source_and_its_rounding():
    """The division by the collection efficiency is no function of ours; the rest is."""
    vector = Vector("C16")
    given = vector.given
    gases = pfc.by_slope(
        given["aef"] * given["aed_min"], given["al_t"], given["slope"], given["c2f6_cf4"]
    )
    vector.close(gases.cf4_t, vector.between["cf4_t"])
    vector.close(gases.c2f6_t, vector.between["c2f6_t"])
    duct = pfc.co2e(gases.cf4_t, gases.c2f6_t, *vector.gwp())
    vector.close(duct, vector.between["point_source_co2e_t"])
    total = duct / (given["collection_efficiency_percent"] / 100)
    assert half_up(total, 5) == Decimal(str(vector.out["reportable_co2e_t"]))


def test_c17_the_chinese_form_differs_in_the_ratio_only():
    vector = Vector("C17")
    given, out = vector.given, vector.out
    gases = pfc.by_slope(
        given["aem_min_per_cell_day"], given["al_t"], given["slope"], given["c2f6_ratio"]
    )
    vector.close(gases.ef_cf4_kg_per_t, vector.between["ef_cf4"])
    vector.printed(gases.cf4_t * 1_000, out["cf4_kg"])
    vector.printed(gases.c2f6_t * 1_000, out["c2f6_kg"])
    vector.printed(pfc.co2e(gases.cf4_t, gases.c2f6_t, *vector.gwp()), out["co2e_t"])
    factors = factor_sets.find("cets-ag-04.01-v01-2024")
    assert factors.get("pfc.slope.cwpb").value == given["slope"]
    assert factors.get("pfc.c2f6_ratio.cwpb").value == given["c2f6_ratio"]


def test_c18_mean_overvoltage_of_one_event():
    vector = Vector("C18")
    detector = PotDetector("pot", DetectorSettings(v_target=4.2))
    times = np.arange(120, dtype=np.int64) * NS
    volts = np.where((times >= 10 * NS) & (times < 100 * NS), 28.0, 4.2)
    detector.feed(times, volts, np.ones(120, dtype=np.bool_))
    (hour,) = detector.state.windows.take_hours(2**62)
    vector.close(hour[1].overvoltage_v_s, vector.between["integral_v_s"])
    in_service_s = vector.given["pots"] * vector.given["days"] * 86_400
    assert in_service_s == vector.between["in_service_s"]
    vector.printed(1_000 * hour[1].overvoltage_v_s / in_service_s, vector.out["aeo_mv_per_cell"])


def test_every_calculation_vector_is_used_or_named_as_having_no_function():
    source = Path(__file__).read_text(encoding="utf-8")
    missing = {
        vector_id
        for vector_id in CALCULATION
        if f'"{vector_id}"' not in source.partition("def test_every")[0]
    }
    assert missing == {"C12", "C13"}  # anode baking, Söderberg paste: no such functions


# -- PFC: detector ----------------------------------------------------------------------------


def samples(vector):
    """Times [ns], voltages and whether the current flows, as the file's runs say."""
    times, volts, on = [], [], []
    for run in vector["runs"]:
        for second in range(run["from_s"], run["to_s"], run["step_s"]):
            times.append(second * NS)
            volts.append(run["v"])
            on.append(run["i_ka"] >= vector["config"]["i_off_ka"])
    return np.array(times, np.int64), np.array(volts), np.array(on, np.bool_)


def check(vector, detector):
    detector.advance(round(vector["end_of_stream_s"] * NS))
    ended = [item for item in detector.outputs() if isinstance(item, AnodeEffect)]
    still_open = detector.open_effect()
    got = [*ended, *([still_open] if still_open else [])]
    expected = vector["expected"]
    assert len(got) == len(expected["events"])
    for effect, event in zip(got, expected["events"], strict=True):
        assert effect.start_ns == round(event["start_s"] * NS)
        assert effect.end_ns == round(event["end_s"] * NS)
        assert effect.above_threshold_s == event["net_s"]
        assert effect.gross_s == event["gross_s"]
        assert effect.estimated_s == event["est_s"]
        assert effect.peak_v == event["peak_v"]
        assert effect.overvoltage_v_s == pytest.approx(event["ov_pos_vs"], rel=1e-12)
        assert effect.overvoltage_algebraic_v_s == pytest.approx(event["ov_alg_vs"], rel=1e-12)
        assert (effect.end_reason, effect.group) == (event["end_reason"], event["group"])
    assert detector.state.group == expected["groups"]
    assert detector.state.spikes == expected["spikes"]


def settings_of(vector):
    names = (
        "v_on",
        "v_off",
        "t_on_s",
        "t_off_s",
        "max_hold_s",
        "gap_cap_s",
        "reoccur_s",
        "v_target",
    )
    return DetectorSettings(**{name: vector["config"][name] for name in names})


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 8, 9, 10, 64, 10_000])
@pytest.mark.parametrize("vector_id", DETECTOR)
def test_a_detector_vector_gives_its_events_however_it_is_cut(vector_id, chunk):
    vector = DETECTOR[vector_id]
    detector = PotDetector("pot", settings_of(vector))
    times, volts, on = samples(vector)
    for at in range(0, len(times), chunk):
        part = slice(at, at + chunk)
        detector.feed(times[part], volts[part], on[part])
    check(vector, detector)


@pytest.mark.parametrize("seed", range(5))
def test_d12_shuffled_and_doubled_samples_give_the_same_events(seed):
    vector = DETECTOR["D12"]
    times, volts, _ = samples(vector)
    rng = random.Random(seed)
    order = list(range(len(times)))
    order += rng.sample(order, 40)
    rng.shuffle(order)
    buffer = SignalBuffer()
    for place in order:
        buffer.add(Sample("pot", int(times[place]), float(volts[place])))
    taken_times, taken_volts = buffer.take(2**62)
    assert taken_times.tolist() == times.tolist()
    detector = PotDetector("pot", settings_of(vector))
    detector.feed(taken_times, taken_volts, np.ones(len(taken_times), dtype=np.bool_))
    check(vector, detector)


@pytest.mark.parametrize("vector_id", DETECTOR)
def test_a_detector_vector_survives_storage_after_every_sample(vector_id):
    vector = DETECTOR[vector_id]
    outputs, state = [], DetectorState(windows=Windows())
    detector = PotDetector("pot", settings_of(vector), state)
    for time_ns, volt, on in zip(*(item.tolist() for item in samples(vector)), strict=True):
        detector.step(time_ns, volt, flowing=on)
        outputs += detector.outputs()
        stored = json.loads(json.dumps(detector.state.dump()))
        detector = PotDetector("pot", settings_of(vector), DetectorState.load(stored))
    detector._out = outputs
    check(vector, detector)

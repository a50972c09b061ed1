"""Every reference case, as it stands in the vector files."""

import json
import math
import random
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from edge_agent import factor_sets
from edge_agent.calc import aluminium, pfc
from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.detector_state import DetectorSettings, DetectorState
from edge_agent.calc.rounding import half_up
from edge_agent.calc.windows import month_bounds, to_ns
from edge_agent.errors import CalculationError
from edge_agent.pipeline.buffers import SignalBuffer
from edge_agent.readings import AnodeEffect, Sample
from gateway import cases

NS = 10**9
DATA = Path(__file__).resolve().parents[2] / "data" / "vectors"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "vectors"
EMISSIONS = json.loads((DATA / "emissions.json").read_text())
EFFECTS = json.loads((DATA / "anode_effects.json").read_text())
PFC = json.loads((DATA / "pfc.json").read_text())
CALC = {item["id"]: item for item in PFC["calculation_vectors"]}


@pytest.mark.parametrize("name", ["emissions", "anode_effects", "pfc"])
def test_our_copies_are_the_shared_vectors(name):
    if not SHARED.is_dir():
        pytest.skip("no shared folder beside this checkout")
    assert (SHARED / f"{name}.json").read_bytes() == (DATA / f"{name}.json").read_bytes()


@pytest.mark.parametrize(
    ("area", "place"), [(area, i) for area, items in EMISSIONS.items() for i in range(len(items))]
)
def test_an_emission_case_gives_what_is_expected(area, place):
    case = EMISSIONS[area][place]
    (done,) = cases.evaluate({area: [{"input": case["input"]}]})[area]
    assert done["input"] == case["input"]
    for key, expected in case["expect"].items():
        found = done["result"][key]
        if isinstance(expected, list):
            assert found == expected
        else:
            assert math.isclose(found, expected, rel_tol=1e-12, abs_tol=0), key


@pytest.mark.parametrize("case", EFFECTS["cases"], ids=lambda case: case["name"])
def test_an_effects_case_gives_the_expected_groups(case):
    bare = {"name": case["name"], "voltage": case["voltage"]}
    (done,) = cases.evaluate_effects({"rule": EFFECTS["rule"], "cases": [bare]})["cases"]
    assert len(done["result"]) == len(case["expect"])
    for found, expected in zip(done["result"], case["expect"], strict=True):
        assert found["start_s"] == expected["start_s"]
        assert found["end_s"] == expected["end_s"]
        if expected["above_s"] is not None:
            assert found["above_s"] == expected["above_s"]


def near(found, expected, vector):
    # The files print at most nine decimals: half of the last one is the print's own error.
    printed = 0.5 * 10.0 ** -len(str(expected).partition(".")[2])
    assert math.isclose(found, expected, rel_tol=vector["rel_tolerance"], abs_tol=printed), (
        found,
        expected,
    )


def gwp(report):
    values = PFC["constants"]["gwp100"][report]
    return values["CF4"], values["C2F6"]


@pytest.mark.parametrize("name", ["P1", "P3", "C1", "C2", "C3", "C4a", "C4b", "C5a", "C5b", "C17"])
def test_a_slope_vector(name):
    vector = CALC[name]
    given, out = vector["inputs"], vector["outputs"]
    metal = given.get("al_t") or vector["intermediates"]["al_t"]
    aem = given.get("aem_min_per_cell_day")
    if aem is None:
        aem = given["ae_minutes"] / given["cell_days"]
        near(aem, vector["intermediates"]["aem"], vector)
        made = aluminium.metal_per_cell_day(given["i_ka"], given["ce_percent"])
        near(made, vector["intermediates"]["mp_t_per_cell_day"], vector)
        metal = made * given["cell_days"]
    gases = pfc.by_slope(aem, metal, given["slope"], given.get("c2f6_cf4", given.get("c2f6_ratio")))
    for unit, scale in (("kg", 1000), ("t", 1)):
        if f"cf4_{unit}" in out:
            near(gases.cf4_t * scale, out[f"cf4_{unit}"], vector)
            near(gases.c2f6_t * scale, out[f"c2f6_{unit}"], vector)
    near(pfc.co2e(gases.cf4_t, gases.c2f6_t, *gwp(given["gwp"])), out["co2e_t"], vector)


@pytest.mark.parametrize("name", ["P2", "C6"])
def test_an_overvoltage_vector(name):
    vector = CALC[name]
    given, out = vector["inputs"], vector["outputs"]
    gases = pfc.by_overvoltage(
        given["aeo_mv"], given["ce_percent"], given["al_t"], given["ovc"], given["c2f6_cf4"]
    )
    near(gases.cf4_t * 1000, out["cf4_kg"], vector)
    near(gases.c2f6_t * 1000, out["c2f6_kg"], vector)
    near(pfc.co2e(gases.cf4_t, gases.c2f6_t, *gwp(given["gwp"])), out["co2e_t"], vector)


def test_the_percent_trap_is_refused_c6x():
    vector = CALC["C6x"]
    given, out = vector["inputs"], vector["outputs"]
    with pytest.raises(CalculationError, match="percent number"):
        pfc.by_overvoltage(given["aeo_mv"], 0.94, given["al_t"], given["ovc"], 0.121)
    # 2.8 mV of overvoltage at 16.7 V over target is 0.24 minutes a cell-day; 6000 cell-days.
    minutes = given["aeo_mv"] / 1000 * 86_400 / 16.7 / 60 * 6_000
    pfc.check_bound(out["correct_cf4_kg"], 300, minutes)
    with pytest.raises(CalculationError, match="above the"):
        pfc.check_bound(out["wrong_cf4_kg"], 300, minutes)


def test_production_vectors_p4_p5_c15():
    given = CALC["P4"]["inputs"]
    made = aluminium.metal_per_cell_day(given["i_ka"], given["ce_percent"]) * 1000
    near(made, CALC["P4"]["outputs"]["stated_kg_per_cell_day"], CALC["P4"])
    vector = CALC["P5"]
    given = vector["inputs"]
    charge = given["i_ka"] * 24 * given["days"]
    found = aluminium.current_efficiency_percent(given["al_t_per_year"], charge, given["pots"])
    near(found, vector["outputs"]["ce_percent"], vector)
    vector = CALC["C15"]
    for (current, efficiency), expected in zip(
        vector["inputs"]["cases"], vector["outputs"]["kg_per_cell_day"], strict=True
    ):
        found = aluminium.metal_per_cell_day(current, efficiency) * 1000
        assert math.isclose(found, expected, rel_tol=1e-7)  # printed to four decimals


def test_single_effects_add_up_to_the_slope_total_c7():
    vector = CALC["C7"]
    given, out = vector["inputs"], vector["outputs"]
    made = given["mp_t_per_cell_day"]
    single = [given["slope"] * seconds / 60 * made for seconds in given["durations_s"]]
    cell_days = aluminium.cell_days(given["pots"], given["days"], 0)
    aem = sum(given["durations_s"]) / 60 / cell_days
    total = pfc.by_slope(aem, made * cell_days, given["slope"], 0.121).cf4_t * 1000
    near(math.fsum(single), out["sum_events_kg"], vector)
    near(total, out["slope_total_kg"], vector)


def test_cell_days_with_cut_out_pots_and_outage_c8():
    vector = CALC["C8"]
    given, out = vector["inputs"], vector["outputs"]
    absent = given["pots_out"] * given["out_days_each"]
    in_circuit = aluminium.cell_days(given["pots"], given["days"], absent)
    dark = given["pots"] * given["line_outage_h"] / 24
    energised = aluminium.cell_days(given["pots"], given["days"], absent + dark)
    near(in_circuit, vector["intermediates"]["cell_days_pots_in_circuit"], vector)
    near(energised, vector["intermediates"]["cell_days_energised"], vector)
    near(given["ae_minutes"] / in_circuit, out["aem_in_circuit"], vector)
    near(given["ae_minutes"] / energised, out["aem_energised"], vector)


def test_an_effect_across_the_month_end_is_split_and_counted_once_c9():
    vector = CALC["C9"]
    given, out = vector["inputs"], vector["outputs"]
    start, end = (to_ns(datetime.fromisoformat(given[key])) for key in ("start", "end"))
    _, boundary = month_bounds("2026-01", ZoneInfo(given["tz"]))
    times = np.arange(start - 60 * NS, end + 60 * NS, NS)
    volts = np.where((times >= start) & (times < end), 25.0, 4.2)
    detector = PotDetector("p", DetectorSettings(v_target=4.2))
    detector.feed(times, volts, np.ones(len(times), dtype=bool))
    hours = detector.state.windows.take_hours(2**62)
    for month, mine in (("jan", lambda t: t < boundary), ("feb", lambda t: t >= boundary)):
        minutes = sum(sums.effect_ns for hour, sums in hours if mine(hour)) / NS / 60
        assert minutes == out[f"{month}_minutes"]
        assert sum(s.effects for hour, s in hours if mine(hour)) == out[f"{month}_count"]


def test_warming_potentials_c10():
    vector = CALC["C10"]
    factors = factor_sets.find("ipcc-2006")
    for report, expected in vector["outputs"].items():
        name = {"AR2": "sar"}.get(report, report.lower())
        values = [factors.get(f"gwp100.{name}.{gas}").value for gas in ("cf4", "c2f6")]
        assert values == list(gwp(report))
        near(pfc.co2e(0.1, 0.01, *values), expected, vector)


def test_anode_carbon_c11_c12_c13():
    vector = CALC["C11"]
    given = vector["inputs"]
    co2 = aluminium.anode_co2(
        given["al_t"], given["nac_t_per_t"], given["s_percent"] / 100, given["ash_percent"] / 100
    )
    near(co2, vector["outputs"]["co2_t"], vector)
    vector = CALC["C12"]
    given, out = vector["inputs"], vector["outputs"]
    pitch = aluminium.pitch_volatiles_co2(
        given["ga_t"], given["hw_t"], given["ba_t"], given["wt_t"]
    )
    coke = aluminium.packing_coke_co2(
        given["pcc_t_per_t"], given["ba_t"], given["s_pc_percent"], given["ash_pc_percent"]
    )
    near(pitch, out["pitch_co2_t"], vector)
    near(coke, out["packing_co2_t"], vector)
    near(pitch + coke, out["total_co2_t"], vector)
    vector = CALC["C13"]
    given = vector["inputs"]
    paste = aluminium.SoderbergPaste(
        given["pc_t_per_t"], given["csm_kg_per_t"], given["bc_percent"], given["s_p"],
        given["ash_p"], given["h_p"], given["s_c"], given["ash_c"], given["cd_t_per_t"],
    )  # fmt: skip
    near(aluminium.soderberg_co2(given["al_t"], paste), vector["outputs"]["co2_t"], vector)


def test_faraday_bound_c14():
    vector = CALC["C14"]
    bound = pfc.cf4_bound_kg(vector["inputs"]["i_ka"], 1)
    near(bound, vector["outputs"]["max_cf4_kg_per_min"], vector)


def test_collection_efficiency_and_rounding_c16():
    vector = CALC["C16"]
    given = vector["inputs"]
    gases = pfc.by_slope(
        given["aef"] * given["aed_min"], given["al_t"], given["slope"], given["c2f6_cf4"]
    )
    duct = pfc.co2e(gases.cf4_t, gases.c2f6_t, *gwp(given["gwp"]))
    total = pfc.total_from_duct(duct, given["collection_efficiency_percent"])
    assert float(half_up(total, 5)) == vector["outputs"]["reportable_co2e_t"]


def test_overvoltage_of_one_event_c18():
    vector = CALC["C18"]
    times = np.arange(200, dtype=np.int64) * NS
    volts = np.where((times >= 10 * NS) & (times < 100 * NS), 28.0, 4.2)
    detector = PotDetector("p", DetectorSettings(v_target=4.2))
    detector.feed(times, volts, np.ones(200, dtype=bool))
    (effect,) = [item for item in detector.outputs() if isinstance(item, AnodeEffect)]
    near(effect.overvoltage_v_s, vector["intermediates"]["integral_v_s"], vector)
    aeo = 1000 * effect.overvoltage_v_s / vector["intermediates"]["in_service_s"]
    near(aeo, vector["outputs"]["aeo_mv_per_cell"], vector)


def test_no_calculation_vector_is_left_out():
    tested = {"P1", "P2", "P3", "P4", "P5", "C6", "C6x", "C7", "C8", "C9", "C10", "C11", "C12"}
    tested |= {
        "C13",
        "C14",
        "C15",
        "C16",
        "C17",
        "C18",
        "C1",
        "C2",
        "C3",
        "C4a",
        "C4b",
        "C5a",
        "C5b",
    }
    assert tested == CALC.keys()


def signal(vector):
    off = vector["config"]["i_off_ka"]
    points = [
        (round(second * NS), run["v"], run["i_ka"] >= off)
        for run in vector["runs"]
        for second in np.arange(run["from_s"], run["to_s"], run["step_s"]).tolist()
    ]
    times, volts, on = zip(*points, strict=True)
    return np.array(times, np.int64), np.array(volts, np.float64), np.array(on, np.bool_)


def detect(vector, times, volts, on, piece, *, dump=False):
    config = {key: item for key, item in vector["config"].items() if key != "i_off_ka"}
    detector = PotDetector("p", DetectorSettings(**config))
    effects = []
    for start in range(0, len(times), piece):
        stop = start + piece
        detector.feed(times[start:stop], volts[start:stop], on[start:stop])
        effects += [item for item in detector.outputs() if isinstance(item, AnodeEffect)]
        if dump:
            state = DetectorState.load(detector.state.dump())
            detector = PotDetector("p", detector.settings, state)
    detector.advance(round(vector["end_of_stream_s"] * NS))
    effects += [detector.open_effect()] if detector.open_effect() else []
    return effects, detector.state


@pytest.mark.parametrize("piece", [1, 3, 9, 37, 10_000])
@pytest.mark.parametrize("vector", PFC["detector_vectors"], ids=lambda item: item["id"])
def test_a_detector_vector_in_pieces_of_any_size(vector, piece):
    times, volts, on = signal(vector)
    if vector["id"] == "D12":
        points = list(zip(times.tolist(), volts.tolist(), strict=True))
        points += random.Random(4).sample(points, 40)
        random.Random(5).shuffle(points)
        buffer = SignalBuffer()
        for time_ns, volt in points:
            buffer.add(Sample("p", time_ns, volt))
        times, volts = buffer.take(10**15)
    effects, state = detect(vector, times, volts, on, piece, dump=piece == 9)
    expected = vector["expected"]
    assert state.spikes == expected["spikes"]
    assert state.group == expected["groups"]
    assert len(effects) == len(expected["events"])
    for found, event in zip(effects, expected["events"], strict=True):
        assert found.end_reason == event["end_reason"]
        assert found.group == event["group"]
        for attribute, key in (
            (found.start_ns / NS, "start_s"),
            (found.end_ns / NS, "end_s"),
            (found.above_threshold_s, "net_s"),
            (found.gross_s, "gross_s"),
            (found.estimated_s, "est_s"),
            (found.peak_v, "peak_v"),
            (found.overvoltage_v_s, "ov_pos_vs"),
            (found.overvoltage_algebraic_v_s, "ov_alg_vs"),
        ):
            assert math.isclose(attribute, event[key], rel_tol=1e-9), key

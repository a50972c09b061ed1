"""``carbon-gateway calc``: evaluates case files with the very functions that reports use."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_agent import factor_sets
from edge_agent.calc import aluminium, cement, combustion, pfc, steel
from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.detector_state import DetectorSettings
from edge_agent.calc.integration import TotaliserRule, total
from edge_agent.readings import AnodeEffect

NS_PER_S = 10**9
FACTOR_SET = "ipcc-2006"


def evaluate(cases: dict[str, Any]) -> dict[str, Any]:
    """A case file with a ``result`` beside each ``input``.

    Raises:
        KeyError, CalculationError: an area or key is unknown, or an input out of range.
    """
    out: dict[str, Any] = {}
    for area, items in cases.items():
        if area not in _AREAS:
            out[area] = items
            continue
        out[area] = [
            {"input": item["input"], "result": _AREAS[area](item["input"])} for item in items
        ]
    return out


def _pfc(given: dict[str, Any]) -> dict[str, float]:
    factors = factor_sets.find(FACTOR_SET)
    technology, report = given["technology"].lower(), given["gwp"].lower()
    ratio = factors.get(f"pfc.c2f6_ratio.{technology}").value
    if given["method"] == "slope":
        gases = pfc.by_slope(
            given["aef_per_cell_day"] * given["aed_min"],
            given["metal_t"],
            factors.get(f"pfc.slope.{technology}").value,
            ratio,
        )
    else:
        gases = pfc.by_overvoltage(
            given["aeo_mv"],
            given["current_efficiency_percent"],
            given["metal_t"],
            factors.get(f"pfc.overvoltage.{technology}").value,
            ratio,
        )
    gwp = [factors.get(f"gwp100.{report}.{gas}").value for gas in ("cf4", "c2f6")]
    return {
        "ef_cf4_kg_per_t": gases.ef_cf4_kg_per_t,
        "cf4_t": gases.cf4_t,
        "c2f6_t": gases.c2f6_t,
        "co2e_t": pfc.co2e(gases.cf4_t, gases.c2f6_t, gwp[0], gwp[1]),
    }


def _anode(given: dict[str, Any]) -> dict[str, float]:
    return {
        "co2_t": aluminium.anode_co2(
            given["metal_t"], given["net_consumption_t_per_t"], given["sulphur"], given["ash"]
        )
    }


def _fuel(given: dict[str, Any]) -> dict[str, float]:
    if "carbon_content_t_per_t" in given:
        co2 = combustion.co2_by_carbon_content(
            given["amount"], given["carbon_content_t_per_t"], given["oxidation"]
        )
    else:
        co2 = combustion.co2_by_heating_value(
            given["amount"], given["ncv_gj"], given["carbon_t_per_gj"], given["oxidation"]
        )
    return {"co2_t": co2}


def _coal_basis(given: dict[str, Any]) -> dict[str, float]:
    return {
        "c_ar_percent": combustion.as_received_from_air_dried(
            given["c_ad_percent"], given["m_ad_percent"], given["m_ar_percent"]
        )
    }


def _clinker(given: dict[str, Any]) -> dict[str, float]:
    if given.get("method") == "default":
        return {"co2_t": cement.clinker_co2(given["clinker_t"], given["ef_t_per_t"])}
    factor = cement.clinker_factor(
        given["cao"], given["mgo"], given["cao_noncarbonate"], given["mgo_noncarbonate"]
    )
    return {"ef_t_per_t": factor, "co2_t": cement.clinker_co2(given["clinker_t"], factor)}


def _carbon_balance(given: dict[str, Any]) -> dict[str, float]:
    entered, left = (
        [(item["mass_t"], item["carbon"]) for item in given[key]]
        for key in ("carbon_in", "carbon_out")
    )
    return {"co2_t": steel.carbon_balance_co2(entered, left)}


def _totaliser(given: dict[str, Any]) -> dict[str, Any]:
    rule = TotaliserRule(given.get("modulus"), given.get("max_rate_per_h"))
    sum_ = total(given["reads"], rule)
    events = [{"index": index, "kind": kind} for index, kind in sum_.events]
    return {"total": sum_.total, "events": events}


_AREAS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "pfc": _pfc,
    "anode": _anode,
    "fuel": _fuel,
    "coal_basis": _coal_basis,
    "clinker": _clinker,
    "carbon_balance": _carbon_balance,
    "totaliser": _totaliser,
}


def evaluate_effects(file: dict[str, Any]) -> dict[str, Any]:
    """An effects file with a ``result`` of groups beside each case's voltages.

    The rule's ``min_duration_s`` is time above the threshold with each sample holding one
    period, so the times of the first and last sample that confirm are one period closer.
    """
    rule = file["rule"]
    settings = DetectorSettings(
        v_on=rule["threshold_v"],
        v_off=rule["threshold_v"],
        t_on_s=rule["min_duration_s"] - rule["sample_period_s"],
        reoccur_s=rule["restrike_window_s"],
        v_target=None,
    )
    cases = [
        {
            "name": case["name"],
            "result": _groups(case["voltage"], settings, rule["sample_period_s"]),
        }
        for case in file["cases"]
    ]
    return {"rule": rule, "cases": cases}


def _groups(
    voltage: list[float | None], settings: DetectorSettings, period_s: float
) -> list[dict[str, Any]]:
    values = np.array([math.nan if value is None else value for value in voltage], np.float64)
    times = np.round(np.arange(len(values)) * period_s * NS_PER_S).astype(np.int64)
    good = np.isfinite(values)
    detector = PotDetector("pot", settings)
    detector.feed(times[good], values[good], np.ones(int(good.sum()), dtype=np.bool_))
    detector.advance(round(len(values) * period_s * NS_PER_S))
    effects = [item for item in detector.outputs() if isinstance(item, AnodeEffect)]
    open_effect = detector.open_effect()
    groups: dict[int, dict[str, Any]] = {}
    for effect in (*effects, *((open_effect,) if open_effect else ())):
        end_s = _seconds(effect.end_ns or 0)
        group = groups.setdefault(
            effect.group, {"start_s": _seconds(effect.start_ns), "end_s": None, "above_s": 0}
        )
        group["end_s"] = None if effect is open_effect else end_s
        group["above_s"] = _whole(group["above_s"] + effect.above_threshold_s)
    return list(groups.values())


def _seconds(time_ns: int) -> float:
    return _whole(time_ns / NS_PER_S)


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value

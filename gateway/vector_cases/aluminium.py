"""Worked cases of aluminium smelting."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from edge_agent import factor_sets
from edge_agent.calc import aluminium, pfc, process
from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.combustion import burn
from edge_agent.calc.defaults import Measured, fuel_use
from edge_agent.calc.detector_state import DetectorSettings
from edge_agent.calc.factors import FactorSet
from edge_agent.readings import AnodeEffect
from gateway.vector_cases.shapes import Case, Steps, rounded

GUIDE = "cets-ag-04.01-v01-2024"
NS_PER_S = 10**9
DAY_S = 86_400


def _anode(case: Case) -> Steps:
    ef = aluminium.anode_co2(1, case["NC_tC_per_t"], case["S"], case["A"])
    ef_2dp = rounded(ef, 2)
    return {
        "EF_anode": ef,
        "E_anode": aluminium.anode_co2(case["P_t"], case["NC_tC_per_t"], case["S"], case["A"]),
        "EF_anode_2dp": ef_2dp,
        "E_anode_from_rounded_EF": aluminium.anode_co2_by_tonne(case["P_t"], ef_2dp),
    }


def _gross_anode(case: Case) -> Steps:
    net_t = aluminium.net_from_gross(case["gross_anode_t"], case["loss_rate"])
    return {
        "net_anode": net_t,
        "NC_implied": aluminium.net_consumption(net_t, 0, case["P_t"]),
        "E_anode": aluminium.anode_co2(net_t, 1, case["S"], case["A"]),
    }


def _weighed_anode(case: Case) -> Steps:
    anodes_t, butts_t = case["anodes_set_t"], case["butts_returned_t"]
    consumption = aluminium.net_consumption(anodes_t, butts_t, case["P_t"])
    co2 = aluminium.anode_co2(case["P_t"], consumption, case["S"], case["A"])
    return {"net_anode": anodes_t - butts_t, "NC": consumption, "E_anode": co2}


def _gases(gases: pfc.Pfc, gwp_cf4: float, gwp_c2f6: float) -> Steps:
    return {
        "EF_CF4": gases.ef_cf4_kg_per_t,
        "m_CF4": gases.cf4_t,
        "m_C2F6": gases.c2f6_t,
        "CO2e_CF4": pfc.co2e(gases.cf4_t, 0, gwp_cf4, gwp_c2f6),
        "CO2e_C2F6": pfc.co2e(0, gases.c2f6_t, gwp_cf4, gwp_c2f6),
        "E_PFC": pfc.co2e(gases.cf4_t, gases.c2f6_t, gwp_cf4, gwp_c2f6),
    }


def _pfc_default(case: Case) -> Steps:
    ratio = case["EF_C2F6_kg_per_t"] / case["EF_CF4_kg_per_t"]
    gases = pfc.by_factor(case["EF_CF4_kg_per_t"], case["P_t"], ratio)
    return _gases(gases, case["GWP_CF4"], case["GWP_C2F6"])


def _pfc_slope(case: Case) -> Steps:
    aem = case["AEF_per_cell_day"] * case["AED_min"]
    gases = pfc.by_slope(aem, case["P_t"], case["slope"], case["C2F6_ratio"])
    steps = _gases(gases, case["GWP_CF4"], case["GWP_C2F6"])
    return steps | {"AEM": aem, "EF_C2F6": gases.ef_cf4_kg_per_t * case["C2F6_ratio"]}


def _pfc_reports(case: Case) -> Steps:
    gases = pfc.by_slope(case["AEM"], case["P_t"], case["slope"], case["F"])
    factors = factor_sets.find("ipcc-2006")
    steps = {"m_CF4": gases.cf4_t, "m_C2F6": gases.c2f6_t}
    for report in ("sar", "ar4", "ar5", "ar6"):
        gwp = [factors.get(f"gwp100.{report}.{gas}").value for gas in ("cf4", "c2f6")]
        steps[f"E_PFC_{report.upper()}"] = pfc.co2e(gases.cf4_t, gases.c2f6_t, *gwp)
    return steps


def _pfc_overvoltage(case: Case) -> Steps:
    gases = pfc.by_overvoltage(
        case["AEO_mV"], case["CE_percent"], case["P_t"], case["OVC"], case["F"]
    )
    return _gases(gases, case["GWP_CF4"], case["GWP_C2F6"])


def _statistics(case: Case) -> Steps:
    absent = case["pots_out"] * case["days_out_each"]
    cell_days = aluminium.cell_days(case["pots"], case["days"], absent)
    aem = case["total_minutes"] / cell_days
    return {
        "cell_days": cell_days,
        "AEF": case["effects"] / cell_days,
        "AED": case["total_minutes"] / case["effects"],
        "AEM": aem,
        "AEM_2dp": rounded(aem, 2),
    }


def _detection(case: Case) -> Steps:
    """One pot-day at 1 s through the very detector of the agent."""
    settings = DetectorSettings(
        v_on=case["threshold_V"],
        v_off=case["threshold_V"],
        t_on_s=case["min_duration_s"] - 1,
        reoccur_s=case["restrike_window_s"],
        v_target=case["V_normal"],
    )
    volts = np.full(DAY_S, case["V_normal"], np.float64)
    for start, end, level in case["segments_start_s_end_s_volts"]:
        volts[start:end] = level
    times = np.arange(DAY_S, dtype=np.int64) * NS_PER_S
    detector = PotDetector("pot", settings)
    detector.feed(times, volts, np.ones(DAY_S, dtype=np.bool_))
    detector.advance(DAY_S * NS_PER_S)
    effects = [item for item in detector.outputs() if isinstance(item, AnodeEffect)]
    integral = math.fsum(effect.overvoltage_v_s for effect in effects)
    return {
        "effects": len({effect.group for effect in effects}),
        "minutes_above_8V": math.fsum(effect.above_threshold_s for effect in effects) / 60,
        "overvoltage_integral": integral,
        "AEO": 1000 * integral / (case["cell_days"] * DAY_S),
    }


def _enterprise(case: Case) -> Steps:
    factors = factor_sets.find(GUIDE)
    diesel = _fuel_co2(factors, "diesel", case["diesel_t"], case["OF_liquid"])
    gas = _fuel_co2(factors, "natural_gas", case["natural_gas_1e4Nm3"], case["OF_gas"])
    sulphur, ash = (factors.get(f"anode.{name}").value for name in ("sulphur", "ash"))
    anode = aluminium.anode_co2(case["P_t"], case["NC"], sulphur, ash)
    gases = pfc.by_slope(
        case["AEM"],
        case["P_t"],
        factors.get("pfc.slope.cwpb").value,
        factors.get("pfc.c2f6_ratio.cwpb").value,
    )
    gwp = [factors.get(f"gwp100.{gas}").value for gas in ("cf4", "c2f6")]
    e_pfc = pfc.co2e(gases.cf4_t, gases.c2f6_t, *gwp)
    carbonate = process.total(
        process.used(
            process.Item(name, case[f"{name}_t"], factors.get(f"carbonate.{name}.ef").value)
            for name in ("limestone", "soda_ash")
        )
    )
    return {
        "E_diesel": diesel,
        "E_gas": gas,
        "E_anode": anode,
        "E_PFC": e_pfc,
        "E_carbonate": carbonate,
        "E_process": anode + e_pfc,
        "intensity_process": (anode + e_pfc) / case["P_t"],
        "E_enterprise": math.fsum((diesel, gas, anode, e_pfc, carbonate)),
    }


def _fuel_co2(factors: FactorSet, name: str, amount: float, oxidation: float) -> float:
    use, _ = fuel_use(factors, name, Measured(amount))
    return burn(dataclasses.replace(use, oxidation=oxidation)).co2_t


def _faraday(case: Case) -> Steps:
    """Metal by the rounded equivalent that practice uses in the place of Faraday's constant."""
    rounded_g_per_ah = factor_sets.find(GUIDE).get("aluminium.g_per_ah").value
    share = rounded_g_per_ah / aluminium.ALUMINIUM_G_PER_AH
    one = share * aluminium.metal_per_cell_day(case["I_A"] / 1000, 100 * case["CE"])
    return {"one_cell_day": one, "P_faraday": one * case["cells"] * case["hours"] / 24}


_GWP = {"GWP_CF4", "GWP_C2F6"}
SHAPES: Mapping[frozenset[str], Callable[[Case], Steps]] = {
    frozenset({"P_t", "NC_tC_per_t", "S", "A"}): _anode,
    frozenset({"gross_anode_t", "loss_rate", "S", "A", "P_t"}): _gross_anode,
    frozenset({"anodes_set_t", "butts_returned_t", "S", "A", "P_t"}): _weighed_anode,
    frozenset({"P_t", "EF_CF4_kg_per_t", "EF_C2F6_kg_per_t", *_GWP}): _pfc_default,
    frozenset({"P_t", "AEF_per_cell_day", "AED_min", "slope", "C2F6_ratio", *_GWP}): _pfc_slope,
    frozenset({"P_t", "AEM", "slope", "F"}): _pfc_reports,
    frozenset({"P_t", "AEO_mV", "CE_percent", "OVC", "F", *_GWP}): _pfc_overvoltage,
    frozenset(
        {"pots", "days", "pots_out", "days_out_each", "effects", "total_minutes"}
    ): _statistics,
    frozenset(
        {
            "V_normal",
            "segments_start_s_end_s_volts",
            "threshold_V",
            "min_duration_s",
            "restrike_window_s",
            "cell_days",
        }
    ): _detection,
    frozenset(
        {
            "P_t",
            "diesel_t",
            "natural_gas_1e4Nm3",
            "limestone_t",
            "soda_ash_t",
            "NC",
            "AEM",
            "OF_liquid",
            "OF_gas",
        }
    ): _enterprise,
    frozenset({"I_A", "CE", "cells", "hours"}): _faraday,
}

"""Worked cases of cement clinker, stocks and lots."""

import math
from collections.abc import Callable, Mapping

from edge_agent import factor_sets
from edge_agent.calc import cement
from edge_agent.calc.combustion import alternative_fuel_co2, co2_by_heating_value
from edge_agent.calc.stock import Lot, StockBalance, blend, net_consumption
from edge_agent.errors import CalculationError
from gateway.vector_cases.shapes import Case, Steps

GUIDE = "cets-ag-02.01-v01-2024"
_KINDS = ("portland", "white", "sulfoaluminate", "aluminate")


def _default(case: Case) -> Steps:
    line = cement.line_process_co2([cement.Clinker("clinker", case["Q_t"], case["EF"])], [])
    return {"E_process": line.co2_t}


def _deductions(case: Case) -> Steps:
    substitutes = [
        cement.Substitute(name, case[f"{name}_t"], factor)
        for name, factor in case["deduction"].items()
    ]
    clinker = cement.Clinker("portland", case["Q_t"], case["EF"])
    line = cement.line_process_co2([clinker], substitutes)
    return {"gross": line.gross_t, "deduction": line.deduction_t, "E_process": line.co2_t}


def _kinds(case: Case) -> Steps:
    factors = factor_sets.find(GUIDE)
    made = [
        cement.Clinker(kind, case[f"{kind}_t"], factors.get(f"clinker.{kind}.ef").value)
        for kind in _KINDS
    ]
    single = {item.kind: cement.line_process_co2([item], []).co2_t for item in made}
    return single | {"E_process": cement.line_process_co2(made, []).co2_t}


def _lots(case: Case) -> Steps:
    mean = blend([Lot(mass_t, value) for mass_t, value in case["lots_t_GJ_per_t"]])
    return {"FC": mean.mass_t, "heat": mean.weighted, "NCV": mean.mean}


def _kiln_coal(case: Case) -> Steps:
    given = (case["CC"], case["OF"])
    steps = {"E_comb": co2_by_heating_value(case["FC_t"], case["NCV_GJ_per_t_3dp"], *given)}
    lots = next((key for key, item in case.every.items() if "lots_t_GJ_per_t" in item), None)
    if lots is not None:
        ncv = case.step(lots, "NCV")
        steps["E_unrounded_NCV"] = co2_by_heating_value(case["FC_t"], ncv, *given)
    return steps


def _oxides(case: Case) -> Steps:
    factor = cement.clinker_factor(
        case["CaO"], case["MgO"], case["CaO_noncarbonate"], case["MgO_noncarbonate"]
    )
    return {"EF": factor, "E_clinker": cement.clinker_co2(case["Q_t"], factor)}


def _dust(case: Case) -> Steps:
    factor = case["EF"]
    if isinstance(factor, str):
        factor = case.step(factor.removeprefix("from "), "EF")
    dust = cement.Dust(
        case["Q_kiln_dust_t"],
        case["Q_bypass_dust_t"],
        case["bypass_decomposition"],
        case["raw_meal_t"],
        case["FR0"],
    )
    done = cement.oxide_process_co2(case["Q_t"], factor, dust)
    return {
        "kiln_dust": done.kiln_dust_t,
        "bypass_dust": done.bypass_dust_t,
        "raw_meal_carbon": done.raw_meal_carbon_t,
        "E_process": done.co2_t,
    }


def _alternative(case: Case) -> Steps:
    ef_t_per_gj = case["EF_kgCO2_per_GJ"] / 1000
    waste = (case["waste_t"], case["NCV_GJ_per_t"], ef_t_per_gj, case["fossil_fraction"])
    return {"E_alt": alternative_fuel_co2(*waste)}


def _stock(case: Case) -> Steps:
    balance = StockBalance(
        case["opening_t"], case["purchased_t"], case["closing_t"], case["sold_t"]
    )
    return {"FC": net_consumption(balance)}


def _line(case: Case) -> Steps:
    parts = [case.steps(name) for name in case["from"]]
    process, combustion = (
        math.fsum(part[key] for part in parts if key in part) for key in ("E_process", "E_comb")
    )
    line = cement.LineTotal(combustion, process, case["Q_t"])
    if line.intensity_t_per_t is None:
        message = "a line that made no clinker has no intensity"
        raise CalculationError(message)
    return {"E_line": line.co2_t, "intensity": line.intensity_t_per_t}


SHAPES: Mapping[frozenset[str], Callable[[Case], Steps]] = {
    frozenset({"Q_t", "EF"}): _default,
    frozenset(
        {"Q_t", "EF", "carbide_slag_t", "steel_slag_t", "fly_ash_t", "deduction"}
    ): _deductions,
    frozenset(f"{kind}_t" for kind in _KINDS): _kinds,
    frozenset({"lots_t_GJ_per_t"}): _lots,
    frozenset({"FC_t", "NCV_GJ_per_t_3dp", "CC", "OF"}): _kiln_coal,
    frozenset({"Q_t", "CaO", "CaO_noncarbonate", "MgO", "MgO_noncarbonate"}): _oxides,
    frozenset(
        {
            "Q_t",
            "EF",
            "Q_kiln_dust_t",
            "Q_bypass_dust_t",
            "bypass_decomposition",
            "raw_meal_t",
            "FR0",
        }
    ): _dust,
    frozenset({"waste_t", "NCV_GJ_per_t", "EF_kgCO2_per_GJ", "fossil_fraction"}): _alternative,
    frozenset({"opening_t", "purchased_t", "closing_t", "sold_t"}): _stock,
    frozenset({"from", "Q_t"}): _line,
}

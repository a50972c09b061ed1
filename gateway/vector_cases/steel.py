"""Worked cases of steel, gases and purchased energy."""

import math
from collections.abc import Callable, Mapping, Sequence

from edge_agent.calc import energy, gas, process, steel
from edge_agent.calc.combustion import (
    NM3_10K,
    TONNE,
    FuelUse,
    as_received_from_air_dried,
    burn,
    co2_by_carbon_content,
)
from edge_agent.calc.steel_units import Material, Unit, UnitMonth, unit_co2
from edge_agent.errors import CalculationError
from gateway.vector_cases.shapes import Case, Inputs, Steps

_GASES = ("gas", "COG", "BFG", "LDG")


def _fuel(name: str, amount: float, ncv_gj: float, carbon: float, oxidation: float = 1) -> FuelUse:
    unit = NM3_10K if any(part in name for part in _GASES) else TONNE
    return FuelUse(name, amount, oxidation, unit=unit, ncv_gj=ncv_gj, carbon_t_per_gj=carbon)


def _works(fuels: Sequence[FuelUse]) -> Steps:
    works = steel.enterprise(fuels, [], [])
    return {f"E_{item.use.fuel}": item.co2_t for item in works.fuels} | {"E_fuel": works.fuel_t}


def _fuels(case: Case) -> Steps:
    return _works([_fuel(*row) for row in case["fuels_FC_NCV_CC"]])


def _fuels_with_oxidation(case: Case) -> Steps:
    other = case["fuels"].removeprefix("as ")
    rows = case.every.get(other, {}).get("fuels_FC_NCV_CC")
    if rows is None:
        message = f"there is no case {other!r} with fuels in this file"
        raise CalculationError(message)
    return _works(
        [_fuel(name, amount, ncv, carbon, case["OF"][name]) for name, amount, ncv, carbon in rows]
    )


def _carbon_content(case: Case) -> Steps:
    percent = as_received_from_air_dried(
        case["C_ad_percent"], case["M_ad_percent"], case["M_ar_percent"]
    )
    return {"C_ar": percent, "E": co2_by_carbon_content(case["FC_t"], percent / 100, case["OF"])}


def are_materials(given: Inputs) -> bool:
    """Whether every input is an amount [t] and its factor [tCO2/t]."""
    return bool(given) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair)
        for pair in given.values()
    )


def materials(case: Case) -> Steps:
    """Flux, electrodes and bought carbon, one by one and together."""
    items = process.used(process.Item(name, *pair) for name, pair in case.given.items())
    return {item.item.name: item.co2_t for item in items} | {"E_process": process.total(items)}


def _products(case: Case) -> Steps:
    items = process.kept(process.Item(name, *pair) for name, pair in case.given.items())
    return {item.item.name: item.co2_t for item in items} | {"E_product": process.total(items)}


def _enterprise(case: Case) -> Steps:
    parts = [case.steps(name) for name in case["from"]]
    fuel_t, process_t, product_t = (
        math.fsum(part[key] for part in parts if key in part)
        for key in ("E_fuel", "E_process", "E_product")
    )
    works = steel.Enterprise((), (), (), fuel_t, process_t, product_t)
    intensity = steel.intensity(works.co2_t, case["crude_steel_t"])
    return {"E_enterprise": works.co2_t, **({} if intensity is None else {"intensity": intensity})}


def _unit(case: Case) -> Steps:
    entered, left = (tuple(_fuel(*row) for row in case[side]) for side in ("in", "out"))
    done = unit_co2(UnitMonth(Unit.BLAST_FURNACE, "1", entered, left))
    return {
        **{item.use.fuel: item.co2_t for item in (*done.entered, *done.left)},
        "E_in": done.gross_in_t,
        "E_out": done.gross_out_t,
        "E_unit": done.co2_t,
    }


def _gas_volume(case: Case) -> Steps:
    metered = gas.GasVolume(case["V_m3"], gas.Compensation.NONE, case["gauge_kPa"], case["temp_C"])
    normal = gas.to_normal(metered)
    co2_t = burn(_fuel("gas", normal.amount, case["NCV"], case["CC"])).co2_t
    return {"V_N": normal.nm3, "V_1e4": normal.amount, "E": co2_t}


def _converter(case: Case) -> Steps:
    entered, left = (
        tuple(Material(name, mass_t, percent / 100) for name, mass_t, percent in case[key])
        for key in ("in_t_percentC", "out_t_percentC")
    )
    own_gas = _fuel("LDG", case["LDG_1e4Nm3"], case["LDG_NCV"], case["LDG_CC"])
    month = UnitMonth(
        Unit.CONVERTER, "1", fuels_out=(own_gas,), materials_in=entered, materials_out=left
    )
    done = unit_co2(month)
    return {
        "C_in": done.carbon_in_t,
        "C_LDG": done.left[0].carbon_t,
        "C_out": done.carbon_out_t,
        "E": done.balance_co2_t,
    }


def _indirect(case: Case) -> Steps:
    grid = energy.PowerSource("grid", case["electricity_MWh"], case["EF_grid"])
    electricity = energy.electricity_co2([grid])
    heat = energy.steam_heat_gj(case["steam_t"], case["h_steam_kJ_per_kg"], case["h_base"])
    heat_t = energy.heat_co2(heat, case["EF_heat"])
    return {
        "E_electricity": electricity["grid"],
        "heat": heat,
        "E_heat": heat_t,
        "E_indirect": energy.indirect_co2(list(electricity.values()), [heat_t]),
    }


SHAPES: Mapping[frozenset[str], Callable[[Case], Steps]] = {
    frozenset({"fuels_FC_NCV_CC"}): _fuels,
    frozenset({"OF", "fuels"}): _fuels_with_oxidation,
    frozenset({"FC_t", "C_ad_percent", "M_ar_percent", "M_ad_percent", "OF"}): _carbon_content,
    frozenset({"crude_steel", "crude_benzol", "coal_tar"}): _products,
    frozenset({"from", "crude_steel_t"}): _enterprise,
    frozenset({"in", "out", "gas_unit"}): _unit,
    frozenset({"V_m3", "gauge_kPa", "temp_C", "NCV", "CC"}): _gas_volume,
    frozenset({"in_t_percentC", "out_t_percentC", "LDG_1e4Nm3", "LDG_NCV", "LDG_CC"}): _converter,
    frozenset(
        {
            "electricity_MWh",
            "EF_grid",
            "steam_t",
            "h_steam_kJ_per_kg",
            "h_base",
            "EF_heat",
        }
    ): _indirect,
}

"""Electricity, heat and fuels by their meters alone, where the configuration lists no more."""

from collections.abc import Mapping
from typing import Any

from gateway.month import fuels
from gateway.month.amounts import amount
from gateway.month.formula import Formula, Term
from gateway.month.fuels import Fuel
from gateway.month.model import MonthValue, Work

INDIRECT = Formula("AD × EF", "auxiliary item, outside the direct total", lambda AD, EF: AD * EF)
_AUXILIARY = {
    "electricity": ("electricity_mwh", "electricity_co2_t", "grid.national"),
    "heat": ("heat_gj", "heat_co2_t", "heat.ef"),
}


def auxiliary(work: Work) -> None:
    """Electricity [MWh] and heat [GJ] of every meter, and their CO2; in no direct total."""
    for meter in work.config["meters"]:
        if meter["role"] not in _AUXILIARY:
            continue
        amount_id, co2_id, factor_id = _AUXILIARY[meter["role"]]
        used = amount(work, amount_id, meter["id"], [meter["id"]])
        if factor_id in work.factors:
            terms: dict[str, Term] = {"AD": used, "EF": work.term(factor_id)}
            work.compute(co2_id, meter["id"], INDIRECT, terms)


def fuel(work: Work, meter: Mapping[str, Any]) -> MonthValue:
    """Amount, factors and CO2 of a fuel meter; gives the CO2 [t]."""
    name, id_ = meter["fuel"], meter["id"]
    series = work.series.get(f"{id_}.count") or work.series[f"{id_}.amount"]
    unit = "10^4Nm3" if series["unit"] in ("Nm3", "10^4Nm3") else "t"
    return fuels.co2(
        work, Fuel(id_, name, unit, fuels.oxidation_of(work, name, "other"), meters=[id_])
    )

"""Electricity, heat and fuels by their meters alone, where the configuration lists no more."""

from collections.abc import Mapping
from typing import Any

from gateway.month import fuels
from gateway.month.amounts import amount
from gateway.month.fuels import Fuel
from gateway.month.model import MonthValue, Work


def auxiliary(work: Work) -> None:
    """Electricity [MWh] and heat [GJ] of every meter; in no total of direct emissions."""
    for meter in work.config["meters"]:
        if meter["role"] == "electricity":
            amount(work, "electricity_mwh", meter["id"], [meter["id"]])
        elif meter["role"] == "heat":
            amount(work, "heat_gj", meter["id"], [meter["id"]])


def fuel(work: Work, meter: Mapping[str, Any]) -> MonthValue:
    """Amount, factors and CO2 of a fuel meter; gives the CO2 [t]."""
    name, id_ = meter["fuel"], meter["id"]
    series = work.series.get(f"{id_}.count") or work.series[f"{id_}.amount"]
    unit = "10^4Nm3" if series["unit"] in ("Nm3", "10^4Nm3") else "t"
    return fuels.co2(
        work, Fuel(id_, name, unit, fuels.oxidation_of(work, name, "other"), meters=[id_])
    )

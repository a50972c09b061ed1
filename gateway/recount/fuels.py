"""Fuels, electricity and heat of every sector."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.recount.inputs import NotCounted
from gateway.recount.values import C_TO_CO2, Count, Rule, Value, amounts, content


def _fuel(count: Count, scope: str) -> Mapping[str, Any]:
    """A fuel's name, equipment, route and meters, by its scope."""
    owner, _, item = scope.partition(".")
    config = count.inputs.config
    if not item:
        meter = count.item("meters", scope)
        return {"fuel": meter["fuel"], "equipment": "other", "meters": [scope]}
    owners = [config["steel"]] if owner == "site" else [count.item("kilns", owner)]
    for one in owners[0]["fuels"]:
        if one["id"] == item:
            return dict(one)
    raise NotCounted(scope)


def _oxidation(count: Count, scope: str) -> float:
    fuel = _fuel(count, scope)
    own, solid = f"fuel.{fuel['fuel']}.oxidation", f"oxidation.solid.{fuel.get('equipment')}"
    is_own = count.inputs.has_factor(own) or not count.inputs.has_factor(solid)
    return 100 * count.inputs.factor(own if is_own else solid)


def _fuel_co2(count: Count, scope: str) -> Value:
    burnt = count.number("fuel_amount", scope) * count.number("fuel_oxidation", scope) / 100
    if _fuel(count, scope).get("route") == "carbon_content":
        return burnt * count.number("fuel_carbon_content", scope) * C_TO_CO2
    heat = count.number("fuel_ncv", scope)
    return burnt * heat * count.number("fuel_carbon", scope) * C_TO_CO2


def _of_fuel(last: str) -> Callable[[Count, str], str]:
    return lambda count, scope: f"fuel.{_fuel(count, scope)['fuel']}.{last}"


RULES: dict[str, Rule] = {
    "fuel_amount": amounts("fuel_amount", lambda c, s: list(_fuel(c, s).get("meters", ()))),
    "fuel_ncv": content("fuel_ncv", _of_fuel("ncv")),
    "fuel_carbon": content("fuel_carbon", _of_fuel("carbon")),
    "fuel_carbon_content": content("fuel_carbon_content", None),
    "fuel_oxidation": _oxidation,
    "fuel_co2_t": _fuel_co2,
    "electricity_mwh": amounts("electricity_mwh", lambda _, scope: [scope]),
    "electricity_co2_t": lambda c, s: (
        c.number("electricity_mwh", s) * c.inputs.factor("grid.national")
    ),
    "heat_gj": amounts("heat_gj", lambda _, scope: [scope]),
    "heat_co2_t": lambda c, s: c.number("heat_gj", s) * c.inputs.factor("heat.ef"),
}

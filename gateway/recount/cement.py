"""A cement plant: clinker, deductions, alternative fuels, lines, total."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from gateway.recount.amounts import stock
from gateway.recount.inputs import NotCounted
from gateway.recount.values import C_TO_CO2, Count, Rule, Value, amounts, content, product, ratio


def _in_kiln(count: Count, scope: str, group: str) -> Mapping[str, Any]:
    owner, _, item = scope.partition(".")
    for one in count.item("kilns", owner)[group]:
        if one["id"] == item:
            return dict(one)
    raise NotCounted(scope)


def _clinker_factor(count: Count, scope: str) -> Value:
    kiln = count.item("kilns", scope)
    if kiln["process"] != "oxides":
        own = f"clinker.{kiln['clinker_type']}.ef"
        return content("clinker_factor", lambda *_: own)(count, scope)
    lime, magnesia = (
        count.number(f"clinker_{oxide}", scope) - count.number(f"clinker_{oxide}_nc", scope)
        for oxide in ("cao", "mgo")
    )
    return lime / 100 * 44 / 56 + magnesia / 100 * 44 / 40


def _clinker_stock(count: Count, scope: str) -> Value:
    signs = {"used": 1, "passed_on": 1, "bought": -1, "closing": 1, "opening": -1}
    return stock(count.inputs, f"{scope}.clinker", signs)


def _clinker_process(count: Count, scope: str) -> Value:
    kiln, factor = count.item("kilns", scope), count.number("clinker_factor", scope)
    made = count.number("clinker_t", scope) * factor
    if kiln["process"] != "oxides":
        less = [
            count.number("deduction_co2_t", f"{scope}.{one['id']}") for one in kiln["substitutes"]
        ]
        return max(0.0, made - math.fsum(less))
    parts = [made]
    if count.inputs.line("kiln_dust_t", scope):
        parts.append(count.number("kiln_dust_t", scope) * factor)
    if count.inputs.line("bypass_dust_t", scope):
        share = count.number("bypass_decomposition", scope) / 100
        parts.append(count.number("bypass_dust_t", scope) * factor * share)
    if count.inputs.line("raw_meal_t", scope):
        carbon = count.number("raw_meal_carbon", scope) / 100
        parts.append(count.number("raw_meal_t", scope) * carbon * C_TO_CO2)
    return math.fsum(parts)


def _kiln(count: Count, scope: str) -> Value:
    kiln = count.item("kilns", scope)
    parts = [count.number("process_co2_t", scope)]
    parts += [count.number("fuel_co2_t", f"{scope}.{one['id']}") for one in kiln["fuels"]]
    parts += [
        count.number("alternative_co2_t", f"{scope}.{one['id']}")
        for one in kiln["alternative_fuels"]
    ]
    return math.fsum(parts)


def _of_alternative(last: str) -> Callable[[Count, str], str]:
    return lambda c, s: f"alternative.{_in_kiln(c, s, 'alternative_fuels')['fuel']}.{last}"


_OXIDES = ("clinker_cao", "clinker_mgo", "clinker_cao_nc", "clinker_mgo_nc")
RULES: dict[str, Rule] = {
    **{name: content(name, None) for name in (*_OXIDES, "bypass_decomposition", "raw_meal_carbon")},
    **{
        name: amounts(name)
        for name in (
            "clinker_t", "kiln_dust_t", "bypass_dust_t", "raw_meal_t", "substitute_t",
            "limestone_t", "alternative_t",
        )
    },
    "clinker_factor": _clinker_factor,
    "clinker_stock_t": _clinker_stock,
    "clinker_difference_t": lambda c, s: c.number("clinker_t", s) - c.number("clinker_stock_t", s),
    "deduction_factor": content(
        "deduction_factor", lambda c, s: f"deduction.{_in_kiln(c, s, 'substitutes')['material']}"
    ),
    "deduction_co2_t": product("substitute_t", "deduction_factor"),
    "alternative_ncv": content("alternative_ncv", _of_alternative("ncv")),
    "alternative_factor": content("alternative_factor", _of_alternative("ef")),
    "fossil_fraction": content("fossil_fraction", _of_alternative("fossil_fraction"), 100),
    "alternative_co2_t": product(
        "alternative_t", "alternative_ncv", "alternative_factor", "fossil_fraction", by=1e-5
    ),
    "process_co2_t": _clinker_process,
    "kiln_co2_t": _kiln,
    "intensity": ratio("kiln_co2_t", "clinker_t"),
    "total_co2e_t": lambda c, _: math.fsum(c.number("kiln_co2_t", one) for one in c.names("kilns")),
}  # fmt: skip

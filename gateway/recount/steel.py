"""A steel works as a whole; its process units stand beside it, in no total, and are not counted here."""

import math
from collections.abc import Callable

from gateway.recount.inputs import NotCounted
from gateway.recount.values import Count, Rule, Value, amounts, content, product, ratio


def _works(count: Count, group: str) -> list[str]:
    return [f"site.{one['id']}" for one in (count.inputs.config["steel"] or {}).get(group, ())]


def _of_works(prefix: str, group: str) -> Callable[[Count, str], str]:
    def factor(count: Count, scope: str) -> str:
        for one in count.inputs.config["steel"][group]:
            if f"site.{one['id']}" == scope:
                return f"{prefix}.{one['item']}"
        raise NotCounted(scope)

    return factor


def _used(count: Count, scope: str) -> Value:
    return max(0.0, count.number("material_t", scope)) * count.number("material_factor", scope)


def _sum(parameter: str, group: str) -> Rule:
    return lambda count, _: math.fsum(
        count.number(parameter, scope) for scope in _works(count, group)
    )


RULES: dict[str, Rule] = {
    "material_t": amounts("material_t"),
    "material_factor": content("material_factor", _of_works("steel.material", "materials")),
    "material_co2_t": _used,
    "product_t": amounts("product_t"),
    "product_factor": content("product_factor", _of_works("steel.product", "products")),
    "product_co2_t": product("product_t", "product_factor"),
    "combustion_co2_t": _sum("fuel_co2_t", "fuels"),
    "process_co2_t": _sum("material_co2_t", "materials"),
    "sequestered_co2_t": _sum("product_co2_t", "products"),
    "crude_steel_t": amounts("crude_steel_t"),
    "total_co2e_t": lambda c, s: math.fsum(
        (c.number("combustion_co2_t", s), c.number("process_co2_t", s))
    ) - c.number("sequestered_co2_t", s),
    "intensity": ratio("total_co2e_t", "crude_steel_t"),
}  # fmt: skip

"""A smelter: effects, perfluorocarbons, anodes, carbonates, total."""

import math

from gateway.recount.values import C_TO_CO2, Count, Rule, Value, amounts, content, product, ratio


def _pots(count: Count, scope: str) -> list[str]:
    pots = count.item("potlines", scope)["pots"]
    return [f"{scope}.pot{pots['first'] + place:03d}" for place in range(pots["count"])]


def _pot_sum(last: str, divisor: float = 1.0) -> Rule:
    """A sum over the hourly rows of every pot of a line."""

    def rule(count: Count, scope: str) -> Value:
        bounds = (count.inputs.start_ns, count.inputs.end_ns)
        values = [
            value
            for pot in _pots(count, scope)
            for _, value in count.rows.between(f"{pot}.{last}", *bounds)
        ]
        return math.fsum(values) / divisor

    return rule


def _overvoltage(count: Count, scope: str) -> Value:
    above, below = (_pot_sum(last)(count, scope) for last in ("ae_ov_vs", "observed_s"))
    return 1_000 * float(above or 0) / float(below) if below else None


def _scales(count: Count, scope: str) -> list[str]:
    return [one["id"] for one in count.meters("metal") if one["potline"] in (scope, None)]


def _ef_cf4(count: Count, scope: str) -> Value:
    line, route = count.item("potlines", scope), count.inputs.option("pfc_route", "slope")
    if route == "default_ef":
        return count.inputs.factor("pfc.default.cf4")
    if route == "slope":
        slope = count.inputs.factor(f"pfc.slope.{line['technology']}")
        return slope * count.number("aem", scope)
    coefficient = count.inputs.factor(f"pfc.overvoltage.{line['technology']}")
    efficiency = float(line["current_efficiency_percent"])
    return coefficient * count.number("aeo", scope) / efficiency


def _ef_c2f6(count: Count, scope: str) -> Value:
    if count.inputs.option("pfc_route", "slope") == "default_ef":
        return count.inputs.factor("pfc.default.c2f6")
    technology = count.item("potlines", scope)["technology"]
    return count.inputs.factor(f"pfc.c2f6_ratio.{technology}") * count.number("ef_cf4", scope)


def _pfc(count: Count, scope: str) -> Value:
    return math.fsum(
        count.number(f"{gas}_t", scope) * count.inputs.factor(f"gwp100.{gas}")
        for gas in ("cf4", "c2f6")
    )


def _weighed(count: Count, scope: str) -> str:
    """The route of the anodes; without weighed ones it is the consumption a tonne."""
    route = count.inputs.option("anode_route", "per_tonne_default")
    return route if count.inputs.line("anode_gross_t", scope) else "per_tonne_default"


def _anode_net(count: Count, scope: str) -> Value:
    gross = count.number("anode_gross_t", scope)
    if _weighed(count, scope) == "gross_loss":
        return gross * (1 - count.inputs.factor("anode.loss"))
    return gross - count.number("anode_butts_t", scope)


def _consumption(count: Count, scope: str) -> Value:
    if _weighed(count, scope) == "per_tonne_default":
        return content("net_consumption", lambda *_: "anode.net_consumption")(count, scope)
    return ratio("anode_net_t", "metal_t")(count, scope)


def _anode_co2(count: Count, scope: str) -> Value:
    if _weighed(count, scope) == "per_tonne_default":
        net = count.number("metal_t", scope) * count.number("net_consumption", scope)
    else:
        net = count.number("anode_net_t", scope)
    impure = count.number("sulphur", scope) + count.number("ash", scope)
    return net * (100 - impure) / 100 * C_TO_CO2


def _material(count: Count, scope: str) -> str:
    material = count.item("carbonates", scope.removeprefix("site."))["material"]
    return f"carbonate.{material}.ef"


def _smelter(count: Count, _: str) -> Value:
    parts = [count.number("process_co2e_t", one) for one in count.names("potlines")]
    parts += [count.number("fuel_co2_t", one["id"]) for one in count.meters("fuel")]
    parts += [count.number("carbonate_co2_t", f"site.{one}") for one in count.names("carbonates")]
    return math.fsum(parts)


RULES: dict[str, Rule] = {
    "metal_t": amounts("metal_t", _scales),
    "pots": lambda count, scope: len(_pots(count, scope)),
    "cell_days": _pot_sum("observed_s", 86_400),
    "ae_count": lambda count, scope: round(float(_pot_sum("ae_count")(count, scope) or 0)),
    "ae_minutes": _pot_sum("ae_s", 60),
    "aef": ratio("ae_count", "cell_days"),
    "aed": ratio("ae_minutes", "ae_count"),
    "aem": ratio("ae_minutes", "cell_days"),
    "aeo": _overvoltage,
    "anode_gross_t": amounts("anode_gross_t"),
    "anode_butts_t": amounts("anode_butts_t"),
    "anode_net_t": _anode_net,
    "net_consumption": _consumption,
    "sulphur": content("sulphur", lambda *_: "anode.sulphur", 100),
    "ash": content("ash", lambda *_: "anode.ash", 100),
    "anode_co2_t": _anode_co2,
    "ef_cf4": _ef_cf4,
    "ef_c2f6": _ef_c2f6,
    "cf4_t": product("ef_cf4", "metal_t", by=0.001),
    "c2f6_t": product("ef_c2f6", "metal_t", by=0.001),
    "pfc_co2e_t": _pfc,
    "process_co2e_t": lambda c, s: c.number("anode_co2_t", s) + c.number("pfc_co2e_t", s),
    "intensity_process": ratio("process_co2e_t", "metal_t"),
    "carbonate_t": amounts("carbonate_t"),
    "carbonate_factor": content("carbonate_factor", _material),
    "carbonate_co2_t": product("carbonate_t", "carbonate_factor"),
    "total_co2e_t": _smelter,
}

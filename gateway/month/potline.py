"""One potline's month: effects, PFC, anode CO2 and auxiliary values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.calc import aluminium, pfc
from edge_agent.calc.rounding import exact, half_up
from edge_agent.calc.windows import MINUTE_NS, NS_PER_S
from edge_agent.errors import CalculationError
from gateway.month.meters import metal
from gateway.month.model import Points, Work, add_factor
from gateway.plan import MEASURED

DAY_S = 86_400
MV_PER_V = 1_000


def potline(work: Work, line: Mapping[str, Any]) -> float:
    """All values of one potline; gives its process emissions [t CO2e]."""
    scope = line["id"]
    metal_t = metal(work, scope)
    effects = _effects(work, line)
    anode = _anode(work, scope, metal_t)
    gases = _pfc(work, line, metal_t, effects)
    _auxiliary(work, line, metal_t, effects)
    work.add("process_co2e_t", scope, math.fsum((anode, gases)), source="anode CO2 + PFC")
    return math.fsum((anode, gases))


def _anode(work: Work, scope: str, metal_t: float) -> float:
    consumption = work.factor("anode.net_consumption")
    sulphur, ash = work.factor("anode.sulphur"), work.factor("anode.ash")
    add_factor(work, "net_consumption", scope, consumption)
    add_factor(work, "sulphur", scope, sulphur, scale=100)
    add_factor(work, "ash", scope, ash, scale=100)
    co2 = aluminium.anode_co2(metal_t, consumption.value, sulphur.value, ash.value)
    rounded = aluminium.anode_co2(
        float(half_up(metal_t, 2)),
        float(half_up(consumption.value, 3)),
        float(half_up(sulphur.value, 4)),
        float(half_up(ash.value, 4)),
    )
    work.add(
        "anode_co2_t",
        scope,
        co2,
        source="P x NC x (1 - S - A) x 44/12",
        recomputed=half_up(rounded, 2),
    )
    return co2


@dataclass(frozen=True, slots=True)
class _LineEffects:
    """Sums over a line's pots in a month."""

    cell_days: float
    out_days: float
    minutes: float
    count: int
    overvoltage_v_s: float


def _effects(work: Work, line: Mapping[str, Any]) -> _LineEffects:
    scope = line["id"]
    sums = {
        name: [math.fsum(_pot_points(work, line, number, name).values) for number in _pots(line)]
        for name in ("observed_s", "out_s", "ae_s", "ae_count", "ae_ov_vs")
    }
    observed_s = math.fsum(sums["observed_s"])
    result = _LineEffects(
        cell_days=observed_s / DAY_S,
        out_days=math.fsum(sums["out_s"]) / DAY_S,
        minutes=math.fsum(sums["ae_s"]) / 60,
        count=round(math.fsum(sums["ae_count"])),
        overvoltage_v_s=math.fsum(sums["ae_ov_vs"]),
    )
    required_s = len(_pots(line)) * (work.result.end_ns - work.result.start_ns) / NS_PER_S
    required_s -= result.out_days * DAY_S
    share = min(1.0, observed_s / required_s) if required_s > 0 else None
    common: dict[str, Any] = {"completeness": share, "source": "pot voltage, 8 V threshold"}
    series = tuple(f"{scope}.{_pot_id(number)}.ae_s" for number in _pots(line))
    count, days = result.count, result.cell_days
    work.add("pots", scope, len(_pots(line)), source="configuration")
    work.add("cell_days", scope, days, note=f"out of circuit {result.out_days:.4f} d", **common)
    work.add("ae_count", scope, count, series=series, method=MEASURED, **common)
    work.add("ae_minutes", scope, result.minutes, series=series, method=MEASURED, **common)
    work.add("aef", scope, _ratio(count, days), **common)
    work.add("aed", scope, _ratio(result.minutes, count), **common)
    work.add("aem", scope, _ratio(result.minutes, days), series=series, **common)
    aeo = _ratio(MV_PER_V * result.overvoltage_v_s, days * DAY_S)
    work.add("aeo", scope, aeo, **common)
    return result


def _pfc(work: Work, line: Mapping[str, Any], metal_t: float, effects: _LineEffects) -> float:
    """PFC by the slope method [t CO2e]; every result passes Faraday's bound."""
    scope, technology = line["id"], line["technology"]
    slope = work.factor(f"pfc.slope.{technology}")
    ratio = work.factor(f"pfc.c2f6_ratio.{technology}")
    gwp_cf4, gwp_c2f6 = work.factor("gwp100.cf4"), work.factor("gwp100.c2f6")
    aem = _ratio(effects.minutes, effects.cell_days)
    if aem is None:
        message = f"no cell time of {scope} was observed: AEM is not defined"
        raise CalculationError(message)
    gases = pfc.by_slope(aem, metal_t, slope.value, ratio.value)
    pfc.check_bound(gases.cf4_t * 1_000, 1.1 * line["nominal_ka"], effects.minutes)
    co2e = pfc.co2e(gases.cf4_t, gases.c2f6_t, gwp_cf4.value, gwp_c2f6.value)
    ef_c2f6 = gases.ef_cf4_kg_per_t * ratio.value
    source = f"slope {slope.value} x AEM x P; GWP {gwp_cf4.value:g}, {gwp_c2f6.value:g}"
    rounded_metal = half_up(metal_t, 2)
    rounded = (
        rounded_metal
        * (
            half_up(gases.ef_cf4_kg_per_t, 3) * exact(gwp_cf4.value)
            + half_up(ef_c2f6, 4) * exact(gwp_c2f6.value)
        )
        / 1_000
    )
    work.add("ef_cf4", scope, gases.ef_cf4_kg_per_t, source="slope x AEM")
    work.add("ef_c2f6", scope, ef_c2f6, source="ratio x EF of CF4")
    work.add("cf4_t", scope, gases.cf4_t, source=source)
    work.add("c2f6_t", scope, gases.c2f6_t, source=source)
    work.add("pfc_co2e_t", scope, co2e, source=source, recomputed=half_up(rounded, 2))
    return co2e


def _auxiliary(work: Work, line: Mapping[str, Any], metal_t: float, effects: _LineEffects) -> None:
    scope = line["id"]
    current = work.month_points(f"{scope}.current_ka")
    minutes = (work.result.end_ns - work.result.start_ns) / MINUTE_NS
    mean = _mean(current.values)
    work.add(
        "current_ka",
        scope,
        mean,
        method=MEASURED,
        source=line["current"],
        completeness=len(current.values) / minutes,
        series=(f"{scope}.current_ka",),
    )
    volts = [_pot_points(work, line, number, "v").values for number in _pots(line)]
    live = [value for values in volts for value in values if value >= line["detector"]["v_out"]]
    work.add("pot_voltage_v", scope, _mean(live), method=MEASURED, source="pot voltages")
    charge = math.fsum(current.values) / 60
    covered_s = 60 * len(current.values)
    cells = effects.cell_days * DAY_S / covered_s if covered_s else 0.0
    efficiency = (
        aluminium.current_efficiency_percent(metal_t, charge, cells) if charge * cells else None
    )
    work.add("current_efficiency", scope, efficiency, source="tapped metal / Faraday's law")


def _pots(line: Mapping[str, Any]) -> range:
    pots = line["pots"]
    return range(pots["first"], pots["first"] + pots["count"])


def _pot_id(number: int) -> str:
    return f"pot{number:03d}"


def _pot_points(work: Work, line: Mapping[str, Any], number: int, name: str) -> Points:
    return work.month_points(f"{line['id']}.{_pot_id(number)}.{name}")


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None

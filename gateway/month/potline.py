"""One potline's month: effects, PFC, anode CO2 and auxiliary values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.calc import aluminium, pfc
from edge_agent.calc.uncertainty import Uncertain, exact, with_standard
from edge_agent.calc.windows import MINUTE_NS, NS_PER_S
from edge_agent.errors import CalculationError
from gateway.month import anode, gases
from gateway.month.amounts import amount
from gateway.month.formula import Formula, quotient
from gateway.month.model import MonthValue, Points, Work
from gateway.plan import MEASURED

DAY_S = 86_400
MV_PER_V = 1_000
_APART = ("ae_su_count", "ae_su_s", "ae_held_count", "ae_held_s")
_GUIDE = "CETS-AG-04.01-V01-2024; GB/T 32151.4-2015"


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


AEF = quotient("N", "D", _GUIDE)
AED = quotient("T", "N", _GUIDE)
AEM = quotient("T", "D", _GUIDE)
PROCESS = Formula("E_anode + E_PFC", _GUIDE, lambda E_anode, E_PFC: E_anode + E_PFC)
INTENSITY = quotient("E", "P", _GUIDE)
FARADAY_DIFFERENCE = Formula(
    "100 × (P − P_F) / P_F",
    "Faraday's law; cross-check",
    lambda P, P_F: _ratio(100 * (P - P_F), P_F),
)


def potline(work: Work, line: Mapping[str, Any]) -> MonthValue:
    """All values of one potline; gives its process emissions [t CO2e]."""
    scope = line["id"]
    metal = amount(work, "metal_t", scope, _scales(work, scope))
    effects = _effects(work, line)
    from_anodes = anode.co2(work, scope, metal)
    from_effects = gases.co2e(work, line, metal, effects)
    _auxiliary(work, line, metal, effects)
    total = work.compute(
        "process_co2e_t", scope, PROCESS, {"E_anode": from_anodes, "E_PFC": from_effects}
    )
    work.compute("intensity_process", scope, INTENSITY, {"E": total, "P": metal})
    gases.low_voltage(work, line, metal)
    _tell_implausible(work, line)
    return total


def _tell_implausible(work: Work, line: Mapping[str, Any]) -> None:
    """What a reader should ask about: carbon below the reaction's need, CF4 off the usual range."""
    scope = line["id"]
    consumption = work.result.get("net_consumption", scope)
    try:
        efficiency = line["current_efficiency_percent"]
        aluminium.check_net_consumption(float(consumption.value or 0), efficiency)
    except CalculationError as error:
        work.reserve(f"{scope}: {error} 炭耗低于理论值")
    factor = float(work.result.get("ef_cf4", scope).value or 0)
    if (found := pfc.plausibility(factor)) is not pfc.Plausibility.USUAL:
        low, high = pfc.USUAL_CF4_KG_PER_T
        work.reserve(
            f"{scope}: CF4 {factor:.4g} kg/t Al is {found.value}, usual is {low:g} to {high:g} "
            "CF4排放因子超出常见范围"
        )


def _scales(work: Work, scope: str) -> list[str]:
    """The scales of a potline where the plan has no line for the metal."""
    return [
        meter["id"]
        for meter in work.config["meters"]
        if meter["role"] == "metal" and meter["potline"] in (scope, None)
    ]


@dataclass(frozen=True, slots=True)
class LineEffects:
    """A line's effects in a month: reported values, and sums that are needed on the way."""

    minutes: MonthValue
    count: MonthValue
    cell_days: MonthValue
    aem: MonthValue
    aeo: MonthValue


def _effects(work: Work, line: Mapping[str, Any]) -> LineEffects:
    scope, numbers = line["id"], _pots(line)
    sums = {
        name: math.fsum(
            math.fsum(_pot_points(work, line, number, name).values) for number in numbers
        )
        for name in ("observed_s", "out_s", "ae_s", "ae_count", "ae_ov_vs", *_APART)
    }
    _tell_apart(work, line, sums)
    out_days = sums["out_s"] / DAY_S
    required_s = len(numbers) * (work.result.end_ns - work.result.start_ns) / NS_PER_S
    required_s -= sums["out_s"]
    share = min(1.0, sums["observed_s"] / required_s) if required_s > 0 else None
    common: dict[str, Any] = {"completeness": share, "source": "pot voltage, 8 V threshold"}
    names = {
        name: tuple(f"{scope}.{_pot_id(number)}.{name}" for number in numbers)
        for name in ("observed_s", "ae_s", "ae_count", "ae_ov_vs")
    }
    work.add("pots", scope, len(numbers), source="configuration", uncertain=Uncertain(len(numbers)))
    period_s, effects = float(line["sample_period_s"]), round(sums["ae_count"])
    observed_d = sums["observed_s"] / DAY_S
    days = work.add(
        "cell_days", scope, observed_d, series=names["observed_s"],
        uncertain=_sampled(f"cell_days of {scope}", observed_d, period_s / DAY_S, len(numbers)),
        note=f"out of circuit {out_days:.4f} d", **common,
    )  # fmt: skip
    count = work.add(
        "ae_count", scope, effects, series=names["ae_count"], method=MEASURED,
        uncertain=exact(effects), **common,
    )  # fmt: skip
    minutes = work.add(
        "ae_minutes", scope, sums["ae_s"] / 60, series=names["ae_s"], method=MEASURED,
        uncertain=_sampled(f"ae_minutes of {scope}", sums["ae_s"] / 60, period_s / 60, effects), **common,
    )  # fmt: skip
    work.compute("aef", scope, AEF, {"N": count, "D": days})
    work.compute("aed", scope, AED, {"T": minutes, "N": count})
    aem = work.compute("aem", scope, AEM, {"T": minutes, "D": days}, series=names["ae_s"])
    seconds = sums["observed_s"]
    aeo = _leaf(
        work, "aeo", scope, _ratio(MV_PER_V * sums["ae_ov_vs"], seconds),
        series=names["ae_ov_vs"], **common,
    )  # fmt: skip
    return LineEffects(minutes, count, days, aem, aeo)


def _tell_apart(work: Work, line: Mapping[str, Any], sums: Mapping[str, float]) -> None:
    """Effects that a reader must know of: of starting pots, and held because all pots jumped."""
    counted = line["detector"].get("count_start_up", True)
    if sums["ae_su_count"]:
        work.reserve(
            f"{line['id']}: {sums['ae_su_count']:.0f} effects of starting pots, "
            f"{sums['ae_su_s'] / 60:.2f} min, {'counted' if counted else 'not counted'} 启动槽效应"
        )
    if sums["ae_held_count"]:
        work.reserve(
            f"{line['id']}: {sums['ae_held_count']:.0f} effects held as suspect and not counted, "
            f"{sums['ae_held_s'] / 60:.2f} min 全系列同时跳变，存疑未计"
        )


def _sampled(name: str, value: float, period: float, stretches: int) -> Uncertain:
    """A sum of stretches that begin and end between two samples.

    Each end is rectangular over one sample period, so a stretch's error is triangular within one
    period either way: u = period / sqrt(6) (GUM 4.3.9), and n of them add in squares.
    """
    return with_standard(f"sampling of {name}", value, period * math.sqrt(stretches / 6))


def _leaf(work: Work, parameter: str, scope: str, value: float | None, **more: Any) -> MonthValue:
    """A value whose measuring nobody has stated the uncertainty of."""
    name = f"effect detector {parameter}"
    given = None if value is None else Uncertain(float(value), {}, frozenset({name}))
    return work.add(parameter, scope, value, uncertain=given, **more)


def _auxiliary(
    work: Work, line: Mapping[str, Any], metal: MonthValue, effects: LineEffects
) -> None:
    scope = line["id"]
    current = work.month_points(f"{scope}.current_ka")
    minutes = (work.result.end_ns - work.result.start_ns) / MINUTE_NS
    work.add(
        "current_ka",
        scope,
        _mean(current.values),
        method=MEASURED,
        source=line["current"],
        completeness=len(current.values) / minutes,
        series=(f"{scope}.current_ka",),
    )
    volts = [_pot_points(work, line, number, "v").values for number in _pots(line)]
    live = [value for values in volts for value in values if value >= line["detector"]["v_out"]]
    work.add(
        "pot_voltage_v",
        scope,
        _mean(live),
        method=MEASURED,
        source="pot voltages",
        series=tuple(f"{scope}.{_pot_id(number)}.v" for number in _pots(line)),
    )
    _cross_check(work, line, metal, effects)


def _cross_check(
    work: Work, line: Mapping[str, Any], metal: MonthValue, effects: LineEffects
) -> None:
    """Current efficiency, and the metal that the charge can have made (Faraday's law)."""
    scope = line["id"]
    current = work.month_points(f"{scope}.current_ka")
    charge_kah = math.fsum(current.values) / 60
    covered_s = 60 * len(current.values)
    cells = float(effects.cell_days.value or 0) * DAY_S / covered_s if covered_s else 0.0
    metal_t = float(metal.value or 0)
    efficiency = (
        aluminium.current_efficiency_percent(metal_t, charge_kah, cells)
        if charge_kah * cells
        else None
    )
    seen = (f"{scope}.current_ka",)
    work.add(
        "current_efficiency", scope, efficiency, source="tapped metal / Faraday's law", series=seen
    )
    assumed = line["current_efficiency_percent"]
    faraday_t = aluminium.ALUMINIUM_G_PER_AH * 1e-3 * charge_kah * cells * assumed / 100
    faraday = work.add(
        "metal_faraday_t",
        scope,
        faraday_t,
        source=f"0.3356 g/Ah x {charge_kah:.6g} kAh x {cells:.6g} pots x {assumed:g} % (configured)",
        series=seen,
    )
    work.compute("metal_difference", scope, FARADAY_DIFFERENCE, {"P": metal, "P_F": faraday})


def check_bound(line: Mapping[str, Any], cf4_t: float, minutes: float) -> None:
    """Refuse a CF4 mass that no current could have made.

    Raises:
        CalculationError: it exceeds Faraday's bound.
    """
    pfc.check_bound(cf4_t * 1_000, 1.1 * line["nominal_ka"], minutes)


def _pots(line: Mapping[str, Any]) -> range:
    pots = line["pots"]
    return range(pots["first"], pots["first"] + pots["count"])


def _pot_id(number: int) -> str:
    return f"pot{number:03d}"


def _pot_points(work: Work, line: Mapping[str, Any], number: int, name: str) -> Points:
    return work.month_points(f"{line['id']}.{_pot_id(number)}.{name}")


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None

"""A month's values from records, configuration and factors.

Pure: the store, the ledger and the evidence bundle feed the same function and must get the same
answer.

All sums are ``math.fsum`` (independent of order) or exact integers and decimals.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from edge_agent.calc import aluminium, combustion, pfc
from edge_agent.calc.factors import UNVERIFIED, Factor, FactorSet
from edge_agent.calc.integration import Total, TotaliserRule, total
from edge_agent.calc.rounding import exact, half_up
from edge_agent.calc.windows import HOUR_NS, MINUTE_NS, NS_PER_S, month_bounds
from edge_agent.errors import CalculationError
from edge_agent.readings import Event
from gateway.plan import ALUMINIUM, CALCULATED, DEFAULT, MEASURED, Parameter

LOOKBACK_NS = 2 * HOUR_NS
"""A totaliser's opening reading may be this much older than the month's first moment."""
DAY_S = 86_400
MV_PER_V = 1_000
NM3_PER_UNIT = Decimal(10_000)
KWH_PER_MWH = Decimal(1_000)
_BAD = 2


@dataclass(frozen=True, slots=True)
class Points:
    """Usable rows of a series in order of time."""

    times: Sequence[int]
    values: Sequence[int | float]


class Reader(Protocol):
    """Gives the usable rows of a series in [start, end)."""

    def points(self, series: str, start_ns: int, end_ns: int) -> Points:
        """Rows whose quality is not bad and whose value is not null, by time."""
        ...


@dataclass(frozen=True, slots=True)
class MonthValue:
    """One reported value.

    ``value`` carries full precision; ``reported`` is rounded half up to the form's decimals.
    ``completeness`` is the covered share of the required time, None where it has no meaning.
    """

    parameter: Parameter
    scope: str
    value: Decimal | float | int | None
    unit: str
    method: str
    source: str
    completeness: float | None = None
    series: tuple[str, ...] = ()
    note: str = ""
    recomputed: Decimal | None = None

    @property
    def reported(self) -> Decimal | None:
        """The value as the form prints it."""
        if self.value is None:
            return None
        return half_up(exact(self.value), self.parameter.decimals)


@dataclass(slots=True)
class Month:
    """All values of a site's month, its effects, and what a reader must know."""

    site: str
    month: str
    start_ns: int
    end_ns: int
    values: list[MonthValue] = field(default_factory=list)
    effects: list[Event] = field(default_factory=list)
    reservations: list[str] = field(default_factory=list)

    def get(self, parameter_id: str, scope: str) -> MonthValue:
        """One value.

        Raises:
            KeyError: there is none.
        """
        for value in self.values:
            if (value.parameter.id, value.scope) == (parameter_id, scope):
                return value
        raise KeyError((parameter_id, scope))


class _Work:
    """Everything one computation needs at hand."""

    def __init__(
        self, config: Mapping[str, Any], factors: FactorSet, month: str, reader: Reader
    ) -> None:
        start_ns, end_ns = month_bounds(month, ZoneInfo(config["timezone"]))
        self.config = config
        self.factors = factors
        self.reader = reader
        self.result = Month(config["site"], month, start_ns, end_ns)
        self.series = {item["name"]: item for item in config["series"]}
        self.used: dict[str, Factor] = {}

    def factor(self, factor_id: str) -> Factor:
        factor = self.factors.get(factor_id)
        self.used[factor_id] = factor
        return factor

    def month_points(self, series: str) -> Points:
        return self.reader.points(series, self.result.start_ns, self.result.end_ns)

    def add(
        self, parameter_id: str, scope: str, value: Decimal | float | None, **more: Any
    ) -> None:
        parameter = ALUMINIUM[parameter_id]
        more.setdefault("unit", parameter.unit)
        more.setdefault("method", CALCULATED)
        more.setdefault("source", "")
        self.result.values.append(MonthValue(parameter, scope, value, **more))


def compute(
    config: Mapping[str, Any],
    factors: FactorSet,
    month: str,
    reader: Reader,
    events: Sequence[Event],
) -> Month:
    """All values of an aluminium smelter's month.

    Args:
        config: the agent's effective configuration document.
        factors: the factor set inside it.
        month: ``YYYY-MM`` in plant local time.
        reader: rows of the month and ``LOOKBACK_NS`` around it.
        events: events of the same stretch.
    """
    work = _Work(config, factors, month, reader)
    totals = [_potline(work, line) for line in config["potlines"]]
    for meter in config["meters"]:
        if meter["role"] == "electricity":
            _electricity(work, meter)
        elif meter["role"] == "fuel":
            totals.append(_fuel(work, meter))
    work.add("total_co2e_t", "site", math.fsum(totals))
    _events(work, events)
    _reservations(work)
    return work.result


@dataclass(frozen=True, slots=True)
class _Counted:
    """A totaliser's month: amount in its unit, share of the month covered, what happened."""

    amount: Decimal
    unit: str
    completeness: float
    note: str
    series: str


def _counted(work: _Work, meter: Mapping[str, Any]) -> _Counted:
    """Last reading minus first, corrected for roll-over and reset, times the scale."""
    name = f"{meter['id']}.count"
    meta = work.series[name]
    start_ns, end_ns = work.result.start_ns, work.result.end_ns
    points = work.reader.points(name, start_ns - LOOKBACK_NS, end_ns + 1)
    first = max((i for i, t in enumerate(points.times) if t <= start_ns), default=0)
    times, counts = points.times[first:], points.values[first:]
    if not times:
        message = f"no reading of {name} in {work.result.month}"
        raise CalculationError(message)
    rule = TotaliserRule(meta["modulus"], meta["max_rate_per_h"])
    sum_: Total = total(counts, rule, times)
    covered = min(times[-1], end_ns) - max(times[0], start_ns)
    note = "; ".join(f"{kind} at {times[place]}" for place, kind in sum_.events)
    return _Counted(
        exact(sum_.total) * Decimal(meta["scale"]),
        meta["unit"],
        covered / (end_ns - start_ns),
        note,
        name,
    )


def _electricity(work: _Work, meter: Mapping[str, Any]) -> None:
    counted = _counted(work, meter)
    work.add(
        "electricity_mwh",
        meter["id"],
        counted.amount / KWH_PER_MWH,
        method=MEASURED,
        source=_instrument(meter),
        completeness=counted.completeness,
        series=(counted.series,),
        note=counted.note,
    )


def _fuel(work: _Work, meter: Mapping[str, Any]) -> float:
    counted = _counted(work, meter)
    gas = counted.unit == "Nm3"
    amount = counted.amount / NM3_PER_UNIT if gas else counted.amount
    fuel, scope = meter["fuel"], meter["id"]
    ncv, carbon, oxidation = (
        work.factor(f"fuel.{fuel}.{name}") for name in ("ncv", "carbon", "oxidation")
    )
    co2 = combustion.co2_by_heating_value(float(amount), ncv.value, carbon.value, oxidation.value)
    work.add(
        "fuel_amount",
        scope,
        amount,
        unit="10^4Nm3" if gas else "t",
        method=MEASURED,
        source=_instrument(meter),
        completeness=counted.completeness,
        series=(counted.series,),
        note=counted.note,
    )
    for name, factor, scale in (
        ("fuel_ncv", ncv, 1),
        ("fuel_carbon", carbon, 1),
        ("fuel_oxidation", oxidation, 100),
    ):
        unit = factor.unit if scale == 1 else "%"
        _add_factor(work, name, scope, factor, scale=scale, unit=unit)
    work.add(
        "fuel_co2_t",
        scope,
        co2,
        source=f"{fuel}: FC x NCV x CC x OF x 44/12",
        completeness=counted.completeness,
        series=(counted.series,),
    )
    return co2


def _add_factor(
    work: _Work, parameter: str, scope: str, factor: Factor, *, scale: int = 1, unit: str = ""
) -> None:
    work.add(
        parameter,
        scope,
        exact(factor.value) * scale,
        unit=unit or ALUMINIUM[parameter].unit,
        method=DEFAULT,
        source=f"{work.factors.id} {factor.id}: {factor.source}",
        note="" if factor.status != UNVERIFIED else "unverified default 未经核实的缺省值",
    )


def _instrument(meter: Mapping[str, Any]) -> str:
    parts = [meter["id"], meter["instrument"], meter["accuracy_class"]]
    return " ".join(part for part in parts if part)


def _potline(work: _Work, line: Mapping[str, Any]) -> float:
    """All values of one potline; gives its process emissions [t CO2e]."""
    scope = line["id"]
    metal = _metal(work, scope)
    effects = _effects(work, line)
    anode = _anode(work, scope, metal)
    gases = _pfc(work, line, metal, effects)
    _auxiliary(work, line, metal, effects)
    work.add("process_co2e_t", scope, math.fsum((anode, gases)), source="anode CO2 + PFC")
    return math.fsum((anode, gases))


def _metal(work: _Work, scope: str) -> float:
    """Weighed molten metal [t] of the scales of a potline."""
    meters = [
        meter
        for meter in work.config["meters"]
        if meter["role"] == "metal" and meter["potline"] in (scope, None)
    ]
    if not meters:
        message = f"no metal scale is configured for {scope}"
        raise CalculationError(message)
    counted = [_counted(work, meter) for meter in meters]
    scale = {"kg": Decimal(1_000), "t": Decimal(1)}
    amount = sum((item.amount / scale[item.unit] for item in counted), Decimal(0))
    work.add(
        "metal_t",
        scope,
        amount,
        method=MEASURED,
        source=", ".join(map(_instrument, meters)),
        completeness=min(item.completeness for item in counted),
        series=tuple(item.series for item in counted),
        note="; ".join(item.note for item in counted if item.note),
    )
    return float(amount)


def _anode(work: _Work, scope: str, metal_t: float) -> float:
    consumption = work.factor("anode.net_consumption")
    sulphur, ash = work.factor("anode.sulphur"), work.factor("anode.ash")
    _add_factor(work, "net_consumption", scope, consumption)
    _add_factor(work, "sulphur", scope, sulphur, scale=100)
    _add_factor(work, "ash", scope, ash, scale=100)
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


def _effects(work: _Work, line: Mapping[str, Any]) -> _LineEffects:
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


def _pfc(work: _Work, line: Mapping[str, Any], metal_t: float, effects: _LineEffects) -> float:
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


def _auxiliary(work: _Work, line: Mapping[str, Any], metal_t: float, effects: _LineEffects) -> None:
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


def _pot_points(work: _Work, line: Mapping[str, Any], number: int, name: str) -> Points:
    return work.month_points(f"{line['id']}.{_pot_id(number)}.{name}")


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _events(work: _Work, events: Sequence[Event]) -> None:
    """The month's effects (by start), and the incidents a verifier must see."""
    start_ns, end_ns = work.result.start_ns, work.result.end_ns
    work.result.effects = sorted(
        (
            event
            for event in events
            if event["type"] == "effect_ended" and start_ns <= event["start"] < end_ns
        ),
        key=lambda event: (event["start"], event["line"], event["pot"]),
    )
    inside = [event for event in events if start_ns <= event["t"] < end_ns]
    for kind, text in _INCIDENTS.items():
        found = [event for event in inside if event["type"] == kind]
        if found:
            work.result.reservations.append(text(found))


def _gap_text(found: Sequence[Event]) -> str:
    seconds = math.fsum(
        (item["to"] - item["from"]) / NS_PER_S * len(item["pots"]) for item in found
    )
    return f"{seconds:.0f} pot-seconds without a usable pot voltage 槽电压缺失"


_INCIDENTS: dict[str, Callable[[Sequence[Event]], str]] = {
    "gap": _gap_text,
    "late_samples": lambda found: (
        f"{sum(item['count'] for item in found)} late samples left out 迟到数据未计入"
    ),
    "totaliser_reset": lambda found: f"{len(found)} totaliser resets 累计量归零",
    "totaliser_rollover": lambda found: f"{len(found)} totaliser roll-overs 累计量翻转",
    "clock_step": lambda found: f"{len(found)} clock steps 时钟跳变",
    "lost_records": lambda found: f"{sum(item['count'] for item in found)} records lost 记录丢失",
    "started": lambda found: f"{len(found)} starts of the agent 采集程序启动",
}


def _reservations(work: _Work) -> None:
    for factor_id, factor in sorted(work.used.items()):
        if factor.status == UNVERIFIED:
            work.result.reservations.append(
                f"factor {factor_id} = {factor.value:g} {factor.unit} is unverified 因子未经核实"
            )

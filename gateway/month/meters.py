"""Totalisers of a month: electricity, fuels and metal."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from edge_agent.calc import combustion
from edge_agent.calc.integration import Total, TotaliserRule, total
from edge_agent.calc.rounding import exact
from edge_agent.calc.windows import HOUR_NS
from edge_agent.errors import CalculationError
from gateway.month.model import Work, add_factor, instrument
from gateway.plan import MEASURED

LOOKBACK_NS = 2 * HOUR_NS
"""A totaliser's opening reading may be this much older than the month's first moment."""
NM3_PER_UNIT = Decimal(10_000)
KWH_PER_MWH = Decimal(1_000)


@dataclass(frozen=True, slots=True)
class Counted:
    """A totaliser's month: amount in its unit, share of the month covered, what happened."""

    amount: Decimal
    unit: str
    completeness: float
    note: str
    series: str


def month_of(work: Work, meter: Mapping[str, Any]) -> Counted:
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
    return Counted(
        exact(sum_.total) * Decimal(meta["scale"]),
        meta["unit"],
        covered / (end_ns - start_ns),
        note,
        name,
    )


def electricity(work: Work, meter: Mapping[str, Any]) -> None:
    """Electricity of a meter [MWh]."""
    counted = month_of(work, meter)
    work.add(
        "electricity_mwh",
        meter["id"],
        counted.amount / KWH_PER_MWH,
        method=MEASURED,
        source=instrument(meter),
        completeness=counted.completeness,
        series=(counted.series,),
        note=counted.note,
    )


def fuel(work: Work, meter: Mapping[str, Any]) -> float:
    """Amount, factors and CO2 of a fuel meter; gives the CO2 [t]."""
    counted = month_of(work, meter)
    gas = counted.unit == "Nm3"
    amount = counted.amount / NM3_PER_UNIT if gas else counted.amount
    name_, scope = meter["fuel"], meter["id"]
    ncv, carbon, oxidation = (
        work.factor(f"fuel.{name_}.{name}") for name in ("ncv", "carbon", "oxidation")
    )
    co2 = combustion.co2_by_heating_value(float(amount), ncv.value, carbon.value, oxidation.value)
    work.add(
        "fuel_amount",
        scope,
        amount,
        unit="10^4Nm3" if gas else "t",
        method=MEASURED,
        source=instrument(meter),
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
        add_factor(work, name, scope, factor, scale=scale, unit=unit)
    work.add(
        "fuel_co2_t",
        scope,
        co2,
        source=f"{name_}: FC x NCV x CC x OF x 44/12",
        completeness=counted.completeness,
        series=(counted.series,),
    )
    return co2


def metal(work: Work, scope: str) -> float:
    """Weighed molten metal [t] of the scales of a potline."""
    meters = [
        meter
        for meter in work.config["meters"]
        if meter["role"] == "metal" and meter["potline"] in (scope, None)
    ]
    if not meters:
        message = f"no metal scale is configured for {scope}"
        raise CalculationError(message)
    counted = [month_of(work, meter) for meter in meters]
    scale = {"kg": Decimal(1_000), "t": Decimal(1)}
    amount = sum((item.amount / scale[item.unit] for item in counted), Decimal(0))
    work.add(
        "metal_t",
        scope,
        amount,
        method=MEASURED,
        source=", ".join(map(instrument, meters)),
        completeness=min(item.completeness for item in counted),
        series=tuple(item.series for item in counted),
        note="; ".join(item.note for item in counted if item.note),
    )
    return float(amount)

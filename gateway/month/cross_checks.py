"""Meters held against their own rates, and signals against their own past: reservations only."""

from collections.abc import Mapping
from typing import Any

from edge_agent.calc.cross_check import Compared, CrossCheck, Signal, cross_check, repeats
from edge_agent.calc.integration import TotaliserRule
from edge_agent.calc.rate import per_hour
from edge_agent.calc.windows import HOUR_NS, to_local
from gateway.month.model import Work

_SHOWN = 5
_LEAST_SHARE = 0.5


def tell_cross_checks(work: Work) -> None:
    """Reserve where a totaliser is not the integral of its rate, and where a signal repeats."""
    signals = [f"{line['id']}.current_ka" for line in work.config["potlines"]]
    for meter in work.config["meters"]:
        check = meter.get("check")
        if check:
            rate = _rate_series(work, check["rate"])
            _meter(work, meter, rate, float(check["tolerance_percent"]))
            signals.append(rate)
    for name in dict.fromkeys(signals):
        _repeats(work, name)


def _rate_series(work: Work, tag: str) -> str:
    """The means by minute of a tag: under its own name, or under that of its rate meter."""
    if tag in work.series:
        return tag
    return next(f"{one['id']}.rate" for one in work.config["meters"] if one["tag"] == tag)


def _meter(work: Work, meter: Mapping[str, Any], rate: str, allowed: float) -> None:
    name = f"{meter['id']}.count"
    meta = work.series[name]
    counts, means = work.month_points(name), work.month_points(rate)
    scale = float(meta["scale"])
    done = cross_check(
        Signal(counts.times, counts.values),
        Signal(means.times, means.values),
        TotaliserRule(meta["modulus"], meta["max_rate_per_h"]),
        per_hour(work.series[rate]["unit"], meta["unit"]) / scale,
        lambda ns: to_local(ns, work.zone).date().isoformat(),
    )
    span_ns = counts.times[-1] - counts.times[0] if counts.times else 0
    if done.whole.covered_ns < _LEAST_SHARE * span_ns or not span_ns:
        work.reserve(
            f"meter {meter['id']}: held against {rate} for "
            f"{done.whole.covered_ns / HOUR_NS:.2f} of {span_ns / HOUR_NS:.2f} h only "
            "累计量与瞬时量核对时段不足"
        )
    _tell(work, (meter["id"], rate, meta["unit"]), done, (allowed, scale))


def _tell(
    work: Work, names: tuple[str, str, str], done: CrossCheck, limits: tuple[float, float]
) -> None:
    allowed, scale = limits
    days = [
        day
        for day, part in sorted(done.by_day.items())
        if part.covered_ns >= HOUR_NS and part.apart_percent > allowed
    ]
    if not days and done.whole.apart_percent <= allowed:
        return
    meter, rate, unit = names
    more = f" and {len(days) - _SHOWN} more" if len(days) > _SHOWN else ""
    on = f"; by itself on {', '.join(days[:_SHOWN])}{more}" if days else ""
    work.reserve(
        f"meter {meter}: {_amounts(done.whole, rate, scale, unit)}, {allowed:g} % is allowed{on} "
        "累计量与瞬时量积分不一致"
    )


def _amounts(part: Compared, rate: str, scale: float, unit: str) -> str:
    return (
        f"counted {part.by_count * scale:.3f} {unit} where the integral of {rate} is "
        f"{part.by_rate * scale:.3f} in the same {part.covered_ns / HOUR_NS:.2f} h, "
        f"{part.apart_percent:.1f} % apart"
    )


def _repeats(work: Work, name: str) -> None:
    points = work.month_points(name)
    found = repeats(Signal(points.times, points.values))
    if not found:
        return
    spans = [
        f"{length} min from {_minute(work, again)} as from {_minute(work, first)}"
        for first, again, length in found[:_SHOWN]
    ]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    work.reserve(f"{name} repeats itself exactly 数据完全重复: {'; '.join(spans)}{more}")


def _minute(work: Work, time_ns: int) -> str:
    return f"{to_local(time_ns, work.zone):%Y-%m-%dT%H:%M}"

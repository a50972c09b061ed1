"""Where an amount comes from: the control plan's sources in order, and what fills its gaps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from edge_agent.calc.rounding import exact
from edge_agent.calc.substitution import (
    HOUR_S,
    Alternatives,
    Caution,
    Filled,
    Hour,
    Method,
    fill,
)
from edge_agent.calc.uncertainty import Uncertain, total, with_standard
from edge_agent.errors import CalculationError
from gateway.month import entries as entries_
from gateway.month.entries import Entry
from gateway.month.hours import Metered, read_meter
from gateway.month.model import MonthValue, Work, instrument
from gateway.plan import ESTIMATED, MEASURED, OUTPUT, Parameter

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """An amount from one source, before gaps are filled."""

    amount: Decimal
    source: str
    uncertain: Uncertain
    completeness: float | None = None
    note: str = ""
    series: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    meters: tuple[Metered, ...] = ()
    kind: tuple[str, tuple[str, ...]] = ("", ())


def amount(
    work: Work, parameter_id: str, scope: str, meters: Sequence[str] = (), unit: str = ""
) -> MonthValue:
    """An amount of the month by the control plan; without a line of the plan, by these meters.

    Raises:
        CalculationError: no source is named, or none of those named has anything for the month.
    """
    line = work.line(parameter_id, scope) or _own_line(meters)
    parameter = work.form.get(parameter_id)
    if line is None:
        message = f"{parameter_id} of {scope} has no source in the control plan"
        raise CalculationError(message)
    unit = line.get("unit") or unit or parameter.units[0]
    if unit not in parameter.units:
        message = f"{parameter_id} of {scope} is in {unit!r}; {parameter.unit} is right"
        raise CalculationError(message)
    found, others = _first(work, line, (parameter_id, scope), unit)
    if found.kind != (line["sources"][0]["kind"], tuple(line["sources"][0]["refs"])):
        work.reserve(
            f"{parameter_id} of {scope}: the preferred source "
            f"({', '.join(line['sources'][0]['refs'])}) has nothing for the month, "
            f"{found.source} was taken 首选数据源整月缺失"
        )
    filled = _fill(found, others, line, parameter)
    return _add(work, (parameter_id, scope, unit), found, filled)


def _own_line(meters: Sequence[str]) -> Line | None:
    return (
        {"sources": [{"kind": "meter", "refs": list(meters)}], "substitution": []}
        if meters
        else None
    )


def _first(work: Work, line: Line, name: tuple[str, str], unit: str) -> tuple[Found, list[Found]]:
    """The first source that has something, and the ones behind it that have too."""
    found = [
        replace(item, kind=(source["kind"], tuple(source["refs"])))
        for source in line["sources"]
        if source["kind"] in _GATHER
        and (item := _GATHER[source["kind"]](work, source["refs"], unit, line)) is not None
    ]
    if not found:
        refs = ", ".join(ref for source in line["sources"] for ref in source["refs"])
        message = f"{name[0]} of {name[1]}: none of its sources ({refs}) has anything for the month"
        raise CalculationError(message)
    return found[0], found[1:]


def _from_meters(work: Work, refs: Sequence[str], unit: str, _line: Line) -> Found | None:
    read = [read_meter(work, ref, unit) for ref in refs]
    meters = tuple(item for item in read if item is not None)
    if len(meters) < len(refs):
        return None
    return Found(
        sum((item.total for item in meters), Decimal(0)),
        ", ".join(instrument(item.meter) for item in meters),
        total(item.uncertain for item in meters),
        min(item.completeness for item in meters),
        "; ".join(item.note for item in meters if item.note),
        tuple(name for item in meters for name in item.series),
        meters=meters,
    )


def _from_entries(work: Work, refs: Sequence[str], unit: str, _line: Line) -> Found | None:
    found = [
        one
        for kind in (entries_.WEIGHING,)
        for one in work.entries.of(kind, refs, "amount", *work.bounds)
    ]
    if not found:
        return None
    entries_.check_unit(found, unit)
    amount_ = sum((one.value for one in found), Decimal(0))
    parts = [_entered(one, place) for place, one in enumerate(found)]
    return Found(
        amount_, f"{len(found)} entries of {_listed(refs)}", total(parts), entries=tuple(found)
    )


def _entered(one: Entry, place: int) -> Uncertain:
    name, value = f"entry {one.item} {place + 1}", float(one.value)
    if one.relative_uncertainty is None:
        return Uncertain(value, {}, frozenset({f"entries of {one.item}"}))
    return with_standard(name, value, abs(value) * one.relative_uncertainty / 2)


def _from_stock(work: Work, refs: Sequence[str], unit: str, line: Line) -> Found | None:
    balance = entries_.stock_balance(work.entries, refs[0], work.bounds, line.get("reason", ""))
    if balance is None:
        return None
    net, found = balance
    entries_.check_unit(found, unit)
    parts = [
        _entered(one, place) * (1.0 if one.quantity in ("opening", "bought") else -1.0)
        for place, one in enumerate(found)
    ]
    return Found(
        net,
        f"stock balance of {refs[0]}: opening + bought - closing - passed on",
        total(parts),
        note=line.get("reason", ""),
        entries=tuple(found),
    )


_GATHER = {"meter": _from_meters, "entry": _from_entries, "stock": _from_stock}


def _listed(refs: Sequence[str]) -> str:
    return ", ".join(refs)


def _fill(found: Found, others: Sequence[Found], line: Line, parameter: Parameter) -> Filled | None:
    """Fill the missing hours of metered amounts by the plan's order."""
    if not found.meters:
        return None
    hours = _added([item.hours for item in found.meters])
    counters = [
        item
        for other in others
        for item in other.meters
        if len(other.meters) == 1 and item.cumulative[0]
    ]
    given = Alternatives(
        redundant={other.source: _whole(other) for other in others if other.meters},
        totaliser=(counters[0].meter["id"], *counters[0].cumulative) if counters else ("", (), ()),
        bound=line.get("bound"),
        default=line.get("default_per_hour"),
        default_name="default of the control plan",
    )
    order = [Method(name) for name in line["substitution"]]
    caution = Caution.LOWER if parameter.direction == OUTPUT else Caution.HIGHER
    return fill(hours, order, given, caution)


def _added(many: Sequence[Sequence[Hour]]) -> list[Hour]:
    """Hours of several meters together: an hour lacks the longest time that any of them lacks."""
    if len(many) == 1:
        return list(many[0])
    together = []
    for parts in zip(*many, strict=True):
        missing = max(part.missing_s for part in parts)
        known = None not in [part.amount for part in parts]
        amounts = math.fsum(part.amount or 0.0 for part in parts) if known else None
        meanwhile = math.fsum(
            (part.amount or 0.0) / (HOUR_S - part.missing_s) * (missing - part.missing_s)
            for part in parts
            if part.missing_s < HOUR_S
        )
        together.append(Hour(parts[0].start_ns, amounts, missing, meanwhile))
    return together


def _whole(other: Found) -> dict[int, float]:
    hours = _added([item.hours for item in other.meters])
    return {hour.start_ns: hour.amount for hour in hours if hour.valid and hour.amount is not None}


def _add(work: Work, name: tuple[str, str, str], found: Found, filled: Filled | None) -> MonthValue:
    parameter_id, scope, unit = name
    substituted = filled.substituted if filled else ()
    value, uncertain, method = found.amount, found.uncertain, MEASURED
    if substituted and filled:
        value += exact(filled.amount)
        part = filled.amount
        label = f"substitution of {parameter_id} {scope}"
        # Nothing is known of a substituted hour but that it lies between none and twice its value.
        uncertain = total((uncertain, with_standard(label, part, abs(part) / math.sqrt(3))))
        method = ESTIMATED if found.completeness == 0 else MEASURED
    if filled and filled.left and work.line(parameter_id, scope):
        missing_h = math.fsum(hour.missing_s for hour in filled.left) / 3600
        work.reserve(
            f"{parameter_id} of {scope}: {missing_h:.2f} h are missing and no rule of the control "
            "plan fills them 缺失且无替代规则"
        )
    return work.add(
        parameter_id,
        scope,
        value,
        unit=unit,
        method=method,
        source=found.source,
        completeness=found.completeness,
        series=found.series,
        note=found.note,
        entries=found.entries,
        uncertain=uncertain,
        substituted=substituted,
    )

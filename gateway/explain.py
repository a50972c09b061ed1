"""Explains a month's value: formula with numbers, inputs, sources, clause, hours, batches.

The month comes from the ledger or from a verified bundle; nothing is explained that was not
proven first. Every label stands in Chinese and English.
"""

import math
from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import HOUR_NS, to_local
from edge_agent.errors import ConfigError
from gateway.month import MonthValue
from gateway.month.formula import FactorTerm, Term
from gateway.reports.basis import Proven

_INDENT = "    "
_SHOWN_SERIES = 12


def explain(proven: Proven, parameter: str, scope: str | None, *, hours: bool = False) -> str:
    """The explanation of a value, or of a parameter's values in every scope.

    Args:
        proven: the month.
        parameter: id of the form.
        scope: which one; None for all.
        hours: also list every hour behind each series.

    Raises:
        ConfigError: the month has no such value; names those it has.
    """
    found = [
        value
        for value in proven.month.values
        if value.parameter.id == parameter and scope in (None, value.scope)
    ]
    if not found:
        ids = dict.fromkeys(value.parameter.id for value in proven.month.values)
        scopes = [value.scope for value in proven.month.values if value.parameter.id == parameter]
        known = ", ".join(scopes) if scopes else ", ".join(ids)
        message = f"{proven.month.month} has no value of {parameter!r}" + (
            f" in scope {scope!r}" if scope else ""
        )
        raise ConfigError(message, right=f"it has: {known}")
    teller = _Teller(proven, hours=hours)
    return "\n".join(line for value in found for line in (*teller.value(value, 0), ""))


class _Teller:
    def __init__(self, proven: Proven, *, hours: bool) -> None:
        self._proven = proven
        self._hours = hours
        self._zone = ZoneInfo(proven.configuration.plain["timezone"])
        self._told: set[str] = set()

    def value(self, value: MonthValue, depth: int) -> Iterator[str]:
        """A value and, below it, all that it rests on; what was told already is only named."""
        pad = _INDENT * depth
        yield f"{pad}{value.parameter.zh} {value.parameter.en}  {value.name}"
        yield f"{pad}  = {_figure(value)}"
        if value.name in self._told:
            yield f"{pad}  (见上 explained above)"
            return
        self._told.add(value.name)
        yield from (f"{pad}  {line}" for line in _about(value))
        yield from (f"{pad}  {line}" for line in self._substituted(value))
        if value.formula is not None:
            yield f"{pad}  公式 formula      {value.formula.text}"
            yield f"{pad}  代入 with numbers {value.formula.with_numbers(value.terms)}"
            if not value.terms:
                yield f"{pad}  配置 configuration nothing of this kind is configured 配置中无此项"
            for symbol, term in value.terms:
                yield f"{pad}  {symbol}:"
                yield from self._term(term, depth + 1)
            return
        yield from (f"{pad}  {line}" for line in self._evidence(value))

    def _term(self, term: Term, depth: int) -> Iterator[str]:
        if isinstance(term, MonthValue):
            yield from self.value(term, depth)
            return
        pad = _INDENT * depth
        yield f"{pad}{term.name} = {term.value} {term.unit}"
        if isinstance(term, FactorTerm):
            factor = term.factor
            source = f"{self._proven.configuration.factors.id}: {factor.source}"
            yield f"{pad}  来源 source       {source}"
            yield f"{pad}  条款 clause       {factor.clause or '–'} ({factor.status})"

    def _substituted(self, value: MonthValue) -> Iterator[str]:
        for item in value.substituted:
            hour = to_local(item.start_ns, self._zone).isoformat(timespec="minutes")
            yield (
                f"替代 substituted  {hour} {item.missing_s:.0f} s {item.method.value}: "
                f"{item.amount:.6g} {value.unit} ({item.source})"
            )

    def _evidence(self, value: MonthValue) -> Iterator[str]:
        for entry in value.entries:
            at = to_local(entry.time_ns, self._zone).isoformat(timespec="minutes")
            mass = f", 质量 mass {entry.mass_t} t" if entry.mass_t is not None else ""
            yield (
                f"录入 entry        {at} {entry.item} {entry.quantity} {entry.value} {entry.unit}"
                f"{mass} ({entry.author})"
            )
        for sha256 in value.documents:
            yield f"文件 document     lab/{sha256}.cose"
        for name in self._telling(value.series):
            yield from self._series(name)
        if len(value.series) > _SHOWN_SERIES:
            yield f"序列 series       … and {len(value.series) - _SHOWN_SERIES} more 另有"
        if not value.series and not value.documents:
            yield f"配置 configuration SHA-256 {self._proven.configuration.sha256.hex()}"
        for item in self._proven.ranges if value.series else ():
            yield (
                f"批次 batches      {item.agent} {item.first_seq}-{item.last_seq}, "
                f"root {item.root.hex()}"
            )

    def _telling(self, series: Sequence[str]) -> Sequence[str]:
        """The series to show: all, or of very many those that add most to the value."""
        if len(series) <= _SHOWN_SERIES:
            return series
        start_ns, end_ns = self._proven.month.start_ns, self._proven.month.end_ns
        reader = self._proven.reader
        sums = {name: math.fsum(reader.points(name, start_ns, end_ns).values) for name in series}
        return sorted(series, key=lambda name: -sums[name])[:_SHOWN_SERIES]

    def _series(self, name: str) -> Iterator[str]:
        month, zone = self._proven.month, self._zone
        closing = 1 if name.endswith(".count") else 0  # a totaliser's last reading is at the end
        points = self._proven.reader.points(name, month.start_ns, month.end_ns + closing)
        hours = sorted({(time - month.start_ns) // HOUR_NS for time in points.times})
        all_hours = (month.end_ns - month.start_ns) // HOUR_NS
        yield (
            f"序列 series       {name}: {len(points.times)} rows in {len(hours)} of {all_hours} hours"
        )
        if points.times:
            for label, place in (("首行 first row", 0), ("末行 last row", -1)):
                at = to_local(points.times[place], zone).isoformat(timespec="seconds")
                yield f"  {label:16s} {at}  {points.values[place]}"
        carried = self._proven.reader.carried(name)
        if carried is not None:
            first, last = carried.first, carried.last
            yield (
                f"  载于 carried by  {first.agent} batch {first.seq} sha256 {first.sha256.hex()} … "
                f"{last.agent} batch {last.seq} sha256 {last.sha256.hex()} ({carried.count} batches)"
            )
        if self._hours:
            yield from self._by_hour(points.times, points.values)

    def _by_hour(self, times: Sequence[int], values: Sequence[float]) -> Iterator[str]:
        start_ns = self._proven.month.start_ns
        by_hour: dict[int, list[float]] = {}
        for time, value in zip(times, values, strict=True):
            by_hour.setdefault((time - start_ns) // HOUR_NS, []).append(value)
        for hour, some in sorted(by_hour.items()):
            at = to_local(start_ns + hour * HOUR_NS, self._zone)
            yield (
                f"  {at.isoformat(timespec='minutes')}  {len(some)} rows, first {some[0]}, last {some[-1]}"
            )


def _figure(value: MonthValue) -> str:
    if value.value is None:
        return f"– {value.unit}  (无值 no value)"
    text = f"{value.reported} {value.unit}  (全精度 full {value.value}"
    if value.recomputed is not None:
        text += f"; 由修约值复算 from rounded {value.recomputed}"
    share = value.relative_uncertainty
    if share is not None:
        unstated = value.uncertain.unstated if value.uncertain else ()
        text += f"; 不确定度 uncertainty {'≥' if unstated else '±'}{100 * share:.3g} %, k = 2"
    return text + ")"


def _about(value: MonthValue) -> Iterator[str]:
    yield f"获取 method       {value.method}"
    if value.source and (value.formula is None or value.source != value.formula.text):
        yield f"来源 source       {value.source}"
    if value.clause:
        yield f"条款 clause       {value.clause}"
    if value.evidence:
        yield f"支撑 evidence     {value.evidence}"
    if value.completeness is not None:
        yield f"完整 completeness {100 * value.completeness:.3f} %"
    if value.note:
        yield f"备注 note         {value.note}"
    if value.uncertain and value.uncertain.unstated:
        yield f"未给不确定度 uncertainty not stated for {', '.join(sorted(value.uncertain.unstated))}"

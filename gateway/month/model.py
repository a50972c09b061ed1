"""What a month's computation takes and gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from edge_agent.calc.factors import UNVERIFIED, Factor, FactorSet, Option
from edge_agent.calc.rounding import exact, half_up
from edge_agent.calc.substitution import Substituted
from edge_agent.calc.uncertainty import Uncertain, of_factor
from edge_agent.calc.windows import month_bounds, to_local
from edge_agent.errors import CalculationError
from edge_agent.readings import Event
from gateway.month import formula as formula_
from gateway.month.entries import Entries, Entry
from gateway.month.formula import FactorTerm, Formula, Term
from gateway.plan import CALCULATED, DEFAULT, Form, Parameter


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
class Basis:
    """What stands beside the readings: configuration, factors, the sector's form, entries."""

    config: Mapping[str, Any]
    factors: FactorSet
    form: Form
    entries: Entries = field(default_factory=Entries)


@dataclass(frozen=True, slots=True)
class MonthValue:
    """One reported value.

    ``value`` carries full precision; ``reported`` is rounded half up to the form's decimals.
    ``completeness`` is the covered share of the required time, None where it has no meaning.
    A value has either a ``formula`` with ``terms``, or it is a leaf with ``series``,
    ``documents``, a factor or the configuration behind it.
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
    clause: str = ""
    evidence: str = ""
    formula: Formula | None = None
    terms: tuple[tuple[str, Term], ...] = ()
    uncertain: Uncertain | None = None
    substituted: tuple[Substituted, ...] = ()
    entries: tuple[Entry, ...] = ()
    recomputed: Decimal | None = None

    @property
    def documents(self) -> tuple[str, ...]:
        """SHA-256 of the signed documents that the entries stand in, hex."""
        return tuple(dict.fromkeys(one.document for one in self.entries if one.document))

    @property
    def name(self) -> str:
        """Parameter and scope, as explanations name a value."""
        return f"{self.parameter.id}[{self.scope}]"

    @property
    def reported(self) -> Decimal | None:
        """The value as the form prints it."""
        if self.value is None:
            return None
        return half_up(exact(self.value), self.parameter.decimals)

    @property
    def relative_uncertainty(self) -> float | None:
        """Expanded relative uncertainty, k = 2; None where nothing states one."""
        if self.uncertain is None:
            return None
        if not self.uncertain.sensitivities and not self.uncertain.unstated:
            return 0.0  # counted or configured: exact
        if not self.uncertain.sensitivities:
            return None
        return self.uncertain.relative_expanded


@dataclass(slots=True)
class Month:
    """All values of a site's month, its effects, and what a reader must know."""

    site: str
    month: str
    start_ns: int
    end_ns: int
    form: Form
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


class Work:
    """Everything one computation needs at hand."""

    def __init__(self, basis: Basis, month: str, reader: Reader) -> None:
        self.config = basis.config
        self.zone = ZoneInfo(basis.config["timezone"])
        start_ns, end_ns = month_bounds(month, self.zone)
        self.factors = basis.factors
        self.form = basis.form
        self.entries = basis.entries
        self.reader = reader
        self.result = Month(basis.config["site"], month, start_ns, end_ns, basis.form)
        self.series = {item["name"]: item for item in basis.config["series"]}
        self.meters = {item["id"]: item for item in basis.config["meters"]}
        self.used: dict[str, Factor] = {}
        self.choices: dict[str, Option] = {}
        self._day = to_local(start_ns, self.zone).date()
        lines = basis.config.get("control_lines", ())
        self._lines = {(line["id"], line["scope"]): line for line in lines}

    @property
    def bounds(self) -> tuple[int, int]:
        """First moment of the month and of the next one [ns]."""
        return self.result.start_ns, self.result.end_ns

    def line(self, parameter_id: str, scope: str) -> Mapping[str, Any] | None:
        """The control plan's line for a parameter of a scope."""
        own = self._lines.get((parameter_id, scope))
        return own or self._lines.get((parameter_id, None))

    def option(self, name: str, otherwise: str) -> str:
        """A choice of the factor set, remembered as used, or what stands where it leaves none."""
        if name not in self.factors.options:
            return otherwise
        self.choices[name] = self.factors.options[name]
        return str(self.choices[name].value)

    def reserve(self, text: str) -> None:
        """Something that a reader must know, once."""
        if text not in self.result.reservations:
            self.result.reservations.append(text)

    def factor(self, factor_id: str) -> Factor:
        """A factor of the set valid in the month; it is remembered as used."""
        factor = self.factors.get(factor_id, self._day)
        self.used[factor_id] = factor
        if factor.when:
            self.option(factor.when.partition("=")[0], "")
        return factor

    def term(self, factor_id: str) -> FactorTerm:
        """A factor as a formula's input."""
        return FactorTerm(self.factor(factor_id))

    def month_points(self, series: str) -> Points:
        """Usable rows of a series in the month."""
        return self.reader.points(series, *self.bounds)

    def add(
        self, parameter_id: str, scope: str, value: Decimal | float | None, **more: Any
    ) -> MonthValue:
        """One value of a scope."""
        parameter = self.form.get(parameter_id)
        line = self.line(parameter_id, scope)
        more.setdefault("unit", line["unit"] if line else parameter.units[0])
        more.setdefault("method", CALCULATED)
        more.setdefault("source", "")
        more.setdefault("evidence", line["evidence"] if line else parameter.evidence)
        result = MonthValue(parameter, scope, value, **more)
        self.result.values.append(result)
        return result

    def compute(
        self, parameter_id: str, scope: str, how: Formula, terms: Mapping[str, Term], **more: Any
    ) -> MonthValue:
        """A value by a formula: with uncertainty, and recomputed from its printed inputs."""
        value = formula_.evaluate(how, terms)
        more.setdefault("source", how.text)
        more.setdefault("completeness", _least(terms))
        try:
            again = formula_.recompute(how, terms)
        except CalculationError:
            again = None
        decimals = self.form.get(parameter_id).decimals
        return self.add(
            parameter_id,
            scope,
            value,
            clause=how.clause,
            formula=how,
            terms=tuple(terms.items()),
            uncertain=None if value is None else formula_.propagate(how, terms, value),
            recomputed=None if again is None else half_up(again, decimals),
            **more,
        )

    def add_factor(
        self, parameter_id: str, scope: str, factor: Factor, *, scale: int = 1, unit: str = ""
    ) -> MonthValue:
        """A value that is a factor of the set, times ``scale``."""
        given = of_factor(factor)
        return self.add(
            parameter_id,
            scope,
            exact(factor.value) * scale,
            unit=unit or factor.unit,
            method=DEFAULT,
            source=f"{self.factors.id} {factor.id}: {factor.source}",
            clause=factor.clause,
            note="" if factor.status != UNVERIFIED else "unverified default 未经核实的缺省值",
            uncertain=given * scale if scale != 1 else given,
        )


def _least(terms: Mapping[str, Term]) -> float | None:
    """The completeness of what is worked out is that of its least complete input."""
    shares = [
        term.completeness
        for term in terms.values()
        if isinstance(term, MonthValue) and term.completeness is not None
    ]
    return min(shares, default=None)


def instrument(meter: Mapping[str, Any]) -> str:
    """Which instrument a meter is, for the report's source column."""
    names = ("id", "instrument", "maker", "model", "serial_number", "accuracy_class")
    parts = [meter.get(name) or "" for name in names]
    for name, text in (("serial_number", "No. {}"), ("accuracy_class", "class {}")):
        place = names.index(name)
        parts[place] = text.format(parts[place]) if parts[place] else ""
    if meter.get("calibrated_until"):
        parts.append(f"calibrated until {meter['calibrated_until']}")
    return " ".join(part for part in parts if part)

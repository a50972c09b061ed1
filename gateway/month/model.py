"""What a month's computation takes and gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from edge_agent.calc.factors import UNVERIFIED, Factor, FactorSet
from edge_agent.calc.rounding import exact, half_up
from edge_agent.calc.windows import month_bounds
from edge_agent.readings import Event
from gateway.plan import ALUMINIUM, CALCULATED, DEFAULT, Parameter


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


class Work:
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
        """A factor of the set; it is remembered as used."""
        factor = self.factors.get(factor_id)
        self.used[factor_id] = factor
        return factor

    def month_points(self, series: str) -> Points:
        """Usable rows of a series in the month."""
        return self.reader.points(series, self.result.start_ns, self.result.end_ns)

    def add(
        self, parameter_id: str, scope: str, value: Decimal | float | None, **more: Any
    ) -> None:
        """One value of a scope."""
        parameter = ALUMINIUM[parameter_id]
        more.setdefault("unit", parameter.unit)
        more.setdefault("method", CALCULATED)
        more.setdefault("source", "")
        self.result.values.append(MonthValue(parameter, scope, value, **more))


def add_factor(
    work: Work, parameter: str, scope: str, factor: Factor, *, scale: int = 1, unit: str = ""
) -> None:
    """A value that is a factor of the set, times ``scale``."""
    work.add(
        parameter,
        scope,
        exact(factor.value) * scale,
        unit=unit or ALUMINIUM[parameter].unit,
        method=DEFAULT,
        source=f"{work.factors.id} {factor.id}: {factor.source}",
        note="" if factor.status != UNVERIFIED else "unverified default 未经核实的缺省值",
    )


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

"""Values by their id, each worked out once, and the shapes that many rules have."""

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from gateway.recount.amounts import amount
from gateway.recount.inputs import Inputs, Name, NotCounted
from gateway.recount.rows import Rows

Value = Decimal | float | int | None
C_TO_CO2 = 44 / 12


class Count:
    """One month's second computation; a value is worked out once."""

    def __init__(self, inputs: Inputs, rows: Rows, rules: "Mapping[str, Rule]") -> None:
        self.inputs = inputs
        self.rows = rows
        self._rules = rules
        self._done: dict[Name, Value] = {}

    def get(self, parameter: str, scope: str) -> Value:
        """A value.

        Raises:
            NotCounted: there is no rule for it, or for something it needs.
        """
        name = (parameter, scope)
        if name not in self._done:
            rule = self._rules.get(parameter)
            if rule is None:
                raise NotCounted(parameter)
            self._done[name] = rule(self, scope)
        return self._done[name]

    def number(self, parameter: str, scope: str) -> float:
        """A value as a float."""
        found = self.get(parameter, scope)
        if found is None:
            raise NotCounted(parameter)
        return float(found)

    def item(self, group: str, scope: str) -> Mapping[str, Any]:
        """The configured thing that a scope is: a line, a kiln, a meter."""
        for one in self.inputs.config.get(group) or ():
            if one["id"] == scope:
                return dict(one)
        raise NotCounted(scope)

    def names(self, group: str) -> list[str]:
        """Ids of a group of the configuration."""
        return [one["id"] for one in self.inputs.config.get(group) or ()]

    def meters(self, role: str) -> list[Mapping[str, Any]]:
        """The meters of a role."""
        return [one for one in self.inputs.config["meters"] if one["role"] == role]


Rule = Callable[[Count, str], Value]


def content(parameter: str, factor: Callable[[Count, str], str] | None, scale: int = 1) -> Rule:
    """A content or heating value: analyses by mass, or the factor of the line or of the rule."""

    def rule(count: Count, scope: str) -> Value:
        sources = count.inputs.line(parameter, scope).get("sources") or []
        for source in sources:
            if source["kind"] == "default":
                return scale * count.inputs.factor(source["refs"][0])
            if source["kind"] == "lab":
                found = count.inputs.of("analysis", source["refs"], parameter)
                if found:
                    return _blended(found)
        if sources or factor is None:
            raise NotCounted(parameter)
        return scale * count.inputs.factor(factor(count, scope))

    return rule


def _blended(found: Iterable[Mapping[str, Any]]) -> float:
    pairs = [(float(one["mass"] or 1), float(one["value"])) for one in found]
    return math.fsum(mass * value for mass, value in pairs) / math.fsum(mass for mass, _ in pairs)


def amounts(parameter: str, meters: Callable[[Count, str], list[str]] = lambda *_: []) -> Rule:
    """An amount by the control plan; without a line of it, by these meters."""
    return lambda count, scope: amount(
        count.inputs, count.rows, (parameter, scope), meters(count, scope)
    )


def product(*parameters: str, by: float = 1.0) -> Rule:
    """A product of values of one scope."""
    return lambda count, scope: by * math.prod(count.number(one, scope) for one in parameters)


def ratio(above: str, below: str) -> Rule:
    """One value by another; None where that is zero."""

    def rule(count: Count, scope: str) -> Value:
        divisor = count.number(below, scope)
        return count.number(above, scope) / divisor if divisor else None

    return rule

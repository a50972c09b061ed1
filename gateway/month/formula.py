"""Formulas as data: one thing computes, recomputes, explains and propagates uncertainty.

Sensitivities are central differences of the very function that gave the value (JCGM 100
5.1.3, note 2), combined by ``edge_agent.calc.uncertainty``, so that an input that enters twice
is correlated with itself.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from edge_agent.calc import uncertainty
from edge_agent.calc.factors import Factor
from edge_agent.calc.rounding import exact
from edge_agent.calc.uncertainty import Uncertain
from edge_agent.errors import CalculationError

_STEP = 1e-6
_SYMBOL = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
Number = Decimal | float | int


class Term(Protocol):
    """An input of a formula: another value of the month, or a factor."""

    @property
    def name(self) -> str:
        """What it is called in explanations."""
        ...

    @property
    def value(self) -> Number | None:
        """Full precision."""
        ...

    @property
    def reported(self) -> Decimal | None:
        """As the report prints it."""
        ...

    @property
    def unit(self) -> str:
        """Its unit."""
        ...

    @property
    def uncertain(self) -> Uncertain | None:
        """With its uncertainty, if there is a value."""
        ...


@dataclass(frozen=True, slots=True)
class FactorTerm:
    """A factor of the set as a formula's input."""

    factor: Factor

    @property
    def name(self) -> str:
        """The factor's id."""
        return self.factor.id

    @property
    def value(self) -> float:
        """The factor's value."""
        return self.factor.value

    @property
    def reported(self) -> Decimal:
        """The value as the set prints it."""
        return exact(self.factor.value)

    @property
    def unit(self) -> str:
        """The factor's unit."""
        return self.factor.unit

    @property
    def uncertain(self) -> Uncertain:
        """The value with the uncertainty that the set states."""
        return uncertainty.of_factor(self.factor)


@dataclass(frozen=True, slots=True)
class Formula:
    """An equation: its text with symbols, its source, and the function behind it.

    ``apply`` takes each symbol's value by name and may raise ``CalculationError``; a result of
    None means that the quantity is not defined (nothing to divide by).
    """

    text: str
    clause: str
    apply: Callable[..., float | None] = field(compare=False)

    def with_numbers(self, terms: Sequence[tuple[str, Term]]) -> str:
        """The text with each symbol replaced by its value."""
        values = {symbol: _shown(term.value) for symbol, term in terms}
        return _SYMBOL.sub(lambda found: values.get(found[0], found[0]), self.text)


def _shown(value: Number | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return f"({text})" if text.startswith("-") else text


def sum_of(terms: Sequence[Term], clause: str = "", letter: str = "E") -> Formula:
    """The sum of any number of terms, whose symbols are E1, E2 ..."""
    text = " + ".join(symbols(terms, letter)) or "0"
    return Formula(text, clause, _fsum)


def quotient(over: str, under: str, clause: str = "") -> Formula:
    """One symbol over another; not defined where the lower one is zero."""

    def apply(**values: float) -> float | None:
        return values[over] / values[under] if values[under] else None

    return Formula(f"{over} / {under}", clause, apply)


def symbols(terms: Sequence[Term], letter: str = "E") -> list[str]:
    """E1, E2 ... for any number of terms."""
    return [f"{letter}{number}" for number in range(1, len(terms) + 1)]


def _fsum(**values: float) -> float:
    return math.fsum(values.values())


def evaluate(formula: Formula, terms: Mapping[str, Term]) -> float | None:
    """The value of a formula at full precision; None when an input has none."""
    values = {symbol: term.value for symbol, term in terms.items()}
    return _apply(formula, values)


def recompute(formula: Formula, terms: Mapping[str, Term]) -> float | None:
    """What a reader gets who puts the printed inputs into the formula."""
    return _apply(formula, {symbol: term.reported for symbol, term in terms.items()})


def _apply(formula: Formula, values: Mapping[str, Number | None]) -> float | None:
    if any(value is None for value in values.values()):
        return None
    return formula.apply(
        **{key: float(value) for key, value in values.items() if value is not None}
    )


def propagate(formula: Formula, terms: Mapping[str, Term], value: float) -> Uncertain:
    """The value with its uncertainty, first order."""
    parts = [uncertainty.exact(value)]
    numbers = {symbol: float(term.value or 0) for symbol, term in terms.items()}
    for symbol, term in terms.items():
        given = term.uncertain
        if given is None or not (given.sensitivities or given.unstated):
            continue
        slope = _slope(formula, numbers, symbol)
        parts.append(slope * (given - given.value))
    return uncertainty.total(parts)


def _slope(formula: Formula, numbers: Mapping[str, float], symbol: str) -> float:
    """Partial derivative by a central difference; one-sided where the domain ends."""
    at = numbers[symbol]
    step = abs(at) * _STEP or _STEP
    above, below = (_try(formula, {**numbers, symbol: at + side * step}) for side in (1.0, -1.0))
    here = _try(formula, numbers)
    if above is not None and below is not None:
        return (above - below) / (2 * step)
    if above is not None and here is not None:
        return (above - here) / step
    return (here - below) / step if here is not None and below is not None else 0.0


def _try(formula: Formula, numbers: Mapping[str, float]) -> float | None:
    try:
        return formula.apply(**numbers)
    except CalculationError:
        return None

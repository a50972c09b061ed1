"""Uncertainty of calculated values: first-order propagation by the GUM (JCGM 100:2008).

An ``Uncertain`` carries its value and, for every named input it depends on, its sensitivity to
it (the partial derivative, GUM 5.1.3). Arithmetic combines both, so an input that enters
several terms, such as one slope coefficient in the sums of three potlines, is counted as what it
is: one and the same, fully correlated error (GUM 5.2, F.1.2.3). Inputs of different names are
independent, unless correlation coefficients are given (GUM eq. 13).

    u_c(y)^2 = sum over i of (dy/dx_i)^2 u(x_i)^2        (GUM eq. 10)
    U = k u_c(y), k = 2                                   (GUM 6.2.1)

Inputs that stand for different things must have different names: the name is the identity.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edge_agent.calc.factors import Factor
from edge_agent.errors import CalculationError

COVERAGE_95 = 1.959963984540054
"""Half width of the 95 % interval of a normal distribution in standard deviations (GUM 4.3.4)."""
COVERAGE_FACTOR = 2.0
"""Coverage factor k of a reported expanded uncertainty (GUM 6.3.3)."""


@dataclass(frozen=True, slots=True)
class Input:
    """A measured or tabulated quantity: name, estimate and standard uncertainty in its unit."""

    name: str
    value: float
    standard: float


@dataclass(frozen=True, slots=True)
class Share:
    """One input's part of a combined uncertainty, signed [unit of the result] and of its square."""

    name: str
    contribution: float
    of_variance: float


@dataclass(frozen=True, slots=True, eq=False)
class Uncertain:
    """A value with its sensitivities by input.

    ``unstated`` names the inputs that were taken as exact because nobody stated their
    uncertainty: a result that lists some is a lower bound.
    """

    value: float
    sensitivities: Mapping[Input, float] = field(default_factory=dict)
    unstated: frozenset[str] = frozenset()

    @property
    def standard(self) -> float:
        """Combined standard uncertainty u_c, in the value's unit."""
        return math.hypot(*(part * item.standard for item, part in self.sensitivities.items()))

    @property
    def expanded(self) -> float:
        """Expanded uncertainty U = 2 u_c, in the value's unit."""
        return COVERAGE_FACTOR * self.standard

    @property
    def relative_expanded(self) -> float | None:
        """U over the value's size, as a fraction; None at zero, where it has no meaning."""
        return self.expanded / abs(self.value) if self.value else None

    def correlated(self, coefficients: Mapping[tuple[str, str], float]) -> float:
        """Combined standard uncertainty with given correlations between inputs (GUM eq. 13).

        Args:
            coefficients: correlation coefficient from -1 to 1 by pair of input names; a pair
                stands once, in either order.

        Raises:
            CalculationError: a coefficient is out of range, of an input with itself, or given
                twice; or the coefficients contradict each other.
        """
        parts = {item.name: part * item.standard for item, part in self.sensitivities.items()}
        squares = [part * part for part in parts.values()]
        for (one, other), coefficient in coefficients.items():
            if one == other or (other, one) in coefficients or not -1 <= coefficient <= 1:
                message = (
                    f"correlation {coefficient} of {one!r} and {other!r}: two different inputs, "
                    "named once, with a coefficient from -1 to 1 are right"
                )
                raise CalculationError(message)
            squares.append(2 * coefficient * parts.get(one, 0.0) * parts.get(other, 0.0))
        variance = math.fsum(squares)
        if variance < -1e-12 * math.fsum(map(abs, squares)):
            message = f"the correlations {dict(coefficients)} contradict each other"
            raise CalculationError(message)
        return math.sqrt(max(variance, 0.0))

    def budget(self) -> list[Share]:
        """The inputs' contributions, largest first; the shares of the variance add up to 1."""
        variance = self.standard**2
        shares = [
            Share(item.name, part * item.standard, (part * item.standard) ** 2 / variance)
            for item, part in self.sensitivities.items()
            if variance
        ]
        return sorted(shares, key=lambda share: (-share.of_variance, share.name))

    def __add__(self, other: "Uncertain | float") -> "Uncertain":
        return total((self, _lift(other)))

    __radd__ = __add__

    def __neg__(self) -> "Uncertain":
        return _combine(-self.value, (self, -1.0))

    def __sub__(self, other: "Uncertain | float") -> "Uncertain":
        return self + -_lift(other)

    def __rsub__(self, other: float) -> "Uncertain":
        return -self + other

    def __mul__(self, other: "Uncertain | float") -> "Uncertain":
        right = _lift(other)
        return _combine(self.value * right.value, (self, right.value), (right, self.value))

    __rmul__ = __mul__

    def __truediv__(self, other: "Uncertain | float") -> "Uncertain":
        return self * _lift(other) ** -1

    def __rtruediv__(self, other: float) -> "Uncertain":
        return _lift(other) / self

    def __pow__(self, exponent: float) -> "Uncertain":
        try:
            value = math.pow(self.value, exponent)
            slope = exponent * math.pow(self.value, exponent - 1) if exponent else 0.0
        except (ValueError, OverflowError) as error:
            message = f"{self.value} to the power of {exponent} is not defined"
            raise CalculationError(message) from error
        return _combine(value, (self, slope))


def exact(value: float) -> Uncertain:
    """A number without uncertainty: a definition, a count, a ratio of molar masses."""
    return Uncertain(_finite(value, "value"))


def with_standard(name: str, value: float, standard: float) -> Uncertain:
    """An input with its standard uncertainty (one standard deviation), in the value's unit.

    Raises:
        CalculationError: the name is empty, a number is not finite, or the uncertainty negative.
    """
    _finite(value, name)
    if not name or not _finite(standard, name) >= 0:
        message = f"standard uncertainty {standard} of {name!r}: a name, and zero or more is right"
        raise CalculationError(message)
    return Uncertain(value, {Input(name, value, standard): 1.0})


def normal_95(name: str, value: float, half_width: float) -> Uncertain:
    """An input stated as value +- half width at 95 %, normal: u = half width / 1.96."""
    return with_standard(name, value, half_width / COVERAGE_95)


def relative_95(name: str, value: float, fraction: float) -> Uncertain:
    """An input stated as value +- a fraction of it at 95 %, normal (the IPCC's tables)."""
    return normal_95(name, value, fraction * abs(value))


def certified(
    name: str, value: float, expanded: float, coverage: float = COVERAGE_FACTOR
) -> Uncertain:
    """An input from a certificate that states U and k: u = U / k (GUM 4.3.3)."""
    if not coverage > 0:
        message = f"coverage factor {coverage} of {name!r}; above zero is right"
        raise CalculationError(message)
    return with_standard(name, value, expanded / coverage)


def rectangular(name: str, value: float, half_width: float) -> Uncertain:
    """An input known only to lie within +- half width: u = half width / sqrt(3) (GUM 4.3.7)."""
    return with_standard(name, value, half_width / math.sqrt(3))


def of_accuracy_class(
    name: str, value: float, class_percent: float, full_scale: float | None = None
) -> Uncertain:
    """A reading of an instrument of an accuracy class, used within its maximum permissible error.

    Args:
        name: of the instrument: readings that share its error share its name.
        value: the reading, or the sum of many readings of this instrument.
        class_percent: maximum permissible error [%]: of the reading, or of ``full_scale``.
        full_scale: upper end of the range, in the value's unit, when the class refers to it.
    """
    reference = value if full_scale is None else full_scale
    return rectangular(name, value, class_percent / 100 * abs(reference))


def of_factor(factor: Factor) -> Uncertain:
    """A factor with the uncertainty its set states; without one it is exact and ``unstated``."""
    if factor.relative_uncertainty is None:
        return Uncertain(_finite(factor.value, factor.id), {}, frozenset({factor.id}))
    return relative_95(factor.id, factor.value, factor.relative_uncertainty)


def total(values: Iterable[Uncertain]) -> Uncertain:
    """The sum of many values; inputs they share add before they are squared."""
    items = list(values)
    return _combine(math.fsum(item.value for item in items), *((item, 1.0) for item in items))


def _lift(value: "Uncertain | float") -> Uncertain:
    return value if isinstance(value, Uncertain) else exact(value)


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        message = f"{name} is {value}; a finite number is right"
        raise CalculationError(message)
    return value


def _combine(value: float, *terms: tuple[Uncertain, float]) -> Uncertain:
    """The chain rule: sensitivities of a result from those of its operands."""
    parts: dict[Input, float] = {}
    for operand, slope in terms:
        for item, part in operand.sensitivities.items():
            parts[item] = parts.get(item, 0.0) + slope * part
    if len({item.name for item in parts}) != len(parts):
        names = sorted(item.name for item in parts)
        twice = next(one for one, other in itertools.pairwise(names) if one == other)
        message = f"input {twice!r} stands for two different numbers; one name, one input is right"
        raise CalculationError(message)
    unstated = frozenset().union(*(operand.unstated for operand, _ in terms))
    return Uncertain(_finite(value, "result"), parts, unstated)

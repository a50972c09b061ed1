"""Half-up decimal rounding (四舍五入) of reported values; never used between steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


def exact(value: float | str | Decimal) -> Decimal:
    """The decimal a person would read: the shortest form that gives this float."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


def half_up(value: float | str | Decimal, decimals: int) -> Decimal:
    """Rounded half away from zero to a number of decimals; never a negative zero."""
    rounded = exact(value).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    return rounded or abs(rounded)


@dataclass(frozen=True, slots=True)
class Given:
    """An input of a reported value: full precision, and the decimals the form prints."""

    value: float
    decimals: int

    @property
    def rounded(self) -> Decimal:
        """As the form prints it."""
        return half_up(self.value, self.decimals)


@dataclass(frozen=True, slots=True)
class Reported:
    """A reported value three ways.

    Attributes:
        value: full precision; what other steps take.
        rounded: what the form prints.
        recomputed: what a reader gets who computes from the printed inputs.
    """

    value: float
    rounded: Decimal
    recomputed: Decimal

    @property
    def difference(self) -> Decimal:
        """Printed value minus the one recomputed from printed inputs."""
        return self.rounded - self.recomputed


def report(formula: Callable[..., float], inputs: Mapping[str, Given], decimals: int) -> Reported:
    """A formula's value at full precision, rounded, and recomputed from rounded inputs.

    Only the outcome is rounded; nothing between the inputs and it. The platform recomputes from
    what it shows, so the third number stands beside the second (domain-china.md 2.6).

    Args:
        formula: takes the inputs by name.
        inputs: full values with their printed decimals.
        decimals: of the reported value.

    Raises:
        CalculationError: the formula refuses its inputs.
    """
    value = formula(**{name: given.value for name, given in inputs.items()})
    printed = formula(**{name: float(given.rounded) for name, given in inputs.items()})
    return Reported(value, half_up(value, decimals), half_up(printed, decimals))

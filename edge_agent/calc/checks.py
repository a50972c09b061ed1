"""Range checks that every formula shares; each refusal names the quantity and what is possible."""

import math

from edge_agent.errors import CalculationError


def not_negative(**quantities: float) -> None:
    """Refuse what is negative or no number.

    Raises:
        CalculationError: names the first such quantity.
    """
    for name, value in quantities.items():
        if not (math.isfinite(value) and value >= 0):
            message = f"{name} is {value}; zero or more is possible"
            raise CalculationError(message)


def finite(**quantities: float) -> None:
    """Refuse what is no number; the sign is free.

    Raises:
        CalculationError: names the first such quantity.
    """
    for name, value in quantities.items():
        if not math.isfinite(value):
            message = f"{name} is {value}; a finite number is right"
            raise CalculationError(message)


def fraction(name: str, value: float) -> float:
    """The value, when it is a fraction between 0 and 1.

    Raises:
        CalculationError: it is not.
    """
    if not 0 <= value <= 1:
        message = f"{name} is {value}; a fraction between 0 and 1 is right"
        raise CalculationError(message)
    return value


def percent(**quantities: float) -> None:
    """Refuse what is no percentage from 0 to 100.

    Raises:
        CalculationError: names the first such quantity.
    """
    for name, value in quantities.items():
        if not 0 <= value <= 100:
            message = f"{name} is {value} %; 0 to 100 is possible"
            raise CalculationError(message)


def signed(name: str, amount: float, reason: str) -> float:
    """The amount; a negative one stands only with a reason (domain-china.md 5.5).

    Raises:
        CalculationError: it is no number, or negative and nobody said why.
    """
    finite(**{name: amount})
    if amount < 0 and not reason.strip():
        message = f"{name} is {amount}; a negative amount needs a reason"
        raise CalculationError(message)
    return amount

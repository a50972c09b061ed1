"""Process items: amount times factor (flux, electrodes, bought carbon, products, carbonates).

E = sum AD x EF        (domain-china.md 3.2, 5.2)
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edge_agent.calc.checks import finite, not_negative


@dataclass(frozen=True, slots=True)
class Item:
    """An amount and its factor.

    Attributes:
        name: the material or product, as in the factor sets.
        amount_t: net amount used or made [t].
        factor_t_per_t: emission factor [tCO2/t].
    """

    name: str
    amount_t: float
    factor_t_per_t: float


@dataclass(frozen=True, slots=True)
class ItemCo2:
    """An item's CO2 [t], and whether a negative net amount was counted as zero."""

    item: Item
    co2_t: float
    floored: bool = False


def used(items: Iterable[Item]) -> tuple[ItemCo2, ...]:
    """CO2 of materials used; a negative net amount counts zero and says so.

    Raises:
        CalculationError: an amount is no number or a factor negative.
    """
    result = []
    for item in items:
        finite(**{f"amount of {item.name}": item.amount_t})
        not_negative(**{f"factor of {item.name}": item.factor_t_per_t})
        amount_t = max(0.0, item.amount_t)
        result.append(ItemCo2(item, amount_t * item.factor_t_per_t, item.amount_t < 0))
    return tuple(result)


def kept(items: Iterable[Item]) -> tuple[ItemCo2, ...]:
    """CO2 equivalent of the carbon that products keep; to be deducted.

    Raises:
        CalculationError: an amount or factor is negative.
    """
    result = []
    for item in items:
        not_negative(
            **{
                f"amount of {item.name}": item.amount_t,
                f"factor of {item.name}": item.factor_t_per_t,
            }
        )
        result.append(ItemCo2(item, item.amount_t * item.factor_t_per_t))
    return tuple(result)


def total(items: Iterable[ItemCo2]) -> float:
    """CO2 [t] of all items; the order does not matter."""
    return math.fsum(item.co2_t for item in items)

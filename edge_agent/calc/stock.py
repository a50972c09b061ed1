"""Amounts from stocks and lots: net consumption by stock balance, laboratory means by mass."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.calc.checks import not_negative, signed
from edge_agent.errors import CalculationError


@dataclass(frozen=True, slots=True)
class StockBalance:
    """A material's month [t or 10^4 Nm3]: stocks at both ends, what came and what went.

    Attributes:
        opening: stock at the start of the month (期初库存量).
        bought: what came in (购入量).
        closing: stock at its end (期末库存量).
        passed_on: sold or passed on (输出量).
    """

    opening: float
    bought: float
    closing: float
    passed_on: float = 0.0


def net_consumption(balance: StockBalance, reason: str = "") -> float:
    """Net consumption (净消耗量), in the unit of the balance.

        FC = opening + bought - closing - passed on

    Args:
        balance: the month's stocks and movements.
        reason: why it is right that more left than was there, when it did.

    Raises:
        CalculationError: a part is negative, or the result is and has no reason.
    """
    not_negative(
        opening=balance.opening,
        bought=balance.bought,
        closing=balance.closing,
        passed_on=balance.passed_on,
    )
    net = math.fsum((balance.opening, balance.bought, -balance.closing, -balance.passed_on))
    return signed("net consumption", net, reason)


@dataclass(frozen=True, slots=True)
class Lot:
    """One sampled lot: its mass [t] and the laboratory's value."""

    mass_t: float
    value: float


@dataclass(frozen=True, slots=True)
class Blend:
    """Lots together: mass [t], sum of mass times value, and mass-weighted mean."""

    mass_t: float
    weighted: float
    mean: float


def blend(lots: Sequence[Lot]) -> Blend:
    """Mass-weighted mean of laboratory values.

        x = sum(x_k m_k) / sum(m_k)

    Raises:
        CalculationError: there is no lot, a mass or value is negative, or all masses are zero.
    """
    for lot in lots:
        not_negative(mass_t=lot.mass_t, value=lot.value)
    mass_t = math.fsum(lot.mass_t for lot in lots)
    if mass_t == 0:
        message = f"{len(lots)} lots weigh nothing: no mean is defined"
        raise CalculationError(message)
    weighted = math.fsum(lot.mass_t * lot.value for lot in lots)
    mean = weighted / mass_t
    # Rounding must not carry a mean of equal values past them.
    values = [lot.value for lot in lots if lot.mass_t > 0]
    return Blend(mass_t, weighted, min(max(mean, min(values)), max(values)))

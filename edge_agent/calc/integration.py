"""Totalisers: differences of cumulative counters across roll-overs and resets.

A drop is a roll-over when the modulus is known and the increment it implies is at most 10 % of
the modulus or within the configured maximum rate; otherwise the counter was reset and counts
from zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass

NS_PER_H = 3600 * 10**9
_ROLLOVER_SHARE = 10
"""A roll-over may imply at most the modulus divided by this (domain.md section 2)."""


@dataclass(frozen=True, slots=True)
class TotaliserRule:
    """How a counter wraps: ``modulus`` [counts] if it does, ``max_rate_per_h`` [counts/h]."""

    modulus: int | None = None
    max_rate_per_h: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Increment between two readings [counts], and ``rollover`` or ``reset`` when it dropped."""

    increment: int | float
    kind: str = ""


def step(before: float, after: float, rule: TotaliserRule, elapsed_ns: int | None = None) -> Step:
    """The increment from one reading to the next.

    Args:
        before: earlier reading [counts].
        after: later reading [counts].
        rule: modulus and maximum rate.
        elapsed_ns: time between both [ns], needed for the maximum rate only.
    """
    if after >= before:
        return Step(after - before)
    if rule.modulus is not None:
        implied = after - before + rule.modulus
        within_share = 0 <= implied * _ROLLOVER_SHARE <= rule.modulus
        if within_share or _within_rate(implied, rule, elapsed_ns):
            return Step(implied, "rollover")
    return Step(after, "reset")


def _within_rate(implied: float, rule: TotaliserRule, elapsed_ns: int | None) -> bool:
    if rule.max_rate_per_h is None or elapsed_ns is None:
        return False
    return 0 <= implied <= rule.max_rate_per_h * elapsed_ns / NS_PER_H


@dataclass(frozen=True, slots=True)
class Total:
    """Sum of a counter's increments [counts] and what happened at which reading's index."""

    total: int | float
    events: tuple[tuple[int, str], ...]


def total(
    readings: Iterable[float], rule: TotaliserRule, times_ns: Iterable[int] | None = None
) -> Total:
    """Last reading minus first, corrected for roll-overs and resets.

    Integer readings give an exact integer total.

    Args:
        readings: counter readings in order of time [counts].
        rule: how the counter wraps.
        times_ns: their times [ns], needed for the maximum rate only.
    """
    sum_ = 0
    result: float = sum_
    events: list[tuple[int, str]] = []
    before: float | None = None
    before_ns: int | None = None
    times = iter(times_ns) if times_ns is not None else None
    for index, reading in enumerate(readings):
        now_ns = next(times) if times is not None else None
        if before is not None:
            elapsed = now_ns - before_ns if now_ns is not None and before_ns is not None else None
            change = step(before, reading, rule, elapsed)
            result += change.increment
            if change.kind:
                events.append((index, change.kind))
        before, before_ns = reading, now_ns
    return Total(result, tuple(events))

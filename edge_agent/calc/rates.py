"""Rates to amounts: trapezoids over good samples; a long gap is missing time, never bridged."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import CalculationError

NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class Integral:
    """Integral [value x s], time it covers [ns], and the gaps it leaves out, as (from, to) [ns]."""

    total: float
    covered_ns: int
    gaps: tuple[tuple[int, int], ...]


def trapezoid(times: NDArray[np.int64], values: NDArray[np.float64], max_gap_ns: int) -> Integral:
    """Trapezoidal integral of a rate over the time its samples cover.

    Two neighbours no further apart than ``max_gap_ns`` are joined by a straight line; a longer
    stretch between two samples counts nothing and is named. The integrals of two pieces that share
    their boundary sample add up to the integral of the whole.

    Args:
        times: sample times [ns], rising.
        values: good samples of the rate [unit/s].
        max_gap_ns: longest stretch that is bridged [ns].

    Raises:
        CalculationError: lengths differ, times do not rise, or a value is no number.
    """
    if len(times) != len(values) or not np.isfinite(values).all():
        message = f"{len(times)} times and {len(values)} values: as many finite values are right"
        raise CalculationError(message)
    steps = np.diff(times)
    if len(steps) and steps.min() <= 0:
        message = "sample times must rise"
        raise CalculationError(message)
    joined = steps <= max_gap_ns
    means = (values[1:] + values[:-1]) / 2
    total = float(np.sum(means[joined] * (steps[joined] / NS_PER_S)))
    places = np.flatnonzero(~joined)
    gaps = tuple((int(times[place]), int(times[place + 1])) for place in places)
    return Integral(total, int(steps[joined].sum()), gaps)

"""Judging samples: what is out of range or frozen is missing, never zero."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class StuckState:
    """Since when [ns] a signal has shown exactly ``value``."""

    value: float = float("nan")
    since_ns: int = 0


def in_range(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    """Which values are finite and within the instrument's range, both ends included."""
    with np.errstate(invalid="ignore"):
        return (values >= low) & (values <= high)


def moving(
    times: NDArray[np.int64], values: NDArray[np.float64], limit_ns: int, state: StuckState
) -> NDArray[np.bool_]:
    """Which samples do not belong to a frozen signal.

    A signal is frozen from ``limit_ns`` after the first of a run of exactly equal values on.
    The state carries the run across calls, so pieces give the same answer as the whole.

    Args:
        times: ns, rising, shape [n].
        values: finite, shape [n].
        limit_ns: how long equal values may last [ns].
        state: the run so far; updated.
    """
    if len(values) == 0:
        return np.ones(0, dtype=np.bool_)
    change = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = np.concatenate(([0], change))
    run_since = times[starts].copy()
    if values[0] == state.value:
        run_since[0] = state.since_ns
    lengths = np.diff(np.append(starts, len(values)))
    since = np.repeat(run_since, lengths)
    state.value, state.since_ns = float(values[-1]), int(run_since[-1])
    return np.asarray(times - since < limit_ns, dtype=np.bool_)

"""Judging samples (vectors): the one place that says how far a value may be trusted, and why.

What is out of range, jumps, or is frozen is bad: missing, never zero. Rules, the first that applies
gives the reason, the worst severity wins:

    Q1  the device itself called the value bad                    BAD, the device's reason
    Q2  the instrument is in maintenance                          BAD MAINTENANCE
    Q3  outside the instrument's range                            BAD RANGE
    Q4  changes faster than the quantity can                      BAD RATE
    Q5  exactly the same for longer than the quantity can be      BAD STUCK
    Q6  the device called it uncertain                            UNCERTAIN, the device's reason
    Q7  the instrument's calibration has lapsed                   UNCERTAIN CALIBRATION
"""

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.rules import (
    BAD_MAINTENANCE,
    BAD_RATE,
    UNCERTAIN_CALIBRATION,
    JudgeState,
    Rules,
    StuckState,
)
from edge_agent.readings import BAD_RANGE, BAD_STUCK, GOOD, Severity

_NS_PER_S = 1_000_000_000
_FIRST_BAD = int(Severity.BAD) * 16
_AFTER_BAD = int(Severity.SUBSTITUTED) * 16


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


def judge(
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    given: NDArray[np.int64],
    in_maintenance: NDArray[np.bool_] | None,
    rules: Rules,
    state: JudgeState,
) -> NDArray[np.int64]:
    """The quality of each sample, as the integer that travels.

    Args:
        times: ns, rising, shape [n].
        values: NaN where there is none, shape [n].
        given: quality that came with each sample.
        in_maintenance: which samples fell into maintenance, None for no maintenance flag.
        rules: what is plausible.
        state: carries runs of equal values and the last plausible value; updated.
    """
    quality = given.copy()
    if in_maintenance is not None:
        quality[in_maintenance & ~_is_bad(quality)] = BAD_MAINTENANCE
    quality[~in_range(values, rules.low, rules.high) & ~_is_bad(quality)] = BAD_RANGE
    if rules.max_rate_per_s is not None:
        fit = np.flatnonzero(~_is_bad(quality))
        steady = steady_changes(times[fit], values[fit], rules.max_rate_per_s, state)
        quality[fit[~steady]] = BAD_RATE
    if rules.stuck_ns is not None:
        fit = np.flatnonzero(~_is_bad(quality))
        alive = moving(times[fit], values[fit], rules.stuck_ns, state.stuck)
        quality[fit[~alive]] = BAD_STUCK
    if rules.lapses_ns is not None:
        quality[(times >= rules.lapses_ns) & (quality == GOOD)] = UNCERTAIN_CALIBRATION
    return quality


def steady_changes(
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    max_rate_per_s: float,
    state: JudgeState,
) -> NDArray[np.bool_]:
    """Which samples differ from the last plausible one by no more than the rate allows.

    A spike is bad and what follows it is not; a true step is plausible again as soon as enough time
    has passed for it. Values are finite.
    """
    steady = np.ones(len(values), dtype=np.bool_)
    if len(values) == 0:
        return steady
    if state.last_ns >= 0:
        all_times = np.concatenate(([state.last_ns], times))
        all_values = np.concatenate(([state.last_value], values))
    else:
        all_times, all_values = times, values
    allowed = np.diff(all_times) * (max_rate_per_s / _NS_PER_S)
    if np.any(np.abs(np.diff(all_values)) > allowed):
        last_ns, last = int(all_times[0]), float(all_values[0])
        for place, (time_ns, value) in enumerate(zip(times.tolist(), values.tolist(), strict=True)):
            if abs(value - last) <= (time_ns - last_ns) * (max_rate_per_s / _NS_PER_S):
                last_ns, last = time_ns, value
            else:
                steady[place] = False
        state.last_ns, state.last_value = last_ns, last
    else:
        state.last_ns, state.last_value = int(times[-1]), float(values[-1])
    return steady


def _is_bad(quality: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (quality >= _FIRST_BAD) & (quality < _AFTER_BAD)


def is_usable(quality: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which qualities are not bad."""
    return ~_is_bad(quality)

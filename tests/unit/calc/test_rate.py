"""Rates to hourly amounts: by hand, against numpy's sum over the whole, and for any split."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calc.rate import RateIntegrator

S = 10**9
H = 3600 * S


def sums(integrator):
    return {start: (hour.amount, hour.covered_s) for start, hour in integrator.hours.items()}


def test_a_constant_rate_gives_rate_times_hours():
    integrator = RateIntegrator(600)
    integrator.feed((step * 300 * S, 12.0) for step in range(25))
    assert sums(integrator) == {0: (12.0, 3600.0), H: (12.0, 3600.0)}


def test_a_ramp_is_cut_at_the_hour_s_edge():
    integrator = RateIntegrator(7200)
    integrator.feed([(0, 0.0), (2 * H, 8.0)])
    assert sums(integrator) == {0: (2.0, 3600.0), H: (6.0, 3600.0)}


def test_a_gap_beyond_the_longest_is_missing_time_and_not_bridged():
    integrator = RateIntegrator(300)
    integrator.feed([(0, 6.0), (300 * S, 6.0), (601 * S, 6.0), (900 * S, 6.0)])
    ((amount, covered),) = sums(integrator).values()
    assert covered == 599
    assert amount == pytest.approx(6.0 * 599 / 3600)


def test_an_hour_is_closed_only_when_nothing_can_be_added_to_it():
    integrator = RateIntegrator(300)
    integrator.feed([(H - 400 * S, 6.0), (H - 200 * S, 6.0)])
    assert integrator.closed(H) == []
    integrator.feed([(H + 50 * S, 6.0)])
    ((start, hour),) = integrator.closed(H + 60 * S)
    assert (start, hour.covered_s) == (0, 400.0)


def test_an_hour_without_a_successor_is_closed_after_the_longest_gap():
    integrator = RateIntegrator(300)
    integrator.feed([(H - 400 * S, 6.0), (H - 200 * S, 6.0)])
    assert integrator.closed(H + 299 * S) == []
    assert len(integrator.closed(H + 300 * S)) == 1


SAMPLES = st.lists(st.tuples(st.integers(1, 900), st.floats(0, 1e4)), min_size=2, max_size=120)


def series(steps):
    times = np.cumsum([step for step, _ in steps]) * S
    return list(zip(times.tolist(), [value for _, value in steps], strict=True))


@given(SAMPLES, st.lists(st.integers(0, 120), max_size=6), st.booleans())
def test_any_split_and_any_restart_gives_the_same_bits_as_the_whole(steps, cuts, restart):
    samples = series(steps)
    whole = RateIntegrator(600)
    whole.feed(samples)
    expected = dict(whole.closed(10**18))
    split, found = RateIntegrator(600), {}
    edges = [0, *sorted(min(cut, len(samples)) for cut in cuts), len(samples)]
    for low, high in itertools.pairwise(edges):
        split.feed(samples[low:high])
        if high:
            done = split.closed(samples[high - 1][0] + 1)
            assert not found.keys() & dict(done).keys()
            found |= dict(done)
        if restart:
            again = RateIntegrator(600)
            again.restore(split.dump())
            split = again
    found |= dict(split.closed(10**18))
    assert found == expected


@given(SAMPLES)
def test_the_hours_add_up_to_the_sum_over_the_whole(steps):
    samples = series(steps)
    integrator = RateIntegrator(600)
    integrator.feed(samples)
    times = np.array([time for time, _ in samples])
    values = np.array([x for _, x in samples])
    seconds = np.diff(times) / S
    joined = seconds <= 600
    total = float(np.sum(((values[1:] + values[:-1]) / 2 * seconds)[joined]))
    covered_s = float(seconds[joined].sum())
    hours = integrator.hours.values()
    assert sum(hour.amount for hour in hours) * 3600 == pytest.approx(total, rel=1e-9, abs=1e-6)
    assert sum(hour.covered_s for hour in hours) * S == pytest.approx(covered_s * S, rel=1e-9)

"""Many pots fed together give exactly what each detector gives alone; frozen values; blocks."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.detector_state import DetectorSettings, DetectorState
from edge_agent.calc.pot_block import PotBlock, StuckPots
from edge_agent.calc.pot_group import PotGroup

NS = 10**9
T0 = 1_767_196_800 * NS - 100 * NS  # a hundred seconds before an hour
FIXED = DetectorSettings(v_target=4.25, t_out_s=20.0)
LEARNT = DetectorSettings(t_out_s=20.0)
NARROW = replace(LEARNT, outage_in_service=False, max_hold_s=2.0, max_bridge_s=60.0)
VOLTS = [4.25, 4.25, 4.3, 4.41, 0.25, 1.0, 1.5, 6.75, 7.0, 7.5, 8.0, 28.5]

pot_runs = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.sampled_from([0.25, 1, 1, 1, 1, 2, 5, 5.5, 12, 100]),
        st.sampled_from(VOLTS),
        st.sampled_from([True] * 9 + [False]),
    ),
    max_size=8,
)
lines = st.lists(pot_runs, min_size=1, max_size=6)


def samples(runs):
    """Times, voltages and current of one pot; a small ripple keeps sums from being trivial."""
    times, volts, on, at = [], [], [], T0
    for count, period_s, volt, flowing in runs:
        for n in range(count):
            times.append(at)
            volts.append(volt + 0.0001 * (n % 7) if volt == 4.3 else volt)
            on.append(flowing)
            at += round(period_s * NS)
    return np.array(times, np.int64), np.array(volts, np.float64), np.array(on, np.bool_)


def pieces(signals, cuts):
    """Blocks of all pots between moments."""
    edges = [0, *sorted(T0 + cut * NS for cut in cuts), 2**62]
    for begin, end in itertools.pairwise(edges):
        parts = []
        for times, volts, on in signals:
            inside = (times >= begin) & (times < end)
            parts.append((times[inside], volts[inside], on[inside]))
        flowing = np.concatenate([on for _, _, on in parts])
        yield parts, PotBlock.joined([(times, volts) for times, volts, _ in parts]), flowing


@pytest.mark.parametrize("rules", [FIXED, LEARNT, NARROW], ids=["fixed", "learnt", "narrow"])
@settings(max_examples=70)
@given(
    line=lines,
    cuts=st.lists(st.integers(0, 400), max_size=6),
    known=st.sets(st.integers(0, 5)),
    away=st.sets(st.integers(0, 5)),
)
def test_pots_fed_together_are_as_if_fed_alone(rules, line, cuts, known, away):
    signals = [samples(runs) for runs in line]
    one, two = ([PotDetector(f"p{n}", rules) for n in range(len(line))] for _ in range(2))
    for detectors in (one, two):
        for place in known | away:
            if place < len(line):
                detectors[place].set_circuit(T0, in_circuit=place not in away)
    group = PotGroup(one, rules)
    for parts, block, on in pieces(signals, cuts):
        group.feed(block, on)
        for detector, part in zip(two, parts, strict=True):
            for time_ns, volt, flowing in zip(*(item.tolist() for item in part), strict=True):
                detector.step(time_ns, volt, flowing=flowing)
    for a, b in zip(one, two, strict=True):
        assert a.outputs() == b.outputs()
        assert a.state == b.state


@settings(max_examples=40)
@given(line=lines, cuts=st.lists(st.integers(0, 400), max_size=6))
def test_pots_stored_and_loaded_between_blocks_are_as_if_never_stopped(line, cuts):
    signals = [samples(runs) for runs in line]
    whole = [PotDetector(f"p{n}", LEARNT) for n in range(len(line))]
    PotGroup(whole, LEARNT).feed(*next(iter(pieces(signals, [])))[1:])
    stopped = [PotDetector(f"p{n}", LEARNT) for n in range(len(line))]
    outputs = [[] for _ in line]
    for _, block, on in pieces(signals, cuts):
        PotGroup(stopped, LEARNT).feed(block, on)
        for place, detector in enumerate(stopped):
            outputs[place] += detector.outputs()
            stored = json.loads(json.dumps(detector.state.dump()))
            stopped[place] = PotDetector(detector.pot, LEARNT, DetectorState.load(stored))
    assert outputs == [list(detector.outputs()) for detector in whole]
    assert [each.state for each in stopped] == [each.state for each in whole]


def test_pots_that_are_to_be_fed_alone_are_left_out():
    detectors = [PotDetector(f"p{n}", FIXED) for n in range(2)]
    times = np.arange(100, dtype=np.int64) * NS + T0
    block = PotBlock.even(times, np.full((2, 100), 4.25))
    PotGroup(detectors, FIXED).feed(block, np.ones(200, dtype=np.bool_), alone=[1])
    assert detectors[0].state.last_ns == times[-1]
    assert detectors[1].state.last_ns is None


def test_an_empty_block_changes_nothing():
    detector = PotDetector("p0", FIXED)
    empty = np.empty(0, dtype=np.int64)
    block = PotBlock.joined([(empty, empty.astype(np.float64))])
    PotGroup([detector], FIXED).feed(block, empty.astype(np.bool_))
    assert detector.state == DetectorState()


# -- frozen values ---------------------------------------------------------------------------


def frozen_by_definition(times, volts, limit_ns):
    """A sample is frozen once the run of equal values it belongs to has lasted the limit."""
    good, since = [], None
    for place, (time_ns, volt) in enumerate(zip(times, volts, strict=True)):
        if place == 0 or volt != volts[place - 1]:
            since = time_ns
        good.append(time_ns - since < limit_ns)
    return good


@given(
    line=st.lists(
        st.lists(st.sampled_from([4.0, 4.0, 4.0, 4.5]), max_size=40), min_size=1, max_size=4
    ),
    cuts=st.lists(st.integers(0, 40), max_size=4),
)
def test_frozen_values_are_found_in_any_pieces(line, cuts):
    limit = 5 * NS
    signals = [(np.arange(len(v), dtype=np.int64) * NS, np.array(v, np.float64)) for v in line]
    stuck = StuckPots.none(len(line))
    found = [[] for _ in line]
    edges = [0, *sorted(cuts), 100]
    for begin, end in itertools.pairwise(edges):
        block = PotBlock.joined([(t[begin:end], v[begin:end]) for t, v in signals])
        good = stuck.moving(block, limit)
        for place in range(len(line)):
            found[place] += good[block.bounds[place] : block.bounds[place + 1]].tolist()
    assert found == [frozen_by_definition(t.tolist(), v.tolist(), limit) for t, v in signals]


def test_a_block_keeps_its_bounds_when_samples_are_taken_out():
    block = PotBlock.even(np.arange(3, dtype=np.int64), np.array([[1.0, 2, 3], [4, 5, 6]]))
    kept = block.keep(np.array([True, False, True, False, False, False]))
    assert (kept.times.tolist(), kept.volts.tolist()) == ([0, 2], [1, 3])
    assert kept.bounds.tolist() == [0, 2, 2]
    assert kept.filled.tolist() == [0]

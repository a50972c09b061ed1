"""A line's effects and hours are the same to the last bit however its samples come in pieces."""

import itertools
import random
from dataclasses import replace

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.calc.detector_state import DetectorSettings
from edge_agent.calc.line_detector import LineDetector, LineRules, StatusChange
from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.recompute import Piece, recompute

NS = 10**9
T0 = 1_767_196_800 * NS - 150 * NS  # two and a half minutes before an hour
SHORT = DetectorSettings(t_out_s=20.0, max_bridge_s=80.0, reoccur_s=30.0, jump_pots=2)
LONG = DetectorSettings(t_out_s=20.0, v_target=None)

run = st.tuples(
    st.integers(1, 60),
    st.sampled_from([0.5, 1, 1, 1, 1, 3, 6, 45, 130]),
    st.sampled_from([0.2, 1.2, 4.1, 4.1, 4.1, 4.1, 6.9, 7.6, 8.0, 8.3, 29.1, 200.0]),
)
status = st.tuples(st.integers(0, 500), st.sampled_from(["in", "out", "starting"]))
pots = st.lists(
    st.tuples(st.lists(run, max_size=7), st.lists(status, max_size=2)), min_size=1, max_size=4
)
currents = st.lists(
    st.tuples(st.integers(1, 200), st.sampled_from([300.0] * 4 + [0.0])), min_size=1, max_size=4
)


class Plant:
    """Stored samples of a line: noisy voltages, a current, status changes."""

    def __init__(self, of_pots, of_current, seed):
        rng = np.random.default_rng(seed)
        self.names = [f"pot{n:03d}" for n in range(len(of_pots))]
        self.signals = [_signal(runs, rng) for runs, _ in of_pots]
        self.changes = {
            name: [
                StatusChange(T0 + second * NS, kind != "out", kind == "starting")
                for second, kind in sorted(dict(some).items())
            ]
            for name, (_, some) in zip(self.names, of_pots, strict=True)
        }
        values = [level for seconds, level in of_current for _ in range(seconds)]
        self.current = np.array(values) * (1 + 0.003 * rng.standard_normal(len(values)))
        self.current_times = T0 + np.arange(len(values), dtype=np.int64) * NS
        ends = [times[-1] for times, _ in self.signals if len(times)]
        self.end_ns = int(max([*ends, T0 + 500 * NS])) + NS

    def pieces(self, cuts):
        edges = sorted({T0, self.end_ns, *(T0 + cut * NS // 4 for cut in cuts)})
        edges = [edge for edge in edges if edge <= self.end_ns]
        for begin, end in itertools.pairwise(edges):
            parts = [_cut(times, volts, begin, end) for times, volts in self.signals]
            changes = {
                name: [change for change in some if begin <= change.time_ns < end]
                for name, some in self.changes.items()
            }
            current = _cut(self.current_times, self.current, begin, end)
            yield Piece(PotBlock.joined(parts), *current, end, changes)


def _signal(runs, rng):
    times, volts, at = [], [], T0
    for count, period_s, volt in runs:
        for _ in range(count):
            times.append(at)
            volts.append(volt + 0.01 * rng.standard_normal() * (volt > 1.5))
            at += round(period_s * NS)
    return np.array(times, np.int64), np.array(volts, np.float64)


def _cut(times, values, begin, end):
    first, last = np.searchsorted(times, (begin, end))
    return times[first:last], values[first:last]


def books(results):
    results = list(results)
    outputs = sorted(repr(item) for result in results for item in result.outputs)
    hours = [item for result in results for item in result.hours]
    keys = [(pot, at) for pot, at, _ in hours]
    assert len(keys) == len(set(keys)), "an hour was given twice"
    empty = {"observed_ns": 0, "out_ns": 0, "effect_ns": 0}
    return outputs, {
        (pot, at): sums
        for pot, at, sums in hours
        if any(getattr(sums, name) != value for name, value in empty.items())
    }


def streamed(plant, rules, cuts, restarts):
    """The same through a detector that is stored, thrown away and loaded now and then."""
    line = LineDetector(plant.names, rules)
    outputs, hours = [], []
    for number, piece in enumerate(plant.pieces(cuts)):
        line.add_current(piece.current_times, piece.current_ka)
        line.feed(piece.volts, piece.changes)
        outputs += line.settle(piece.end_ns)
        hours += line.take_hours(piece.end_ns)
        if number in restarts:
            stored = cbor2.dumps(line.dump())
            line = LineDetector(plant.names, rules)
            line.restore(cbor2.loads(stored))
    outputs += line.finish(plant.end_ns)
    hours += line.take_rest()

    class Result:
        pass

    Result.outputs, Result.hours = outputs, hours
    return [Result]


@pytest.mark.parametrize("detector", [SHORT, LONG], ids=["short", "long"])
@settings(max_examples=60, deadline=None)
@given(
    of_pots=pots,
    of_current=currents,
    seed=st.integers(0, 2**32),
    cuts=st.lists(st.integers(1, 4_000), max_size=12),
    restarts=st.sets(st.integers(0, 12)),
)
def test_effects_gaps_and_hours_are_the_same_in_any_pieces_with_any_restarts(
    detector, of_pots, of_current, seed, cuts, restarts
):
    rules = LineRules(detector, off_below_ka=30.0, stuck_s=40.0)
    plant = Plant(of_pots, of_current, seed)
    whole = books(recompute(plant.names, rules, plant.pieces(())))
    assert books(recompute(plant.names, rules, plant.pieces(cuts))) == whole
    assert books(streamed(plant, rules, cuts, restarts)) == whole


def busy(seed, seconds=3_000, pots_=5):
    """Drifting, noisy pots with an effect each; long enough for targets to move on."""
    rng = np.random.default_rng(seed)
    drift = np.cumsum(0.002 * rng.standard_normal((pots_, seconds)), axis=1)
    volts = 4.2 + drift + 0.02 * rng.standard_normal((pots_, seconds))
    for pot in range(pots_):
        at = int(rng.integers(1_500, 2_500))
        volts[pot, at : at + 90] = 28 + 2 * rng.standard_normal(90)
    times = T0 + np.arange(seconds, dtype=np.int64) * NS
    return times, volts, 300 + rng.standard_normal(seconds)


def test_targets_that_drift_over_an_hour_are_the_same_in_any_pieces():
    times, volts, current = busy(3)
    names = [f"pot{n}" for n in range(len(volts))]
    rules = LineRules(DetectorSettings())

    def run(edges):
        pieces = [
            Piece(
                PotBlock.even(times[a:b], np.ascontiguousarray(volts[:, a:b])),
                times[a:b],
                current[a:b],
                int(times[b - 1]) + NS,
            )
            for a, b in itertools.pairwise([0, *edges, len(times)])
        ]
        return books(recompute(names, rules, pieces))

    whole = run([])
    assert len([item for item in whole[0] if item.startswith("AnodeEffect")]) == len(names)
    rng = random.Random(4)
    for count in (1, 7, 49, 300):
        assert run(sorted(rng.sample(range(1, len(times)), count))) == whole
    assert run(range(1, len(times), 2)) == whole


def test_an_hour_with_an_effect_in_silence_waits_until_its_end_is_known():
    """The silence spans the hour; its sums must not go to the next one."""
    seconds = np.concatenate([np.arange(0, 140), np.arange(600, 900)])
    times = T0 + seconds * NS
    volts = np.where((seconds >= 100) & (seconds < 700), 28.5, 4.25) + 0.001 * (seconds % 3)
    line = LineDetector(["pot"], LineRules(replace(LONG, v_target=4.25)))
    line.feed(PotBlock.joined([(times[:140], volts[:140])]))
    line.settle(T0 + 590 * NS)
    assert not list(line.take_hours(T0 + 590 * NS))
    line.feed(PotBlock.joined([(times[140:], volts[140:])]))
    line.settle(int(times[-1]))
    (first,) = [(at, sums) for _, at, sums in line.take_hours(int(times[-1]))]
    assert first[0] == T0 + 150 * NS - 3_600 * NS
    assert first[1].effect_ns == 50 * NS
    (second,) = [sums for _, _, sums in line.take_rest()]
    assert second.effect_ns == 550 * NS

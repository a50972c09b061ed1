"""Properties of the anode-effect detector, on any signal."""

import copy
import itertools
import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.detector_state import DetectorSettings, DetectorState, Gap, Started
from edge_agent.pipeline.buffers import SignalBuffer
from edge_agent.readings import AnodeEffect, Quality, Reason, Sample, Severity, Waveform

NS = 10**9
HOUR_NS = 3600 * NS
T0 = 1_767_196_800 * NS - 40 * NS  # forty seconds before an hour
FIXED = DetectorSettings(v_target=4.25)
LEARNT = DetectorSettings(v_target=None, t_out_s=20.0)
VOLTS = [0.25, 1.0, 1.5, 4.25, 4.5, 6.75, 7.0, 7.5, 8.0, 8.25, 28.5]

run = st.tuples(
    st.integers(1, 25),
    st.sampled_from([0.25, 1, 1, 1, 2, 5, 5.5, 12, 100]),
    st.sampled_from(VOLTS),
    st.sampled_from([True] * 9 + [False]),
)


@st.composite
def signals(draw, runs=run, most=12):
    """Times [ns], voltages and whether the current flows; voltages are exact in binary."""
    times, volts, on = [], [], []
    at = T0
    for count, period_s, volt, flowing in draw(st.lists(runs, min_size=1, max_size=most)):
        for _ in range(count):
            times.append(at)
            volts.append(volt)
            on.append(flowing)
            at += round(period_s * NS)
    return np.array(times, np.int64), np.array(volts), np.array(on, np.bool_)


def detect(signal, rules=FIXED, cuts=()):
    """Outputs and detector after a signal that is fed in pieces."""
    detector = PotDetector("pot", rules)
    for part in zip(*(np.split(item, sorted(cuts)) for item in signal), strict=True):
        detector.feed(*part)
    detector.advance(int(signal[0][-1]) + 3 * NS)
    return list(detector.outputs()), detector


def effects(outputs, detector):
    still_open = detector.open_effect()
    ended = [item for item in outputs if isinstance(item, AnodeEffect)]
    return [*ended, *([still_open] if still_open else [])]


def totals(detector):
    windows = copy.deepcopy(detector.state.windows)
    sums = [item for _, item in windows.take_hours(2**62)]
    return {
        name: sum(getattr(item, name) for item in sums)
        for name in ("observed_ns", "out_ns", "effect_ns", "effects")
    }


@pytest.mark.parametrize("rules", [FIXED, LEARNT], ids=["fixed target", "learnt target"])
@given(signal=signals(), data=st.data())
def test_the_result_does_not_depend_on_the_cuts(signal, data, rules):
    cuts = data.draw(st.lists(st.integers(0, len(signal[0])), max_size=8))
    whole, by_steps = detect(signal, rules), detect(signal, rules, range(1, len(signal[0])))
    pieces = detect(signal, rules, cuts)
    assert whole[0] == by_steps[0] == pieces[0]
    assert whole[1].state == by_steps[1].state == pieces[1].state


@given(signal=signals(), seed=st.integers(0, 2**32))
def test_the_result_does_not_depend_on_order_and_duplicates(signal, seed):
    times, volts, on = signal
    rng = random.Random(seed)
    order = list(range(len(times))) + [rng.randrange(len(times)) for _ in range(10)]
    rng.shuffle(order)
    buffer = SignalBuffer()
    for place in order:
        buffer.add(Sample("v", int(times[place]), float(volts[place])))
        if rng.random() < 0.2:  # a lower value of the same time never wins
            buffer.add(Sample("v", int(times[place]), float(volts[place]) - 0.125))
    taken = buffer.take(2**62)
    assert taken[0].tolist() == times.tolist()
    assert detect((*taken, on))[0] == detect(signal)[0]


@given(signal=signals(), data=st.data())
def test_storing_and_loading_in_the_middle_changes_nothing(signal, data):
    cut = data.draw(st.integers(0, len(signal[0])))
    detector = PotDetector("pot", LEARNT)
    detector.feed(*(item[:cut] for item in signal))
    before = list(detector.outputs())
    stored = json.loads(json.dumps(detector.state.dump()))
    detector = PotDetector("pot", LEARNT, DetectorState.load(stored))
    detector.feed(*(item[cut:] for item in signal))
    detector.advance(int(signal[0][-1]) + 3 * NS)
    outputs, whole = detect(signal, LEARNT)
    assert before + list(detector.outputs()) == outputs
    assert detector.state == whole.state


@given(signal=signals())
def test_net_time_is_within_gross_time_and_estimates_are_within_gross(signal):
    for effect in effects(*detect(signal)):
        assert 0 <= effect.above_threshold_s <= effect.gross_s
        assert 0 <= effect.estimated_s <= effect.gross_s
        assert effect.overvoltage_algebraic_v_s <= effect.overvoltage_v_s
        assert effect.peak_v >= FIXED.v_on
        assert effect.end_ns is not None
        assert effect.gross_s == (effect.end_ns - effect.start_ns) / NS


@given(signal=signals())
def test_the_hours_sums_are_those_of_the_effects(signal):
    outputs, detector = detect(signal)
    found = effects(outputs, detector)
    sums = totals(detector)
    assert sums["effect_ns"] == round(sum(item.above_threshold_s for item in found) * NS)
    assert sums["effects"] == detector.state.group == len({item.group for item in found})
    minutes = detector.state.windows.take_minutes(2**62)
    assert sum(effect_ns for _, effect_ns in minutes) == sums["effect_ns"]


@given(signal=signals())
def test_every_moment_is_observed_out_or_a_gap_and_nothing_is_counted_twice(signal):
    outputs, detector = detect(signal)
    sums = totals(detector)
    state = detector.state
    undecided = sum(end - start for start, end, _ in state.pending) if state.phase == "low" else 0
    gaps = sum(item.end_ns - item.start_ns for item in outputs if isinstance(item, Gap))
    span = state.last_ns - T0
    assert span - gaps <= sums["observed_ns"] + sums["out_ns"] + undecided <= span
    assert sums["effect_ns"] <= sums["observed_ns"] + sum(
        item.end_ns - item.start_ns for item in outputs if isinstance(item, Gap)
    )


@given(signal=signals())
def test_effect_time_lies_within_observed_time(signal):
    """AEM can never exceed 1440 minutes a cell-day."""
    sums = totals(detect(signal)[1])
    assert sums["effect_ns"] <= sums["observed_ns"]


@given(signal=signals(), reoccur=st.sampled_from([0.0, 10.0, 100.0, 1e6]))
def test_effect_minutes_do_not_depend_on_the_distance_of_re_strikes(signal, reoccur):
    first, second = detect(signal), detect(signal, replace(FIXED, reoccur_s=reoccur))
    one, two = totals(first[1]), totals(second[1])
    assert (one["effect_ns"], one["observed_ns"]) == (two["effect_ns"], two["observed_ns"])
    assert len(effects(*first)) == len(effects(*second))
    if reoccur <= FIXED.reoccur_s:
        assert one["effects"] <= two["effects"]


@given(
    signal=signals(),
    levels=st.lists(st.sampled_from([7.0, 7.25, 8.0, 8.25, 9.0, 30.0]), min_size=2, max_size=2),
)
def test_a_higher_start_level_never_gives_more_net_time(signal, levels):
    """Holds for every signal while both levels share one v_off at or below them.

    Every run that confirms at the higher level lies in one that confirms at the lower level, no
    later; from there on both effects close by the same rule.
    """
    low, high = sorted(levels)
    net_low, net_high = (
        totals(detect(signal, replace(FIXED, v_on=level))[1])["effect_ns"] for level in (low, high)
    )
    assert net_high <= net_low


def test_a_higher_end_level_may_give_more_effects_but_never_more_net_time():
    """v_off is not v_on: a plateau between the levels keeps an effect open, without net time."""
    volts = [4.25] * 3 + [28.5] * 5 + [7.5] * 30 + [28.5] * 5 + [4.25] * 30
    times = np.arange(len(volts), dtype=np.int64) * NS + T0
    signal = (times, np.array(volts), np.ones(len(volts), dtype=np.bool_))
    low, high = detect(signal), detect(signal, replace(FIXED, v_off=8.0))
    assert [item.gross_s for item in effects(*low)] == [40]
    assert [item.gross_s for item in effects(*high)] == [5, 5]
    assert totals(low[1])["effect_ns"] == totals(high[1])["effect_ns"] == 10 * NS


@settings(max_examples=60)
@given(signal=signals(), data=st.data())
def test_sums_taken_in_parts_add_up_to_the_sums_of_the_whole(signal, data):
    """Additive over splits of time, whenever the hours are taken."""
    times, volts, on = signal
    detector = PotDetector("pot", FIXED)
    taken = []
    cuts = sorted(data.draw(st.sets(st.integers(1, len(times)), max_size=6)))
    for done, cut in itertools.pairwise([0, *cuts, len(times)]):
        detector.feed(times[done:cut], volts[done:cut], on[done:cut])
        if cut:
            taken += detector.state.windows.take_hours(int(times[cut - 1]) - FIXED.settle_ns)
    detector.advance(int(times[-1]) + 3 * NS)
    taken += detector.state.windows.take_hours(2**62)
    assert len({start for start, _ in taken}) == len(taken)
    whole = totals(detect(signal)[1])
    for name, expected in whole.items():
        assert sum(getattr(sums, name) for _, sums in taken) == expected


@given(signal=signals(runs=run.filter(lambda r: r[1] <= 5)))
def test_hours_of_a_signal_without_gaps_can_be_taken_as_soon_as_they_settled(signal):
    detector = PotDetector("pot", FIXED)
    taken = []
    for place in range(len(signal[0])):
        detector.feed(*(item[place : place + 1] for item in signal))
        taken += detector.state.windows.take_hours(int(signal[0][place]) - FIXED.settle_ns)
    detector.advance(int(signal[0][-1]) + 3 * NS)
    taken += detector.state.windows.take_hours(2**62)
    whole = detect(signal)[1].state.windows.take_hours(2**62)
    merged = {start: sums for start, sums in whole if sums.observed_ns or sums.out_ns}
    assert {start: sums for start, sums in taken if sums.observed_ns or sums.out_ns} == merged


@given(signal=signals(), data=st.data())
def test_a_confirmed_effect_is_announced_once_at_the_sample_that_confirms_it(signal, data):
    detector = PotDetector("pot", FIXED)
    started = []
    for time_ns, volt, on in zip(*(item.tolist() for item in signal), strict=True):
        detector.step(time_ns, volt, flowing=on)
        for item in detector.outputs():
            if isinstance(item, Started):
                assert volt >= FIXED.v_on
                assert time_ns - item.start_ns >= FIXED.t_on_ns
                started.append(item.start_ns)
    assert started == sorted(set(started))
    assert started == [item.start_ns for item in effects(*detect(signal))]


@given(
    st.lists(st.floats(3.9, 4.6), min_size=20, max_size=200),
    st.lists(st.integers(1, 199), max_size=4),
)
def test_a_learnt_target_is_the_same_to_rounding_however_samples_are_cut(volts, cuts):
    signal = (
        np.arange(len(volts) + 5, dtype=np.int64) * NS + T0,
        np.array([*volts, *[28.5] * 5]),
        np.ones(len(volts) + 5, dtype=np.bool_),
    )
    results = []
    for some in ((), [cut for cut in cuts if cut < len(volts)], range(1, len(volts))):
        outputs, detector = detect(signal, LEARNT, some)
        (effect,) = effects(outputs, detector)
        results.append(effect.overvoltage_v_s)
    assert all(math.isclose(results[0], other, rel_tol=1e-12) for other in results[1:])


# -- rules one by one -------------------------------------------------------------------------


def signal_of(*parts):
    """Samples of one a second from (count, voltage) parts; a voltage of None is silence."""
    times, volts, at = [], [], T0
    for count, volt in parts:
        if volt is not None:
            times += [at + n * NS for n in range(count)]
            volts += [volt] * count
        at += count * NS
    return np.array(times, np.int64), np.array(volts), np.ones(len(times), dtype=np.bool_)


def test_voltage_at_exactly_the_start_level_counts_and_just_below_does_not():
    assert len(effects(*detect(signal_of((5, 4.25), (3, 8.0), (20, 4.25))))) == 1
    just = math.nextafter(8.0, 0)
    assert not effects(*detect(signal_of((5, 4.25), (30, just), (20, 4.25))))


def test_voltage_at_exactly_the_end_level_keeps_the_effect_open():
    (effect,) = effects(*detect(signal_of((5, 4.25), (5, 28.5), (20, 7.0), (20, 4.25))))
    assert (effect.gross_s, effect.above_threshold_s, effect.end_reason) == (25, 5, "normal")


def test_a_pot_without_status_is_out_of_circuit_since_its_first_low_sample():
    outputs, detector = detect(signal_of((10, 4.25), (61, 0.25), (100, 0.25), (10, 4.25)))
    sums = totals(detector)
    assert sums["out_ns"] == 161 * NS
    assert sums["observed_ns"] == 22 * NS
    assert not outputs


def test_a_pot_that_is_low_for_less_than_the_limit_stays_in_circuit():
    sums = totals(detect(signal_of((10, 4.25), (60, 0.25), (10, 4.25)))[1])
    assert (sums["out_ns"], sums["observed_ns"]) == (0, 82 * NS)


def test_a_pot_out_of_circuit_by_status_has_no_effects_and_no_cell_time():
    detector = PotDetector("pot", FIXED)
    times, volts, on = signal_of((10, 4.25), (60, 28.5), (10, 4.25))
    detector.feed(times[:10], volts[:10], on[:10])
    detector.set_circuit(T0 + 10 * NS, in_circuit=False)
    detector.feed(times[10:70], volts[10:70], on[10:70])
    detector.set_circuit(T0 + 70 * NS, in_circuit=True)
    detector.feed(times[70:], volts[70:], on[70:])
    assert not detector.outputs()
    sums = totals(detector)
    assert (sums["observed_ns"], sums["out_ns"], sums["effects"]) == (19 * NS, 60 * NS, 0)


def test_an_effect_ends_when_its_pot_leaves_the_circuit():
    detector = PotDetector("pot", FIXED)
    detector.feed(*signal_of((10, 4.25), (30, 28.5)))
    detector.set_circuit(T0 + 40 * NS, in_circuit=False)
    _, effect = detector.outputs()
    assert (effect.end_reason, effect.gross_s, effect.above_threshold_s) == (
        "out_of_circuit",
        30,
        30,
    )


def test_silence_over_normal_time_is_neither_numerator_nor_denominator():
    outputs, detector = detect(signal_of((10, 4.25), (100, None), (10, 4.25)))
    assert outputs == [Gap("pot", T0 + (9 + 5) * NS, T0 + 110 * NS)]
    assert totals(detector)["observed_ns"] == (9 + 5 + 9 + 3) * NS


def test_silence_before_an_effect_starts_it_at_the_first_sample_seen():
    (effect,) = effects(*detect(signal_of((10, 4.25), (100, None), (30, 28.5), (20, 4.25))))
    assert (effect.start_ns, effect.estimated_s) == (T0 + 110 * NS, 0)


def test_estimated_time_enters_numerator_and_denominator_alike():
    sums = totals(detect(signal_of((10, 28.5), (50, None), (10, 28.5), (20, 4.25)))[1])
    assert sums["effect_ns"] == 70 * NS
    assert sums["observed_ns"] == 92 * NS


def test_no_effect_starts_while_the_line_has_no_current():
    times, volts, _ = signal_of((10, 4.25), (60, 28.5), (10, 4.25))
    off = np.ones(len(times), dtype=np.bool_)
    off[10:70] = False
    outputs, detector = detect((times, volts, off))
    assert not outputs
    assert totals(detector)["observed_ns"] == 82 * NS
    out = detect((times, volts, off), replace(FIXED, outage_in_service=False))[1]
    assert totals(out)["out_ns"] == 60 * NS


@pytest.mark.parametrize(
    ("pause", "groups"), [(899, 1), (900, 1), (901, 2)], ids=["before", "at", "after"]
)
def test_a_re_strike_within_the_window_is_the_same_group(pause, groups):
    outputs, detector = detect(signal_of((30, 28.5), (pause, 4.25), (30, 28.5), (20, 4.25)))
    assert [item.group for item in effects(outputs, detector)] == [1, groups]
    assert totals(detector)["effects"] == groups


def test_a_bad_sample_is_silence_not_zero():
    buffer = SignalBuffer()
    for sample in (
        Sample("v", 5, 4.25),
        Sample("v", 6, 0.0, Quality.of(Severity.BAD, Reason.DEVICE)),
        Sample("v", 7, None, Quality.of(Severity.BAD, Reason.COMMS)),
        Sample("v", 8, 0.0),
    ):
        buffer.add(sample)
    buffer.add(Waveform("v", 9, 2, np.array([1.5, math.nan])))
    times, values = buffer.take(100)
    assert times.tolist() == [5, 6, 8, 9, 11]
    assert str(values.tolist()) == "[4.25, nan, 0.0, 1.5, nan]"

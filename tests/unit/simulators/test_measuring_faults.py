"""Measuring faults hide and falsify what is published, away from everything that counts."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.measuring_faults import DELIVERY, FaultKind, MeasuringFaults, plan_faults
from simulators.physics.potline import Potline
from simulators.physics.settings import PotlineSettings

SETTINGS = PotlineSettings(
    pots=8,
    period_s=4 * 86_400,
    horizon_s=4 * 86_400,
    effects_per_pot_day=2.0,
    outages=2,
    cutout_pots=1,
    starting_pots=1,
)


def measured(block_s, seed=4):
    line_rng, fault_rng = np.random.default_rng(seed).spawn(2)
    line = Potline(SETTINGS, line_rng)
    plan = plan_faults(line, fault_rng)
    faults = MeasuringFaults(plan)
    true, shown, bad = [], [], []
    while line.now < SETTINGS.horizon_s:
        block = line.advance(block_s)
        published = faults.apply(block)
        true.append(block.voltage)
        shown.append(published.voltage)
        bad.append(published.bad)
    return line, plan, *(np.concatenate(part, axis=1) for part in (true, shown, bad))


def test_only_the_planned_seconds_are_changed():
    _, plan, true, shown, bad = measured(1_800)
    changed = np.zeros(true.shape, dtype=bool)
    for fault in plan:
        if fault.kind not in DELIVERY:
            changed[fault.pot, fault.start : fault.end] = True
    assert np.array_equal(true[~changed], shown[~changed])
    assert not bad[~changed].any()
    assert {fault.kind for fault in plan} == set(FaultKind)


@pytest.mark.parametrize("block_s", [100, 1_800])
def test_each_fault_looks_as_it_is_called(block_s):
    _, plan, _, shown, bad = measured(block_s)
    for fault in plan:
        samples = shown[fault.pot, fault.start : fault.end]
        if fault.kind is FaultKind.SPIKE:
            assert len(samples) == 1
            assert samples[0] in {np.float32(0.0), np.float32(655.35)}
        elif fault.kind is FaultKind.STUCK:
            assert 360 <= len(samples) <= 1_200
            assert len(np.unique(samples)) == 1
        elif fault.kind is FaultKind.DROPOUT:
            assert 20 <= len(samples) <= 300
            assert np.isnan(samples).all()
        elif fault.kind is FaultKind.BAD_STATUS:
            assert bad[fault.pot, fault.start]


def test_hidden_and_false_values_are_far_from_effects_outages_and_absences():
    line, plan, _, _, _ = measured(1_800)
    schedule = line.schedule
    for fault in plan:
        if fault.kind in DELIVERY:
            continue
        first, last = fault.start - 60, fault.end + 60
        own = [one for one in schedule.effects if one.pot == fault.pot]
        assert not any(one.start < last and first < one.end for one in own)
        others = (
            *schedule.outages,
            *schedule.absences[fault.pot],
            *schedule.start_ups[fault.pot],
        )
        assert not any(span.meets(first, last) for span in others)

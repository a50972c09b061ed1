"""The simulated line: same seed, same plant; and what the truth promises to a detector at 1 Hz."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from simulators.physics.potline import Potline
from simulators.physics.settings import (
    FRESH_MIN_GAP_S,
    QUIET_CEILING_V,
    RESTRIKE_MAX_GAP_S,
    PotlineSettings,
)

DAY_S = 86_400
SEEDS = (1, 2, 3, 4)


@cache
def run(seed, block_s=1_800, **changes):
    """Schedule and full trace of two lively days."""
    options = {
        "pots": 12,
        "period_s": 2 * DAY_S,
        "horizon_s": 2 * DAY_S,
        "effects_per_pot_day": 3.0,
        "outages": 2,
        "outage_effects": 1,
        "cutout_pots": 1,
        "starting_pots": 1,
    }
    settings = PotlineSettings(**(options | changes))
    line = Potline(settings, np.random.default_rng(seed))
    blocks = []
    while line.now < settings.horizon_s:
        blocks.append(line.advance(min(block_s, settings.horizon_s - line.now)))
    voltage = np.concatenate([block.voltage for block in blocks], axis=1)
    current = np.concatenate([block.current_ka for block in blocks])
    status = np.concatenate([block.status for block in blocks], axis=1)
    return line, blocks, voltage, current, status


def runs_of_true(mask):
    """(first, last + 1) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def pre_spike_mask(line, shape):
    mask = np.zeros(shape, dtype=bool)
    for effect in line.schedule.effects:
        for before, volts in effect.waveform.pre_spikes:
            first = effect.start - before
            mask[effect.pot, max(first, 0) : first + len(volts)] = True
    return mask


def effect_mask(line, shape):
    mask = np.zeros(shape, dtype=bool)
    for effect in line.schedule.effects:
        mask[effect.pot, effect.start : effect.end] = True
    return mask


def test_same_seed_same_plant_other_seed_other_plant():
    first, again = run.__wrapped__(7), run.__wrapped__(7)
    assert np.array_equal(first[2], again[2])
    assert np.array_equal(first[3], again[3])
    assert not np.array_equal(first[2], run(8)[2])


@pytest.mark.parametrize("block_s", [37, 600, 1_801])
def test_block_size_does_not_change_the_plant(block_s):
    small = {"period_s": 7_200, "horizon_s": 7_200, "outage_effects": 0}
    _, _, voltage, current, status = run(5, 1_800, **small)
    line, blocks, other_voltage, other_current, other_status = run(5, block_s, **small)
    assert np.array_equal(voltage, other_voltage)
    assert np.array_equal(current, other_current)
    assert np.array_equal(status, other_status)
    ended = [effect for block in blocks for effect in block.ended]
    assert ended == sorted(
        (one for one in line.schedule.effects if one.end <= 7_200),
        key=lambda one: (one.end, one.pot),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_effects_stay_over_8_5_v_but_for_short_dips(seed):
    line, _, voltage, _, _ = run(seed)
    assert len(line.schedule.effects) > 30
    for effect in line.schedule.effects:
        burning = voltage[effect.pot, effect.start : effect.end]
        if effect.end > voltage.shape[1]:
            continue
        assert len(burning) >= 6
        dips = runs_of_true(burning < 8.5)
        edges = [0, *(edge for dip in dips for edge in dip), len(burning)]
        above_lengths = [b - a for a, b in zip(edges[::2], edges[1::2], strict=True)]
        assert min(above_lengths) >= 3
        assert all(1 <= last - first <= 3 for first, last in dips)
        in_dips = burning[burning < 8.5]
        assert np.all((in_dips >= 4.0) & (in_dips <= 6.0))
        assert 10.0 - 1.5 <= effect.waveform.peak_v <= 80.0


@pytest.mark.parametrize("seed", SEEDS)
def test_onset_jumps_and_end_is_quiet(seed):
    line, _, voltage, _, _ = run(seed)
    for effect in line.schedule.effects:
        row = voltage[effect.pot]
        if effect.end + 12 > len(row):
            continue
        assert row[effect.start] >= 8.5
        assert np.all(row[effect.start - 12 : effect.start] < 7.0)
        assert np.all(row[effect.end : effect.end + 12] < 6.9)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_but_effects_and_short_pre_spikes_reaches_8_v(seed):
    line, _, voltage, _, _ = run(seed)
    spikes, effects = pre_spike_mask(line, voltage.shape), effect_mask(line, voltage.shape)
    assert voltage[~spikes & ~effects].max() <= QUIET_CEILING_V + 1e-4
    for pot in range(voltage.shape[0]):
        loud = runs_of_true((voltage[pot] >= 8.0) & ~effects[pot])
        assert all(last - first <= 2 for first, last in loud)
        assert all(b[0] - a[1] >= 3 for a, b in pairwise(loud))


@pytest.mark.parametrize("seed", SEEDS)
def test_effects_of_a_pot_are_clearly_restrikes_or_clearly_not(seed):
    line, _, _, _, _ = run(seed)
    restrikes = 0
    for pot in range(line.settings.pots):
        own = [one for one in line.schedule.effects if one.pot == pot]
        for earlier, later in pairwise(own):
            gap = later.start - earlier.end
            assert 60 <= gap <= RESTRIKE_MAX_GAP_S or gap >= FRESH_MIN_GAP_S
            assert later.restrike == (gap <= RESTRIKE_MAX_GAP_S)
            assert (later.group == earlier.group) == later.restrike
            restrikes += later.restrike
    assert restrikes > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_effects_keep_away_from_outages_and_absences_unless_cut(seed):
    line, _, voltage, current, _ = run(seed)
    schedule = line.schedule
    cut = [one for one in schedule.effects if one.cut_by_outage]
    assert len(cut) == 1
    assert cut[0].end in {outage.start for outage in schedule.outages}
    for effect in schedule.effects:
        for block in (*schedule.outages, *schedule.absences[effect.pot]):
            assert not block.meets(effect.start, effect.end)
            if not effect.cut_by_outage:
                assert not block.meets(effect.start, effect.end + 20)
    for outage in schedule.outages:
        assert np.all(current[outage.start : outage.end] == 0.0)
        # below the on level and the out-of-circuit level's neighbour: back-EMF, not zero
        in_line = [pot for pot in range(12) if not schedule.absences[pot]]
        emf = voltage[in_line, outage.start : outage.end]
        assert emf.min() > 0.8
        assert emf.max() < 1.9


@pytest.mark.parametrize("seed", SEEDS)
def test_pots_out_of_circuit_and_starting_pots_look_like_it(seed):
    line, _, voltage, current, status = run(seed)
    assert np.all(voltage[status == 0] <= 0.6)
    assert np.all(voltage[status == 0] >= 0.0)
    on = (status == 2) & (current > 280.0)[None, :]
    quiet = on & ~effect_mask(line, voltage.shape) & ~pre_spike_mask(line, voltage.shape)
    after = np.zeros_like(quiet)
    for effect in line.schedule.effects:
        first = effect.start - len(effect.waveform.approach)
        after[effect.pot, first : effect.end + 3_600] = True
    starting = voltage[quiet & ~after]
    assert len(starting) > 3_600
    assert 5.0 <= starting.mean() <= 7.0
    assert set(np.unique(status)) == {0, 1, 2}


def test_line_current_dips_with_an_effect_and_recovers():
    settings = PotlineSettings(pots=4, period_s=3_600, horizon_s=3_600, scheduled=((2, 1_200),))
    line = Potline(settings, np.random.default_rng(3))
    current = line.advance(3_600).current_ka
    before = current[1_100:1_190].mean()
    assert current[1_200:1_215].min() < before - 5.0
    assert [effect.start for effect in line.schedule.effects] == [1_200]


def test_impossible_schedules_are_refused():
    settings = PotlineSettings(
        pots=1, period_s=9_000, horizon_s=9_000, scheduled=((0, 1_000), (0, 1_020))
    )
    with pytest.raises(ValueError, match="cannot have an effect"):
        Potline(settings, np.random.default_rng(0))


def test_line_does_not_run_past_its_horizon():
    line = Potline(PotlineSettings(pots=1, period_s=10, horizon_s=20), np.random.default_rng(0))
    line.advance(20)
    with pytest.raises(ValueError, match="cannot run"):
        line.advance(1)


def test_rates_scatter_around_the_mean():
    counts = []
    for seed in range(12):
        settings = PotlineSettings(effects_per_pot_day=0.2)
        line = Potline(settings, np.random.default_rng(seed))
        counts.append(len(line.schedule.effects))
    per_pot_day = np.mean(counts) / (24 * 31)
    assert 0.16 < per_pot_day < 0.26

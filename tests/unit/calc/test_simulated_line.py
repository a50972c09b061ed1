"""The detector beside the simulator's truth: disturbances, spikes, dropouts, an outage.

Acceptance: every effect longer than five seconds is found, none is invented, and the net time is
within one percent at one second a sample.
"""

import numpy as np
import pytest

from edge_agent.calc.detector_state import DetectorSettings
from edge_agent.calc.line_detector import LineRules, StatusChange
from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.recompute import Piece, recompute
from edge_agent.readings import AnodeEffect
from simulators.measuring_faults import MeasuringFaults, plan_faults
from simulators.physics.potline import Potline
from simulators.physics.settings import PotlineSettings

NS = 10**9
T0 = 1_790_784_000 * NS
DAYS, POTS, BLOCK_S = 4, 24, 7_200
SETTINGS = PotlineSettings(
    pots=POTS,
    period_s=DAYS * 86_400,
    horizon_s=DAYS * 86_400,
    effects_per_pot_day=0.6,
    outages=2,
    outage_effects=1,
    cutout_pots=2,
    starting_pots=1,
)
NAMES = [f"pot{n + 1:03d}" for n in range(POTS)]


def measured(line, faults):
    """What is measured block by block, as stored samples."""
    before = np.full(POTS, -1)
    for start in range(0, SETTINGS.horizon_s, BLOCK_S):
        block = line.advance(BLOCK_S)
        seen = faults.apply(block)
        times = T0 + np.arange(start, start + BLOCK_S, dtype=np.int64) * NS
        known = np.concatenate([before[:, None], block.status[:, :-1]], axis=1)
        changes = {}
        for pot, second in np.argwhere(known != block.status):
            status = int(block.status[pot, second])
            change = StatusChange(int(times[second]), status != 0, status == 2)
            changes.setdefault(NAMES[pot], []).append(change)
        before = block.status[:, -1]
        volts = seen.voltage.astype(np.float64)
        yield Piece(
            PotBlock.even(times, volts),
            times,
            block.current_ka.astype(np.float64),
            int(times[-1]) + NS,
            changes,
        )


@pytest.fixture(scope="module")
def plant():
    line = Potline(SETTINGS, np.random.default_rng(11))
    faults = MeasuringFaults(plan_faults(line, np.random.default_rng(12)))
    rules = LineRules(DetectorSettings(), off_below_ka=30.0)
    results = list(recompute(NAMES, rules, measured(line, faults)))
    found = [i for r in results for i in r.outputs if isinstance(i, AnodeEffect)]
    hours = [sums for result in results for _, _, sums in result.hours]
    return line.schedule, found, hours


def test_every_effect_is_found_and_none_invented(plant):
    schedule, found, _ = plant
    true = {(NAMES[one.pot], one.start) for one in schedule.effects}
    assert len(true) > 40
    seen = {(effect.pot, (effect.start_ns - T0) // NS) for effect in found}
    # The start is the first sample at or above 8 V; the truth may name the one before or after.
    for pot, start in true:
        assert any((pot, start + shift) in seen for shift in (-1, 0, 1, 2)), (pot, start)
    for pot, start in seen:
        assert any((pot, start - shift) in true for shift in (-1, 0, 1, 2)), (pot, start)
    assert len(found) == len(true)


def test_net_time_is_within_one_percent_of_the_truth(plant):
    schedule, found, hours = plant
    true_s = sum(
        one.waveform.net_before(min(one.end, SETTINGS.horizon_s) - one.start)
        for one in schedule.effects
    )
    found_s = sum(effect.above_threshold_s for effect in found)
    assert found_s == pytest.approx(true_s, rel=0.01)
    assert sum(sums.effect_ns for sums in hours) / NS == pytest.approx(found_s, rel=1e-9)


def test_no_effect_of_a_normal_line_is_held_back_as_suspect(plant):
    _, found, hours = plant
    assert not [effect for effect in found if "suspect" in effect.flags]
    assert sum(sums.held_ns for sums in hours) == 0


def test_nearly_all_effects_are_corroborated_by_the_current(plant):
    """The simulated regulator acts with ten seconds; a few effects start too slowly to show."""
    _, found, _ = plant
    missing = [effect for effect in found if "uncorroborated" in effect.flags]
    assert len(missing) <= 0.05 * len(found)


def test_an_effect_cut_by_the_power_cut_ends_with_it(plant):
    schedule, found, _ = plant
    cut = [one for one in schedule.effects if one.cut_by_outage]
    ends = {(effect.pot, effect.end_reason) for effect in found}
    assert cut
    assert all((NAMES[one.pot], "current_off") in ends for one in cut)

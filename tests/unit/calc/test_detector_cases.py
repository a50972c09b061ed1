"""The detector's case table: what each circumstance on a potline must and must not lead to."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import cbor2
import numpy as np
import pytest

from edge_agent.calc.detector_state import DetectorSettings, Gap
from edge_agent.calc.line_detector import (
    CURRENT_HOLD_NS,
    LineCurrent,
    LineDetector,
    LineRules,
    StatusChange,
)
from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.recompute import Piece, recompute
from edge_agent.calc.windows import HOUR_NS, hour_offset_ns, month_bounds, to_ns
from edge_agent.readings import AnodeEffect

NS = 10**9
T0 = 1_790_784_000 * NS  # 2026-10-01 00:00 in Shanghai
NORMAL, HIGH = 4.25, 28.5
RULES = LineRules(DetectorSettings(v_target=NORMAL), off_below_ka=30.0)


def volts(*parts, ripple=0.0005):
    """One sample a second from (count, voltage) parts; None is silence.

    A ripple keeps the voltages from being frozen; it is under any level that matters.
    """
    values = []
    for count, volt in parts:
        values += [float("nan") if volt is None else volt] * count
    values = np.array(values)
    return values + ripple * (np.arange(len(values)) % 3)


class Line:
    """A line that is fed all at once; what came out, and the hours' sums added up."""

    def __init__(self, pots, rules=RULES, *, current=None, changes=None, start_ns=T0):
        length = len(pots[0])
        times = start_ns + np.arange(length, dtype=np.int64) * NS
        if current is None:  # so restless that no dip could be told from it
            current = 300.0 + 30.0 * (np.arange(length) % 2)
        block = PotBlock.even(times, np.array(pots, np.float64))
        names = [f"pot{n + 1:03d}" for n in range(len(pots))]
        end_ns = int(times[-1]) + NS
        piece = Piece(block, times, current, end_ns, changes or {})
        results = list(recompute(names, rules, [piece]))
        outputs = [item for result in results for item in result.outputs]
        self.hours = {(pot, at): sums for result in results for pot, at, sums in result.hours}
        self.effects = [item for item in outputs if isinstance(item, AnodeEffect)]
        self.gaps = [item for item in outputs if isinstance(item, Gap)]

    def total(self, name, pot=None):
        return sum(
            getattr(sums, name) for (each, _), sums in self.hours.items() if pot in (None, each)
        )

    def seconds(self, name, pot=None):
        return self.total(name, pot) / NS


# -- noise around the threshold --------------------------------------------------------------


def test_noise_at_the_threshold_is_no_effect():
    """Above 8 V every other second, never two seconds on end."""
    line = Line([volts((60, NORMAL), *[(1, 8.2), (1, 7.9)] * 60, (60, NORMAL))])
    assert not line.effects
    assert line.total("effects") == 0


def test_dips_below_the_end_level_shorter_than_ten_seconds_do_not_end_an_effect():
    line = Line([volts((60, NORMAL), (20, HIGH), (9, 5.0), (20, HIGH), (60, NORMAL))])
    (effect,) = line.effects
    assert (effect.gross_s, effect.above_threshold_s) == (49, 40)


def test_a_plateau_between_the_levels_counts_in_gross_time_only():
    line = Line([volts((60, NORMAL), (20, HIGH), (40, 7.5), (60, NORMAL))])
    (effect,) = line.effects
    assert (effect.gross_s, effect.above_threshold_s) == (60, 20)
    assert line.seconds("effect_ns") == 20


# -- impossible values -----------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-5.1, 121.0, 655.35, float("nan"), float("inf")])
def test_an_impossible_voltage_is_missing_never_an_effect_and_never_zero(wrong):
    line = Line([volts((60, NORMAL), (100, wrong), (60, NORMAL))])
    assert not line.effects
    assert line.total("out_ns") == 0
    (gap,) = line.gaps
    assert ((gap.start_ns - T0) / NS, (gap.end_ns - T0) / NS) == (59 + 5, 160)
    assert line.seconds("observed_ns") == 220 - 96


def test_a_single_impossible_value_is_bridged_by_the_hold():
    line = Line([volts((60, NORMAL), (1, 655.35), (60, NORMAL))])
    assert (line.effects, line.gaps) == ([], [])
    assert line.seconds("observed_ns") == 121


def test_a_frozen_voltage_is_missing_after_five_minutes():
    frozen = np.concatenate([volts((60, NORMAL)), np.full(600, 9.5), volts((60, NORMAL))])
    line = Line([frozen])
    (effect,) = line.effects
    # On for the 300 s in which nobody could know, and 60 s assumed into the silence after.
    assert effect.end_reason == "ended_in_gap"
    assert (effect.above_threshold_s, effect.estimated_s) == (300 + 4 + 60, 60)
    assert line.seconds("observed_ns") == 720 - (600 - 300 - 4) + 60


# -- missing samples -------------------------------------------------------------------------


def test_silence_with_the_effect_on_both_sides_counts_and_is_marked_as_estimated():
    line = Line([volts((60, NORMAL), (20, HIGH), (41, None), (20, HIGH), (60, NORMAL))])
    (effect,) = line.effects
    assert (effect.above_threshold_s, effect.estimated_s, effect.flags) == (81, 37, ())


def test_silence_after_which_the_pot_is_normal_credits_a_minute_at_most():
    line = Line([volts((60, NORMAL), (20, HIGH), (200, None), (60, NORMAL))])
    (effect,) = line.effects
    assert effect.end_reason == "ended_in_gap"
    assert (effect.above_threshold_s, effect.estimated_s) == (19 + 5 + 60, 60)


def test_an_effect_that_is_on_after_silence_starts_there_and_is_flagged():
    line = Line([volts((60, NORMAL), (100, None), (30, HIGH), (60, NORMAL))])
    (effect,) = line.effects
    assert effect.start_ns == T0 + 160 * NS
    assert effect.flags == ("start_uncertain",)


def test_silence_between_normal_samples_is_in_no_numerator_and_no_denominator():
    line = Line([volts((60, NORMAL), (100, None), (60, NORMAL))])
    assert not line.effects
    assert line.seconds("observed_ns") == 124


def test_an_effect_before_and_after_more_than_an_hour_of_silence_is_two():
    line = Line([volts((60, NORMAL), (20, HIGH), (3_700, None), (20, HIGH), (60, NORMAL))])
    first, second = line.effects
    assert (first.end_reason, first.estimated_s) == ("ended_in_gap", 60)
    assert second.start_ns == T0 + 3_780 * NS
    assert second.flags == ("start_uncertain",)


# -- out of circuit, start-up ----------------------------------------------------------------


def test_a_shorted_pot_has_neither_cell_time_nor_effects():
    line = Line([volts((100, NORMAL), (500, 0.3), (100, NORMAL))])
    assert (line.seconds("observed_ns"), line.seconds("out_ns")) == (200, 500)


def test_a_pot_that_leaves_by_status_ends_its_effect_and_comes_back():
    changes = {
        "pot001": [StatusChange(T0 + 100 * NS, in_circuit=False), StatusChange(T0 + 400 * NS, True)]
    }
    pot = volts((60, NORMAL), (340, HIGH), (100, NORMAL))
    line = Line([pot, volts((500, NORMAL))], changes=changes)
    (effect,) = line.effects
    assert (effect.end_reason, effect.gross_s) == ("out_of_circuit", 40)
    assert line.seconds("out_ns", "pot001") == 300
    assert line.seconds("observed_ns", "pot001") == 200
    assert line.seconds("observed_ns", "pot002") == 500


def started_up(**options):
    """A pot that is being started for 300 s, with one effect then and one later."""
    rules = replace(RULES, detector=replace(RULES.detector, reoccur_s=10, **options))
    changes = {
        "pot001": [
            StatusChange(T0, in_circuit=True, starting=True),
            StatusChange(T0 + 300 * NS, in_circuit=True),
        ]
    }
    pot = volts((100, 6.5), (30, HIGH), (370, NORMAL), (20, HIGH), (80, NORMAL))
    return Line([pot], rules, changes=changes)


def test_effects_of_a_pot_being_started_are_counted_and_shown_apart():
    line = started_up()
    assert [effect.flags for effect in line.effects] == [("start_up",), ()]
    assert (line.seconds("effect_ns"), line.total("effects")) == (50, 2)
    assert (line.seconds("start_up_ns"), line.total("start_up_effects")) == (30, 1)


def test_effects_of_a_pot_being_started_can_be_left_out_of_the_sums():
    line = started_up(count_start_up=False)
    assert (line.seconds("effect_ns"), line.total("effects")) == (20, 1)
    assert (line.seconds("start_up_ns"), line.total("start_up_effects")) == (30, 1)
    assert len(line.effects) == 2
    assert line.total("overvoltage_v_s") == pytest.approx(20 * (HIGH - NORMAL), rel=1e-3)


# -- the line: outage, load reduction --------------------------------------------------------


def dark(length, first, last, level=300.0):
    current = np.full(length, level)
    current[first:last] = 0.0
    return current


def test_a_power_cut_ends_effects_at_the_first_sample_without_current():
    pots = [volts((60, NORMAL), (60, HIGH), (300, 1.4), (180, NORMAL)), volts((600, NORMAL))]
    line = Line(pots, current=dark(600, 120, 420))
    (effect,) = line.effects
    assert (effect.end_reason, effect.gross_s) == ("current_off", 60)
    assert line.seconds("observed_ns") == 1_200
    assert line.seconds("out_ns") == 0


def test_a_power_cut_can_be_taken_out_of_the_cell_time():
    rules = replace(RULES, detector=replace(RULES.detector, outage_in_service=False))
    line = Line([volts((600, NORMAL))] * 3, rules, current=dark(600, 120, 420))
    assert (line.seconds("observed_ns"), line.seconds("out_ns")) == (900, 900)


def test_no_current_no_effect_whatever_the_voltage_shows():
    line = Line([volts((60, NORMAL), (100, HIGH), (60, NORMAL))], current=dark(220, 50, 170))
    assert not line.effects


def test_effects_right_after_the_return_of_the_current_count():
    pots = [volts((420, 1.6), (60, HIGH), (120, NORMAL))] + [volts((600, NORMAL))] * 5
    line = Line(pots, current=dark(600, 0, 420))
    (effect,) = line.effects
    assert (effect.start_ns, effect.gross_s) == (T0 + 420 * NS, 60)
    assert line.total("effects") == 1


def test_a_load_reduction_is_no_event_and_effects_under_it_are_found():
    """70 % of the current for ten minutes: voltages fall, the test stays on the raw voltage."""
    current = np.full(900, 300.0)
    current[200:800] = 210.0
    pots = [volts((200, NORMAL), (600, 3.5), (100, NORMAL))]
    pots += [volts((200, NORMAL), (300, 3.5), (40, HIGH), (260, 3.5), (100, NORMAL))]
    line = Line(pots, current=current)
    (effect,) = line.effects
    assert (effect.pot, effect.gross_s) == ("pot002", 40)
    assert line.seconds("observed_ns") == 1_800


def test_a_current_that_nobody_reads_any_more_counts_as_flowing_after_a_minute():
    current = LineCurrent(30.0)
    current.add(np.array([T0], np.int64), np.array([0.0]))
    at = T0 + np.array([-1, 0, CURRENT_HOLD_NS, CURRENT_HOLD_NS + 1], np.int64)
    assert current.flowing(at).tolist() == [True, False, False, True]


# -- all pots at once ------------------------------------------------------------------------


def jumping(jumped, pots=24, rules=RULES):
    quiet = volts((400, NORMAL))
    high = [volts((60 + n % 3, NORMAL), (60, HIGH), (280 - n % 3, NORMAL)) for n in range(jumped)]
    return Line([*high, *[quiet] * (pots - jumped)], rules)


def test_more_than_a_fifth_of_the_pots_at_once_is_suspect_and_held_back():
    line = jumping(5)
    assert len(line.effects) == 5
    assert all("suspect" in effect.flags for effect in line.effects)
    assert (line.total("effects"), line.seconds("effect_ns")) == (0, 0)
    assert (line.total("held_effects"), line.seconds("held_ns")) == (5, 300)
    assert line.total("overvoltage_v_s") == 0
    assert line.seconds("observed_ns") == 24 * 400


def test_a_fifth_of_the_pots_at_once_is_not_suspect():
    line = jumping(4, pots=20)
    assert not [effect for effect in line.effects if "suspect" in effect.flags]
    assert (line.total("effects"), line.total("held_effects")) == (4, 0)


def test_two_of_three_pots_are_too_few_to_be_a_line_event():
    assert jumping(2, pots=3).total("effects") == 2


def test_effects_of_many_pots_one_after_the_other_are_not_suspect():
    """Six of 24 pots, but seven seconds apart: never more than one within five seconds."""
    high = [volts((60 + 7 * n, NORMAL), (60, HIGH), (280 - 7 * n, NORMAL)) for n in range(6)]
    line = Line([*high, *[volts((400, NORMAL))] * 18])
    assert line.total("effects") == 6


def test_suspects_are_counted_where_the_control_plan_says_so():
    rules = replace(RULES, detector=replace(RULES.detector, hold_suspects=False))
    line = jumping(5, rules=rules)
    assert all("suspect" in effect.flags for effect in line.effects)
    assert (line.total("effects"), line.total("held_effects")) == (5, 0)


def test_effects_under_way_when_all_pots_jump_stay_counted():
    long = volts((20, NORMAL), (200, HIGH), (180, NORMAL))
    high = [volts((60, NORMAL), (60, HIGH), (280, NORMAL))] * 5
    line = Line([long, *high, *[volts((400, NORMAL))] * 18])
    by_pot = {effect.pot: effect.flags for effect in line.effects}
    assert "suspect" not in by_pot["pot001"]
    assert line.seconds("effect_ns") == 200


# -- the current's echo ----------------------------------------------------------------------


def echoed(dip_share, *, noise=0.0005, pots=24):
    """One effect at second 200; the current dips then and recovers with ten seconds."""
    rng = np.random.default_rng(5)
    since = np.clip(np.arange(600) - 200, 0, None)
    dip = np.where(np.arange(600) >= 200, dip_share * np.exp(-since / 10), 0.0)
    current = 300 * (1 - dip + noise * rng.standard_normal(600))
    high = volts((200, NORMAL), (60, HIGH), (340, NORMAL))
    line = Line([high, *[volts((600, NORMAL))] * (pots - 1)], current=current)
    (effect,) = line.effects
    return effect


def test_an_effect_with_a_dip_of_the_current_is_corroborated():
    effect = echoed(0.05)
    assert effect.flags == ()
    assert effect.current_before_ka == pytest.approx(300, rel=1e-3)
    assert effect.current_onset_ka < 0.98 * effect.current_before_ka


def test_an_effect_without_the_dip_that_must_show_is_flagged_and_still_counted():
    effect = echoed(0.0)
    assert effect.flags == ("uncorroborated",)
    assert effect.above_threshold_s == 60


def test_an_effect_whose_onset_passed_in_silence_is_not_expected_to_show_a_dip():
    pot = volts((200, NORMAL), (20, None), (60, HIGH), (120, NORMAL))
    line = Line([pot], current=np.full(400, 300.0))
    assert line.effects[0].flags == ("start_uncertain",)


def test_where_no_dip_could_be_told_from_the_noise_there_is_no_flag():
    assert echoed(0.0, noise=0.02).flags == ()
    assert echoed(0.0, pots=2_000).flags == ()


# -- edges of time ---------------------------------------------------------------------------


def across(moment_ns, *, before_s=90, after_s=135, offset_ns=0):
    start_ns = moment_ns - (before_s + 600) * NS
    pot = volts((600, NORMAL), (before_s + after_s, HIGH), (600, NORMAL))
    return Line([pot], replace(RULES, hour_offset_ns=offset_ns), start_ns=start_ns)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("month", ["2026-01", "2026-03", "2026-11"])
def test_an_effect_over_the_month_s_end_is_split_by_time_and_counted_where_it_began(zone, month):
    _, edge_ns = month_bounds(month, ZoneInfo(zone))
    line = across(edge_ns, offset_ns=hour_offset_ns(ZoneInfo(zone), edge_ns))
    sides = {"before": [0, 0], "after": [0, 0]}
    for (_, at), sums in line.hours.items():
        assert at + HOUR_NS <= edge_ns or at >= edge_ns
        side = sides["before" if at < edge_ns else "after"]
        side[0] += sums.effect_ns / NS
        side[1] += sums.effects
    assert sides == {"before": [90, 1], "after": [135, 0]}
    (effect,) = line.effects
    assert effect.above_threshold_s == 225


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25)])
def test_a_day_with_a_change_of_the_clocks_has_its_elapsed_cell_time(day, hours):
    """New York: 23 and 25 hours; at 0.1 Hz, held for ten seconds."""
    zone = ZoneInfo("America/New_York")
    first = datetime.fromisoformat(day).replace(tzinfo=zone)
    after = first.replace(day=first.day + 1)
    start_ns, end_ns = (to_ns(each.astimezone(UTC)) for each in (first, after))
    times = np.arange(start_ns, end_ns, 10 * NS, dtype=np.int64)
    pot = NORMAL + 0.0005 * (np.arange(len(times)) % 3)
    rules = replace(RULES, detector=replace(RULES.detector, max_hold_s=10.0))
    block = PotBlock.even(times, pot[None, :])
    piece = Piece(block, times, np.full(len(times), 300.0), end_ns)
    sums = [s for result in recompute(["pot001"], rules, [piece]) for _, _, s in result.hours]
    assert len(sums) == hours
    assert sum(item.observed_ns for item in sums) == hours * HOUR_NS


def test_an_effect_open_at_the_month_s_end_gives_the_month_its_minutes_so_far():
    _, edge_ns = month_bounds("2026-10", ZoneInfo("Asia/Shanghai"))
    times = edge_ns + np.arange(-600, 900, dtype=np.int64) * NS
    pot = volts((480, NORMAL), (920, HIGH), (100, NORMAL))
    line = LineDetector(["pot001"], RULES)
    line.add_current(times, np.full(1_500, 300.0))
    line.feed(PotBlock.even(times[:1_000], pot[None, :1_000]))
    assert not [item for item in line.settle(int(times[1_000])) if isinstance(item, AnodeEffect)]
    (october,) = [s for _, at, s in line.take_hours(int(times[1_000])) if at < edge_ns]
    assert (october.effect_ns / NS, october.effects) == (120, 1)
    line.feed(PotBlock.even(times[1_000:], pot[None, 1_000:]))
    (effect,) = [i for i in line.settle(int(times[-1])) if isinstance(i, AnodeEffect)]
    assert effect.above_threshold_s == 920
    (november,) = [s for _, at, s in line.take_rest() if at >= edge_ns]
    assert (november.effect_ns / NS, november.effects) == (800, 0)


# -- clock steps -----------------------------------------------------------------------------


def test_a_clock_that_steps_forward_looks_like_silence():
    times = T0 + np.arange(300, dtype=np.int64) * NS
    times[150:] += 3_600 * NS
    block = PotBlock.even(times, volts((300, NORMAL))[None, :])
    piece = Piece(block, times, np.full(300, 300.0), int(times[-1]) + NS)
    results = list(recompute(["pot001"], RULES, [piece]))
    (gap,) = [item for result in results for item in result.outputs]
    assert isinstance(gap, Gap)
    observed = sum(s.observed_ns for result in results for _, _, s in result.hours)
    assert observed == (300 + 4) * NS


# -- restart ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [30, 62, 70, 100, 119, 121, 125, 140, 300])
def test_a_restart_at_any_moment_changes_nothing(cut):
    pots = np.array(
        [
            volts((60, NORMAL), (60, HIGH), (280, NORMAL)),
            volts((61, NORMAL), (20, HIGH), (20, None), (40, HIGH), (259, NORMAL)),
            *[volts((400, NORMAL))] * 4,
        ]
    )
    names = [f"pot{n:03d}" for n in range(6)]
    times = T0 + np.arange(400, dtype=np.int64) * NS
    current = 300 + np.sin(np.arange(400.0))

    def run(edges):
        line, outputs = LineDetector(names, RULES), []
        for first, last in zip([0, *edges], [*edges, 400], strict=True):
            line.add_current(times[first:last], current[first:last])
            line.feed(PotBlock.even(times[first:last], pots[:, first:last]))
            outputs += line.settle(T0 + last * NS)
            stored = cbor2.dumps(line.dump())
            line = LineDetector(names, RULES)
            line.restore(cbor2.loads(stored))
        outputs += line.finish(T0 + 400 * NS)
        return sorted(map(repr, outputs)), list(line.take_rest())

    assert run([cut]) == run([])
    assert len([item for item in run([])[0] if item.startswith("AnodeEffect")]) == 2

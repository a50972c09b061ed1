"""A totaliser against the integral of its rate, and a signal against its own past; by hand."""

import random

import pytest

from edge_agent.calc.cross_check import Signal, cross_check, repeats
from edge_agent.calc.integration import TotaliserRule
from edge_agent.calc.rate import per_hour
from edge_agent.errors import CalculationError

S = 10**9
MINUTE = 60 * S
HOUR = 60 * MINUTE
DAY = 24 * HOUR
PLAIN = TotaliserRule()


def minutes(values, first=0):
    return Signal([first + place * MINUTE for place in range(len(values))], values)


def check(counts, rate, rule=PLAIN, counts_per_hour=1.0):
    return cross_check(counts, rate, rule, counts_per_hour, lambda ns: f"day {ns // DAY}")


def test_a_count_is_the_integral_of_its_rate():
    """120 units an hour are two counts a minute."""
    done = check(minutes([7 + 2 * n for n in range(61)]), minutes([120.0] * 60))
    assert (done.whole.by_count, done.whole.by_rate) == (120, pytest.approx(120.0))
    assert (done.whole.covered_ns, done.whole.apart_percent) == (HOUR, pytest.approx(0.0))


def test_a_rate_that_changes_is_summed_minute_by_minute():
    done = check(minutes([0, 1, 4, 4]), minutes([60.0, 180.0, 0.0]))
    assert (done.whole.by_count, done.whole.by_rate) == (4, pytest.approx(4.0))


def test_readings_inside_minutes_take_the_parts_of_them():
    """From second 30 of one minute to second 45 of the third: 30 s, 60 s and 45 s."""
    counts = Signal([30 * S, 165 * S], [0, 10])
    done = check(counts, minutes([3600.0, 7200.0, 1200.0]))
    assert done.whole.by_rate == pytest.approx(30 + 120 + 15)


def test_a_difference_is_percent_of_the_larger_and_stands_by_day():
    times = [DAY - MINUTE, DAY - S, DAY + MINUTE]
    rate = Signal([DAY - MINUTE, DAY, DAY + MINUTE], [59.0, 60.0, 60.0])
    done = check(Signal(times, [0, 80, 81]), rate)
    assert set(done.by_day) == {"day 0", "day 1"}
    assert done.by_day["day 0"].apart_percent == pytest.approx(100 * (80 - 59 * 59 / 3600) / 80)
    assert done.whole.by_count == 81


def test_rollovers_are_counted_and_resets_left_out():
    rule = TotaliserRule(modulus=1_000)
    done = check(minutes([990, 999, 8, 3]), minutes([540.0] * 3), rule)
    assert (done.whole.by_count, done.whole.covered_ns) == (18, 2 * MINUTE)
    assert done.whole.by_rate == pytest.approx(18.0)


@pytest.mark.parametrize(
    ("counts", "rate"),
    [
        (minutes([0, 2, 4, 6]), Signal([0, 2 * MINUTE], [120.0, 120.0])),
        (Signal([0, MINUTE, MINUTE + HOUR + S], [0, 2, 99]), minutes([120.0] * 90)),
    ],
    ids=["a minute without a rate", "readings too far apart"],
)
def test_what_is_not_known_on_both_sides_is_not_compared(counts, rate):
    done = check(counts, rate)
    assert done.whole.by_count == done.whole.by_rate == 2 * done.whole.covered_ns / MINUTE
    assert 0 < done.whole.covered_ns < counts.times[-1]


def test_nothing_flowed_is_no_difference():
    done = check(minutes([5, 5, 5]), minutes([0.0, 0.0]))
    assert done.whole.apart_percent == 0.0


@pytest.mark.parametrize(
    ("rate", "unit", "expected"),
    [
        ("kW", "kWh", 1.0), ("MW", "kWh", 1_000.0), ("kW", "MWh", 0.001), ("Nm3/h", "Nm3", 1.0),
        ("t/h", "kg", 1_000.0), ("MJ/h", "GJ", 0.001),
    ],
)  # fmt: skip
def test_what_a_rate_gives_in_an_hour(rate, unit, expected):
    assert per_hour(rate, unit) == expected


@pytest.mark.parametrize(
    ("rate", "unit"), [("kW", "Nm3"), ("t/h", "kWh"), ("kWh", "kWh"), ("MWh", "kWh"), ("", "")]
)
def test_a_rate_of_another_quantity_is_refused(rate, unit):
    with pytest.raises(CalculationError, match="gives no"):
        per_hour(rate, unit)


# -- a recording played back -----------------------------------------------------------------------


def noise(count, seed=1):
    dice = random.Random(seed)
    return [300 + dice.gauss(0, 0.5) for _ in range(count)]


def test_noise_does_not_repeat_itself():
    assert repeats(minutes(noise(5_000))) == []


@pytest.mark.parametrize("length", [30, 47, 300])
def test_a_recording_is_found_with_its_length(length):
    values = noise(1_000)
    values[600 : 600 + length] = values[100 : 100 + length]
    assert repeats(minutes(values)) == [(100 * MINUTE, 600 * MINUTE, length)]


def test_a_recording_played_in_a_loop_is_found_every_time():
    values = noise(60) * 4
    assert repeats(minutes(values)) == [
        (0, 60 * MINUTE, 60),
        (0, 120 * MINUTE, 120),
    ]


@pytest.mark.parametrize(
    "values",
    [[300.0] * 500, [300.0, 300.1] * 250, [300 + place % 7 for place in range(500)]],
    ids=["rests", "two values", "a short cycle"],
)
def test_a_signal_that_rests_is_no_recording(values):
    assert repeats(minutes(values)) == []


def test_a_shorter_piece_and_one_with_a_hole_are_no_recording():
    values = noise(200)
    values[100:129] = values[20:49]
    assert repeats(minutes(values)) == []
    values[100:140] = values[20:60]
    times = [place * MINUTE + (HOUR if place >= 115 else 0) for place in range(200)]
    assert repeats(Signal(times, values)) == []

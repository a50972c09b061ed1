"""Rows 38 to 42 of the table of attacks: what two clocks that disagree give away."""

import pytest

from edge_agent.clock import ClockTable, synchronisation_of
from edge_agent.wire.batch import ClockState
from edge_agent.wire.clock_rules import chain_flags, following, mark, own_flags

S = 10**9
T0 = 1_767_196_800 * S
UP = 5_000 * S
PPM = 500
STEP = {"t": T0, "type": "clock_step", "step_ns": -3_600 * S}


@pytest.fixture
def batch(make_batch):
    """A minute that began ``at`` seconds after T0, with the two clocks shifted in seconds."""

    def make(at, *, utc=0.0, mono=0.0, mono_span=60.0, events=(), boot=bytes(16), sync=True):
        first_ns = T0 + round((at + utc) * S)
        mono_ns = UP + round((at + mono) * S)
        return make_batch(
            first_ns=first_ns,
            last_ns=first_ns + 60 * S,
            mono=(mono_ns, mono_ns + round(mono_span * S)),
            events=tuple(events),
            boot=boot,
            clock=ClockState("ntp", sync=sync),
        )

    return make


def test_an_unsynchronised_clock_is_marked(batch):
    assert own_flags(batch(0, sync=False), PPM) == ("clock_unsynced",)
    assert own_flags(batch(0), PPM) == ()


@pytest.mark.parametrize(
    ("mono_span", "flags"),
    [
        (60.0, ()),
        (60.079, ()),
        (59.921, ()),
        (60.081, ("clock_inconsistent",)),
        (59.919, ("clock_inconsistent",)),
        (-60.0, ("clock_inconsistent",)),
    ],
)
def test_a_span_that_both_clocks_measure_differently_is_marked(batch, mono_span, flags):
    assert own_flags(batch(0, mono_span=mono_span), PPM) == flags


def test_a_told_step_explains_a_span(batch):
    assert own_flags(batch(0, mono_span=3_660, events=[STEP]), PPM) == ()


def test_without_a_limit_only_synchronisation_is_judged(batch):
    assert own_flags(batch(0, mono_span=1, sync=False), None) == ("clock_unsynced",)


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, ()),
        ({"utc": 0.07}, ()),
        ({"utc": -0.09}, ("clock_backward",)),
        ({"utc": -3_600}, ("clock_backward",)),
        ({"utc": 86_400}, ("clock_inconsistent",)),
        ({"mono": -4_000}, ("clock_inconsistent",)),
        ({"utc": -3_600, "events": [STEP]}, ()),
        ({"mono": -4_000, "boot": bytes([1] * 16)}, ()),
        ({"boot": bytes([1] * 16)}, ("reboot_unexplained",)),
    ],
)
def test_a_batch_is_held_against_the_one_before(batch, changes, flags):
    before = mark(batch(0))
    assert chain_flags(before, batch(60, **changes), PPM) == flags


def test_rows_that_waited_while_a_step_was_told_are_no_second_step(batch):
    told = following(mark(batch(0)), batch(60, utc=3_600, events=[STEP]))
    waiting = batch(30)
    assert chain_flags(told, waiting, PPM) == ()
    assert following(told, waiting) == told
    assert chain_flags(told, batch(90, utc=3_600), PPM) == ()


def test_an_untold_return_of_a_step_is_found(batch):
    told = mark(batch(60, utc=3_600, events=[STEP]))
    assert chain_flags(told, batch(120), PPM) == ("clock_backward",)


def test_the_table_gives_the_monotonic_time_that_stood_beside_utc():
    table = ClockTable()
    for second in range(100):
        table.note(T0 + second * S, UP + second * S)
    assert table.mono_at(T0 + 42 * S + 7) == UP + 42 * S + 7
    assert table.mono_at(T0 - 5 * S) == UP - 5 * S
    assert table.mono_at(T0 + 500 * S) == UP + 500 * S
    assert len(table.utc_ns) == 10


def test_a_step_forward_shows_between_the_times_around_it():
    table = ClockTable()
    table.note(T0, UP)
    table.note(T0 + 5 * S, UP + 5 * S)
    table.note(T0 + 3_606 * S, UP + 6 * S)
    assert table.mono_at(T0 + 3_606 * S) - table.mono_at(T0 + 4 * S) == 2 * S


def test_a_time_that_happened_twice_means_its_second_occurrence():
    table = ClockTable()
    for second in range(0, 60, 10):
        table.note(T0 + second * S, UP + second * S)
    table.note(T0 + 15 * S, UP + 60 * S)
    assert table.mono_at(T0 + 20 * S) == UP + 65 * S
    assert table.mono_at(T0 + 12 * S) == UP + 12 * S


def test_the_table_forgets_what_no_batch_can_reach():
    table = ClockTable()
    for hour in range(60):
        table.note(T0 + hour * 3_600 * S, UP + hour * 3_600 * S)
    assert len(table.utc_ns) == 27


def test_an_empty_table_says_so():
    with pytest.raises(LookupError, match="no pair of clocks"):
        ClockTable().mono_at(T0)


@pytest.mark.parametrize(
    ("code", "status", "offset", "expected"),
    [
        (0, 0x2001, 120_000, (True, 120_000, 900_000)),
        (0, 0x0001, 120, (True, 120_000, 900_000)),
        (5, 0x2001, 7, (False, 7, 900_000)),
        (0, 0x2041, 7, (False, 7, 900_000)),
    ],
)
def test_the_kernels_answer_is_read_as_its_manual_says(code, status, offset, expected):
    state = synchronisation_of(code, status, offset, 900)
    assert (state.is_synchronised, state.offset_ns, state.error_ns) == expected

"""Totalisers: what a drop means, by the rules of the module; numbers by hand."""

import pytest

from edge_agent.calc.integration import NS_PER_H, Step, TotaliserRule, step, total


@pytest.mark.parametrize(
    ("before", "after", "rule", "expected"),
    [
        (5, 5, TotaliserRule(), Step(0)),
        (5, 9, TotaliserRule(modulus=10), Step(4)),
        (95, 3, TotaliserRule(modulus=100), Step(8, "rollover")),
        (95, 5, TotaliserRule(modulus=100), Step(10, "rollover")),
        (95, 6, TotaliserRule(modulus=100), Step(6, "reset")),
        (95, 3, TotaliserRule(), Step(3, "reset")),
        (50, 3, TotaliserRule(modulus=100), Step(3, "reset")),
    ],
)
def test_a_drop_is_a_rollover_up_to_a_tenth_of_the_modulus_and_else_a_reset(
    before, after, rule, expected
):
    assert step(before, after, rule) == expected


def test_a_larger_rollover_is_believed_within_the_maximum_rate():
    rule = TotaliserRule(modulus=100, max_rate_per_h=20)
    assert step(70, 10, rule, 2 * NS_PER_H) == Step(40, "rollover")
    assert step(70, 10, rule, 2 * NS_PER_H - 1) == Step(10, "reset")
    assert step(70, 10, rule) == Step(10, "reset")


def test_a_drop_from_above_the_modulus_is_no_rollover():
    assert step(250, 10, TotaliserRule(modulus=100, max_rate_per_h=1e9), NS_PER_H) == Step(
        10, "reset"
    )


def test_a_total_names_the_reading_at_which_something_happened():
    done = total([90, 97, 4, 9, 2], TotaliserRule(modulus=100))
    assert (done.total, done.events) == (7 + 7 + 5 + 2, ((2, "rollover"), (4, "reset")))
    assert total([7], TotaliserRule()).total == 0
    assert isinstance(total([2**60, 2**60 + 3], TotaliserRule()).total, int)


def test_times_carry_the_maximum_rate_into_a_total():
    rule = TotaliserRule(modulus=100, max_rate_per_h=20)
    slow = total([70, 10], rule, [0, 2 * NS_PER_H])
    fast = total([70, 10], rule, [0, NS_PER_H])
    assert (slow.total, fast.total) == (40, 10)


def test_readings_in_two_pieces_give_the_total_of_the_whole():
    readings = [90, 97, 4, 9, 2, 50]
    rule = TotaliserRule(modulus=100)
    whole = total(readings, rule).total
    for cut in range(1, len(readings)):
        parts = total(readings[: cut + 1], rule).total + total(readings[cut:], rule).total
        assert parts == whole

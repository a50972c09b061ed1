"""Missing hours: the plan's order, every method by hand, and the cautious side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calc.substitution import Alternatives, Caution, Hour, Method, fill

H = 3600 * 10**9


def hours(*amounts):
    """Whole hours; None is an hour of which nothing was measured."""
    return [
        Hour(at * H, 0.0 if amount is None else amount, 3600.0 if amount is None else 0.0)
        for at, amount in enumerate(amounts)
    ]


def one(missing, order, given, caution=Caution.HIGHER):
    (found,) = fill(missing, order, given, caution).substituted
    return found


def test_a_redundant_meter_gives_its_own_hour():
    found = one(hours(5, None, 7), [Method.REDUNDANT_METER], Alternatives({"B2": {H: 6.5}}))
    assert (found.amount, found.method, found.source) == (6.5, Method.REDUNDANT_METER, "B2")


def test_a_totaliser_gives_the_difference_over_the_missing_run_spread_evenly():
    counter = ("T", [0, H, 3 * H, 4 * H], [0.0, 5.0, 19.0, 26.0])
    filled = fill(
        hours(5, None, None, 7),
        [Method.TOTALISER_DIFFERENCE],
        Alternatives(totaliser=counter),
        Caution.HIGHER,
    )
    assert [item.amount for item in filled.substituted] == [7.0, 7.0]


def test_what_was_measured_in_a_partly_missing_hour_stays_and_only_the_rest_is_filled():
    partly = [Hour(0, 10.0), Hour(H, 4.0, 1800.0), Hour(2 * H, 20.0)]
    found = one(partly, [Method.NEIGHBOUR_MEAN], Alternatives())
    assert found.amount == 7.5  # half an hour at the mean of 10 and 20
    assert found.missing_s == 1800


def test_the_mean_of_the_neighbours_takes_the_nearest_valid_hours():
    filled = fill(hours(4, None, None, 8), [Method.NEIGHBOUR_MEAN], Alternatives(), Caution.HIGHER)
    assert [item.amount for item in filled.substituted] == [6.0, 6.0]


@pytest.mark.parametrize(
    ("caution", "bound", "expected"),
    [
        (Caution.HIGHER, 12.0, 12.0),
        (Caution.HIGHER, 3.0, 9.0),
        (Caution.LOWER, 1.0, 1.0),
        (Caution.LOWER, 6.0, 5.0),
    ],
)
def test_the_cautious_bound_is_the_plan_s_or_a_valid_hour_beyond_it(caution, bound, expected):
    given = Alternatives(bound=bound)
    found = one(hours(5, None, 9), [Method.CONSERVATIVE_BOUND], given, caution)
    assert found.amount == expected


def test_the_default_comes_last_and_names_where_it_is_from():
    given = Alternatives(default=2.5, default_name="guide")
    order = [Method.REDUNDANT_METER, Method.TOTALISER_DIFFERENCE, Method.GUIDE_DEFAULT]
    found = one(hours(None), order, given)
    assert (found.amount, found.source) == (2.5, "guide")


def test_the_first_method_of_the_order_that_can_is_taken():
    given = Alternatives({"B2": {H: 6.5}}, bound=50.0)
    order = [Method.CONSERVATIVE_BOUND, Method.REDUNDANT_METER]
    assert one(hours(5, None, 7), order, given).method is Method.CONSERVATIVE_BOUND


def test_an_hour_that_nothing_can_fill_is_left_and_named():
    filled = fill(hours(None, None), [Method.NEIGHBOUR_MEAN], Alternatives(), Caution.HIGHER)
    assert not filled.substituted
    assert [hour.start_ns for hour in filled.left] == [0, H]


def test_nothing_is_filled_without_a_rule():
    assert not fill(hours(5, None), [], Alternatives(bound=9.0), Caution.HIGHER).substituted


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        (Method.CONSERVATIVE_BOUND, Alternatives(bound=100.0), 45.0),
        (
            Method.TOTALISER_DIFFERENCE,
            Alternatives(totaliser=("T", [H, 2 * H], [0.0, 100.0])),
            45.0,
        ),
    ],
)
def test_what_another_meter_of_the_sum_measured_meanwhile_is_not_filled_twice(
    method, given, expected
):
    """90 an hour on a scale that was dead for half an hour, 10 an hour on its neighbour."""
    half = [Hour(0, 100.0), Hour(H, 45.0 + 10.0, 1800.0, meanwhile=5.0), Hour(2 * H, 100.0)]
    assert one(half, [method], given).amount == pytest.approx(expected)


LIMIT = 100.0
TRUTH = st.lists(
    st.tuples(st.floats(0, LIMIT), st.booleans(), st.floats(0, 1)), min_size=1, max_size=40
)


@given(TRUTH)
def test_the_cautious_bound_never_lowers_emissions_and_never_raises_output(truth):
    """Any hours hidden, wholly or in part: emissions at least, output at most the truth."""
    seen = [
        Hour(at * H, amount * (1 - share if hidden else 1), 3600 * share if hidden else 0.0)
        for at, (amount, hidden, share) in enumerate(truth)
    ]
    whole = sum(amount for amount, _, _ in truth)
    measured = sum(hour.amount or 0.0 for hour in seen)
    order = [Method.CONSERVATIVE_BOUND]
    slack = 1e-9 * LIMIT * len(truth) + sum(
        LIMIT * hour.missing_s / 3600 for hour in seen if hour.missing_s < 1
    )
    high = fill(seen, order, Alternatives(bound=LIMIT), Caution.HIGHER)
    low = fill(seen, order, Alternatives(bound=0.0), Caution.LOWER)
    assert measured + high.amount >= whole - slack
    assert measured + low.amount <= whole + slack


@given(TRUTH)
def test_every_missing_hour_is_filled_or_left_never_both_and_never_dropped(truth):
    seen = [
        Hour(at * H, amount, 3600 * share if hidden else 0.0)
        for at, (amount, hidden, share) in enumerate(truth)
    ]
    filled = fill(seen, [Method.NEIGHBOUR_MEAN], Alternatives(), Caution.HIGHER)
    named = [item.start_ns for item in filled.substituted] + [h.start_ns for h in filled.left]
    assert sorted(named) == [hour.start_ns for hour in seen if hour.missing_s >= 1]

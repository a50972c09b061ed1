"""Sums of several meters, of which one fails."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calc.substitution import Alternatives, Caution, Hour, Method, fill
from gateway.month.amounts import _added

H = 3600 * 10**9


def test_a_dead_scale_beside_a_living_one_lacks_its_own_share_only():
    dead, living = [Hour(0, 0.0, 3600.0)], [Hour(0, 10.0)]
    (hour,) = _added([dead, living])
    assert (hour.amount, hour.missing_s, hour.meanwhile) == (10.0, 3600.0, 10.0)


@given(
    st.lists(
        st.tuples(st.floats(0, 90), st.floats(0, 10), st.floats(0, 1)), min_size=1, max_size=20
    )
)
def test_the_cautious_bound_of_a_sum_never_lowers_it_whichever_part_is_missing(truth):
    first = [Hour(at * H, a * (1 - share), 3600 * share) for at, (a, _, share) in enumerate(truth)]
    second = [Hour(at * H, b) for at, (_, b, _) in enumerate(truth)]
    hours = _added([first, second])
    filled = fill(hours, [Method.CONSERVATIVE_BOUND], Alternatives(bound=100.0), Caution.HIGHER)
    measured = sum(hour.amount for hour in hours)
    whole = sum(a + b for a, b, _ in truth)
    below_tolerance = sum(100 * hour.missing_s / 3600 for hour in hours if hour.missing_s < 1)
    assert measured + filled.amount >= whole - below_tolerance - 1e-6

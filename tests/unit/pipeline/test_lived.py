"""Stretches of accounted time under a clock that moves."""

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.lived import Lived


def ns(minute):
    return minute * MINUTE_NS


def test_a_clock_put_right_goes_on_behind_the_time_before_and_leaps_over_what_was_ahead():
    lived = Lived()
    lived.reach(ns(0), ns(10))
    lived.split(ns(70))
    lived.reach(ns(10), ns(80))
    assert lived.is_ahead(ns(20))
    assert not lived.is_ahead(ns(66))  # five minutes are waited for
    assert lived.go_to(ns(20)) == ns(20)
    assert lived.next_ns() == ns(70)
    lived.reach(ns(20), ns(70))
    assert lived.leap(ns(70)) == ns(80)
    assert lived.next_ns() is None


def test_a_clock_set_back_into_accounted_time_goes_on_at_its_end():
    lived = Lived()
    lived.reach(ns(0), ns(100))
    lived.split(ns(10_000))
    lived.reach(ns(100), ns(10_005))
    assert lived.go_to(ns(40)) == ns(100)


def test_what_was_dumped_is_what_is_loaded_and_a_state_from_before_has_nothing():
    lived = Lived()
    lived.reach(ns(5), ns(9))
    lived.split(ns(50))
    assert Lived.load(lived.dump()) == lived
    assert Lived.load(None) == Lived()


MOVES = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 12)), min_size=1, max_size=30)


@given(MOVES)
def test_no_minute_is_accounted_twice_wherever_the_clock_goes(moves):
    lived, seen, done = Lived(), set(), None
    for to, length in moves:
        done = ns(to) if done is None else lived.go_to(ns(to))
        if not lived.stretches:
            lived.reach(done, done)
        for _ in range(length):
            ahead = lived.next_ns()
            if ahead is not None and done >= ahead:
                done = lived.leap(done)
            assert done not in seen
            seen.add(done)
            lived.reach(done, done + MINUTE_NS)
            done += MINUTE_NS

"""How the intake is held back: by the share of the minute that has passed, whatever the wall clock."""

import asyncio

import pytest

from edge_agent.pipeline.pace import Pace

NS = 10**9
LIMIT = 70_000  # bytes: a thousand for each second of a minute, its lateness and the spare time


class Clock:
    def __init__(self):
        self.now_ns = 0

    def monotonic_ns(self):
        return self.now_ns

    def utc_ns(self):
        raise AssertionError("a wall clock that steps must hold nobody back")

    async def sleep(self, seconds):
        self.now_ns += round(seconds * NS)


@pytest.fixture
def clock():
    return Clock()


def test_right_after_an_accounting_there_is_room_for_what_is_late(clock):
    pace = Pace(LIMIT, 5, clock)
    assert pace.wait_s(0) == 0
    assert pace.wait_s(10_000) == 0
    assert pace.wait_s(12_000) == pytest.approx(2)


def test_room_grows_with_the_minute_and_ends_at_the_limit(clock):
    pace = Pace(LIMIT, 5, clock)
    clock.now_ns = 30 * NS
    assert pace.wait_s(40_000) == 0
    assert pace.wait_s(45_000) == pytest.approx(5)
    clock.now_ns = 600 * NS
    assert pace.wait_s(69_999) == 0
    assert not pace.is_full(69_999)
    assert pace.wait_s(70_000) > 0
    assert pace.is_full(70_000)  # and the accounting must not wait for a device's history now
    pace.accounted(0)
    assert pace.wait_s(12_000) == pytest.approx(2)


def test_what_waits_across_accountings_holds_nobody_back_while_the_limit_is_far(clock):
    pace = Pace(LIMIT, 5, clock)
    clock.now_ns = 60 * NS
    pace.accounted(56_000)  # a file whose rows may come for two days; 14,000 bytes are left
    assert pace.wait_s(58_000) == 0
    assert pace.wait_s(58_400) == pytest.approx(2)
    clock.now_ns += 60 * NS
    assert pace.wait_s(69_999) == 0
    assert pace.wait_s(70_000) > 0
    pace.accounted(80_000)  # more than there is room for: nothing is taken
    clock.now_ns += 600 * NS
    assert pace.wait_s(80_000) > 0
    pace.accounted(69_000)  # a worker that accounts just now has counted already what is left
    assert pace.wait_s(1_000) == 0


async def test_what_waits_is_looked_at_again_and_the_time_held_is_counted(clock):
    pace = Pace(LIMIT, 5, clock)
    assert not pace.is_overloaded
    clock.now_ns = 600 * NS
    held = iter([80_000, 80_000, 20_000])
    async with asyncio.timeout(5):
        await pace.wait(lambda: next(held))
    assert pace.held_s == pytest.approx(0.5)
    assert pace.is_overloaded
    clock.now_ns += 61 * NS
    assert not pace.is_overloaded

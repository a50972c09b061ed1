"""A link's one timer serves every question's deadline."""

import asyncio

import pytest

from edge_agent.drivers.modbus.links import Link

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def link():
    link = Link()
    yield link
    link.close()


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_a_wait_ends_at_its_deadline_and_not_before(link):
    until_s = now_s() + 0.05
    with pytest.raises(TimeoutError):
        await link.more(until_s)
    assert now_s() >= until_s


async def test_an_earlier_deadline_than_the_timer_s_is_kept(link):
    link.data_received(b"x")
    await link.more(now_s() + 3_600)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(link.more(now_s() + 0.02), 5)


async def test_a_timer_of_an_earlier_question_does_not_end_the_next_one(link):
    link.data_received(b"x")
    await link.more(now_s() + 0.02)
    waiting = asyncio.ensure_future(link.more(now_s() + 3_600))
    await asyncio.sleep(0.1)  # the first question's timer has come by
    assert not waiting.done()
    link.data_received(b"y")
    await waiting


async def test_what_arrives_at_the_deadline_still_counts(link):
    waiting = asyncio.ensure_future(link.more(now_s() + 0.01))
    await asyncio.sleep(0)
    link._look_at_deadline()  # not due: set again
    link._until_s = 0.0
    link._look_at_deadline()
    link.data_received(b"x")
    await waiting
    assert link.arrived == b"x"


async def test_a_cancelled_wait_leaves_no_deadline_behind(link):
    waiting = asyncio.ensure_future(link.more(now_s() + 0.01))
    await asyncio.sleep(0)
    link._until_s = 0.0
    link._look_at_deadline()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(TimeoutError):
        await _until_time_out(link)


async def _until_time_out(link):
    for _ in range(3):
        await link.more(now_s() + 0.05)


async def test_a_closed_link_leaves_no_timer():
    link = Link()
    link.data_received(b"x")
    await link.more(now_s() + 3_600)
    timer = link._timer
    link.close()
    assert timer is not None
    assert timer.cancelled()

"""Rows 24 and 25: an agent restored from an old image, and two clones of one agent at once."""

import asyncio
import hashlib
import shutil

import pytest

from gateway import cli
from tests.faults.network.works import (
    AGENT,
    SITE,
    Listener,
    Meter,
    PlantClock,
    needs_broker,
    restarts_paho,
    until,
)

pytestmark = [needs_broker, pytest.mark.timeout(120), restarts_paho]
HOUR = 60
TWO_DAYS = 48


async def acked(agent):
    await until(lambda: agent._outbox.acked == agent._outbox.head.seq, "the ack")


def frozen(works):
    with works.ledger() as ledger:
        return ledger.is_frozen(SITE, AGENT)


def forked(works):
    """Batches of the other side that the ledger keeps."""
    with works.ledger() as ledger:
        return [raw for _, _, raw in ledger.forks(SITE, AGENT)]


def refused(works):
    with works.ledger() as ledger:
        return ledger.quarantine_counts()


def stands(works):
    """The bytes of the chain."""
    with works.ledger() as ledger:
        assert ledger.contiguous(SITE, AGENT)
        return [row.raw for row in ledger.batches(SITE, AGENT)]


async def test_an_agent_restored_from_a_two_day_old_image_is_a_fork_and_alarms(
    works, tmp_path
):  # row 24
    clock = PlantClock()
    meter, state, image = Meter(clock), tmp_path / "state", tmp_path / "image"
    async with works.gateway():
        async with works.agent(clock=clock) as agent:
            for _ in range(3):
                await meter.minute(agent, HOUR)
            await acked(agent)
        shutil.copytree(state, image)
        async with works.agent(clock=clock) as agent:
            for _ in range(TWO_DAYS):
                await meter.minute(agent, HOUR)
            await acked(agent)
            newest = agent._outbox.acked
        before, truth = stands(works), list(meter.truth)
        shutil.rmtree(state)
        shutil.copytree(image, state)
        async with works.agent(clock=clock) as agent:
            old = agent._outbox.head.seq
            assert old < newest - TWO_DAYS // 2
            await meter.minute(agent, HOUR)
            await until(lambda: agent.health.alarm == "foreign_history", "the agent's alarm")
            assert agent.health.state == "alarm"
            await until(lambda: frozen(works), "the fork at the gateway")
            await meter.minute(agent, HOUR)
            own = agent._outbox.after(agent._outbox.acked, 100)
            assert agent._outbox.acked <= old
    assert own[0].seq == old + 1
    assert own[0].raw in forked(works)
    assert stands(works) == before
    assert works.rows() == truth
    assert not {one.raw for one in own} & set(before)


async def test_two_clones_of_one_agent_are_a_fork_and_lose_nothing(
    works, broker, tmp_path, capsys
):  # row 25
    clock = PlantClock()
    meter = Meter(clock)
    async with works.gateway():
        async with works.agent(clock=clock) as agent:
            for _ in range(3):
                await meter.minute(agent)
            await acked(agent)
            common = agent._outbox.acked
        shutil.copytree(tmp_path / "state", tmp_path / "clone")
        other_clock = PlantClock(clock.now_ns)
        other_meter = Meter(other_clock, first=500.0)
        async with (
            works.agent(clock=clock) as first,
            works.agent(tmp_path / "clone", clock=other_clock) as second,
        ):
            for _ in range(5):
                await meter.minute(first)
                await other_meter.minute(second)
                await asyncio.sleep(0.05)
            await until(lambda: frozen(works), "the fork")
            clones = [first, second]
            await until(
                lambda: any(one.health.alarm == "foreign_history" for one in clones),
                "the alarm of the clone whose batch does not stand",
            )
            made = [one._outbox.after(common, 100) for one in clones]
            waiting = [one._outbox.after(one._outbox.acked, 100) for one in clones]
        standing = stands(works)
        assert [len(batches) >= 5 for batches in made] == [True, True]
        # One clone's batch stands, the other's is kept beside it; all others are where they were made.
        (winner,) = (at for at in (0, 1) if made[at][0].raw == standing[common])
        loser = 1 - winner
        assert made[loser][0].raw in forked(works)
        assert waiting[loser] == made[loser]
        assert standing == [*standing[:common], *(one.raw for one in made[winner])][: len(standing)]
        assert [one.raw for one in made[winner]] == [
            *standing[common:],
            *(one.raw for one in waiting[winner]),
        ]
        # What the broker still has of the other one would be one more fork.
        stranger = Listener(works, broker.port)
        stranger.send(b"what comes after them")
        await until(lambda: refused(works), "the end of the clones' messages")
        stranger.close()
        # With the other one switched off and an operator's word, the one that stands goes on.
        words = ["release", str(works.gateway_file), SITE, AGENT, "--reason", "the clone is off"]
        assert cli.main(words) == 0
        state = tmp_path / ("state", "clone")[winner]
        goes_on = (clock, other_clock)[winner]
        async with works.agent(state, clock=goes_on) as agent:
            await (meter, other_meter)[winner].minute(agent)
            await acked(agent)
            assert agent.health.alarm == ""
            whole = [one.raw for one in agent._outbox.after(0, 100)]
    assert stands(works) == whole
    assert hashlib.sha256(made[loser][0].raw).digest() != hashlib.sha256(whole[common]).digest()

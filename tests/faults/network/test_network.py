"""Bad networks on both sides of the broker: whatever they do, the ledger is the truth in the end."""

import asyncio
import random

import pytest

from tests.faults.network.proxy import FAULTS, PASS, Proxy
from tests.faults.network.works import (
    Meter,
    PlantClock,
    Works,
    needs_broker,
    restarts_paho,
    until,
)

pytestmark = [needs_broker, pytest.mark.timeout(150), restarts_paho]
ROUNDS = 2


def schedule(rng):
    """Each fault in each round, in random order, with how long it lasts [s]."""
    return [
        (fault, rng.uniform(0.2, 0.8))
        for _ in range(ROUNDS)
        for fault in rng.sample((*FAULTS, PASS), len(FAULTS) + 1)
    ]


async def run(proxy, phases):
    for fault, seconds in phases:
        proxy.set(fault)
        await asyncio.sleep(seconds)
    proxy.set(PASS)


async def measure(meter, agent, rng, done):
    """Minutes pass at an uneven pace while the networks misbehave."""
    while not done.done():
        for _ in range(rng.randint(1, 6)):
            await meter.minute(agent)
        await asyncio.sleep(rng.uniform(0.0, 0.3))


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_network_fault_loses_doubles_or_reorders_anything(broker, tmp_path, seed):
    rng = random.Random(seed)
    near, far = (Proxy(broker.port, random.Random(f"{seed} {side}")) for side in ("near", "far"))
    async with near.running(), far.running():
        works = Works(tmp_path, agent_port=near.port, gateway_port=far.port)
        clock = PlantClock()
        meter = Meter(clock)
        async with works.gateway(), works.agent(clock=clock) as agent:
            faults = asyncio.gather(*(run(proxy, schedule(rng)) for proxy in (near, far)))
            await measure(meter, agent, rng, faults)
            await faults
            await meter.minute(agent)
            await until(lambda: agent._outbox.acked == agent._outbox.head.seq, "every ack", 90)
            works.assert_whole(agent, meter.truth)
            assert agent.health.alarm == ""
    hits = {fault: near.hits[fault] + far.hits[fault] for fault in FAULTS}
    assert min(hits.values()) > 0, hits
    print(f"{len(meter.truth)} minutes, {agent.health.connects} connections, {hits}")

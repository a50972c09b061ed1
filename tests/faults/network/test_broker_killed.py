"""The broker killed while batches are on their way, with and without what it keeps on disk."""

import asyncio
import random

import pytest

from tests.faults.network.proxy import PASS, Proxy
from tests.faults.network.works import (
    Broker,
    Meter,
    PlantClock,
    Works,
    free_port,
    needs_broker,
    restarts_paho,
    until,
)

pytestmark = [needs_broker, pytest.mark.timeout(150), restarts_paho]
KILLS = 6
BACKLOG = 60


@pytest.mark.parametrize("persistence", [True, False])
async def test_a_broker_killed_with_batches_in_flight_loses_and_doubles_nothing(
    tmp_path, persistence
):
    rng = random.Random(f"broker {persistence}")
    broker = Broker(tmp_path, persistence=persistence)
    far = Proxy(broker.port, rng, port=free_port())
    works = Works(tmp_path, agent_port=broker.port, gateway_port=far.port)
    clock = PlantClock()
    meter = Meter(clock)
    in_flight = []
    try:
        async with far.running(), works.gateway(), works.agent(clock=clock) as agent:
            for number in range(KILLS):
                for _ in range(BACKLOG):
                    await meter.minute(agent)
                # Every other time the gateway gets nothing of what the broker has acknowledged.
                far.set("stall" if number % 2 else PASS)
                broker.start()
                await until(
                    lambda: (
                        agent._uplink._sent > agent._outbox.acked and agent._outbox.unacked_bytes
                    ),
                    "batches on their way",
                )
                if number % 2:
                    await until(lambda: not agent._uplink._client._out_messages, "every PUBACK")
                await asyncio.sleep(rng.uniform(0.0, 0.05))
                in_flight.append(agent._uplink._sent - agent._outbox.acked)
                broker.kill()
            far.set(PASS)
            broker.start()
            await meter.minute(agent)
            await until(lambda: agent._outbox.acked == agent._outbox.head.seq, "every ack")
            works.assert_whole(agent, meter.truth)
            assert agent.health.alarm == ""
    finally:
        broker.kill()
    assert sum(count > 0 for count in in_flight) >= KILLS // 2, in_flight
    if persistence:
        assert (tmp_path / "broker" / "mosquitto.db").exists()

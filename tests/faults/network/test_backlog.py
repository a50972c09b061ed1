"""A long outage of the broker: what waited goes out in order, what is new comes in behind it."""

import asyncio
import hashlib

import pytest

from edge_agent import config as agent_config
from edge_agent.outbox import Outbox
from edge_agent.pipeline.series import to_plain
from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.chain import ChainHead
from tests.faults.network.works import (
    AGENT,
    MINUTE_NS,
    SITE,
    T0,
    TAG,
    Broker,
    Meter,
    PlantClock,
    Works,
    needs_broker,
    restarts_paho,
    until,
)

pytestmark = [needs_broker, pytest.mark.timeout(200), restarts_paho]
BACKLOG = 5_000
STEP = 500


def fill(works):
    """An outbox as days without a broker leave it; the readings in it."""
    config = agent_config.load(works.agent_file)
    document = agent_config.effective(config, agent_config.factors_of(config), to_plain(config))
    digest, signer = agent_config.digest(document), works.signer()
    outbox = Outbox(works.folder / "state" / "outbox.sqlite", 2**30, 2**29)
    head, truth = ChainHead(), []
    for first in range(0, BACKLOG, STEP):
        raws = []
        for seq in range(first + 1, first + STEP + 1):
            at_ns = T0 + (seq - 1) * MINUTE_NS
            truth.append((at_ns, seq / 8))
            batch = Batch(
                SITE, AGENT, seq, head.sha256, bytes(16), at_ns, at_ns + MINUTE_NS - 10**6,
                (at_ns, at_ns + MINUTE_NS - 10**6), ClockState("ntp", sync=True), digest,
                "edge-agent/0.1.0", Columns((TAG,), [0], [at_ns], [seq / 8], [0]),
            )  # fmt: skip
            raws.append(wire_batch.sign(batch, signer))
            head = ChainHead(seq, hashlib.sha256(raws[-1]).digest())
        outbox.commit(raws, head, b"")
    outbox._db.execute("DELETE FROM meta WHERE key = 'state'")
    outbox.close()
    return truth


async def test_a_backlog_leaves_in_order_within_the_window_and_fresh_batches_follow(tmp_path):
    broker = Broker(tmp_path)
    works = Works(tmp_path, agent_port=broker.port, gateway_port=broker.port)
    waited = fill(works)
    clock = PlantClock(T0 + BACKLOG * MINUTE_NS)
    meter = Meter(clock, first=2_000.0)
    sent, waiting, fresh = {}, 0, 0
    try:
        async with works.gateway(), works.agent(clock=clock) as agent:
            publish, window = agent._uplink._publish, agent._uplink._settings.window

            def watched(kind, payload, **options):
                nonlocal waiting
                publish(kind, payload, **options)
                if kind == "batch":
                    sent.setdefault(payload, len(sent))
                    waiting = max(waiting, len(agent._uplink._client._out_messages))

            agent._uplink._publish = watched
            await meter.minute(agent)
            broker.start()
            while agent._outbox.acked < BACKLOG:
                await meter.minute(agent)
                fresh += agent._outbox.acked < BACKLOG - window
                await asyncio.sleep(0.1)
                assert len(meter.truth) < 2_000, "the backlog does not drain"
            await until(lambda: agent._outbox.acked == agent._outbox.head.seq, "every ack")
            works.assert_whole(agent, waited + meter.truth)
            made = [one.raw for one in agent._outbox.after(0, 10**6)]
    finally:
        broker.kill()
    assert fresh > 0, "nothing new was measured while the backlog drained"
    assert list(sent) == made
    assert waiting <= window + 2, "with the configuration and the status"

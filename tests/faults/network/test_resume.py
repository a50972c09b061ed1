"""A machine that replaces one whose disk is lost goes on with the chain, and says so."""

import asyncio
import shutil
import sqlite3

import pytest

from edge_agent import cli
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.keys import create_signer
from edge_agent.wire.messages import Ack, sign_ack
from tests.faults.network.works import (
    AGENT,
    SITE,
    Meter,
    PlantClock,
    Works,
    free_port,
    needs_broker,
    restarts_paho,
    until,
)

pytestmark = [pytest.mark.timeout(120), restarts_paho]
LOST = "2026-10-01T00:00+08:00"


@pytest.fixture
def desk(tmp_path, capsys):
    """Files of an agent whose broker is silent, its command, and acks as a gateway signs them."""
    works = Works(tmp_path, agent_port=free_port(), gateway_port=free_port())

    class Desk:
        def __init__(self):
            self.works = works

        outbox = tmp_path / "state" / "outbox.sqlite"
        signer = works.signer("gateway")

        def ack(self, seq=7, signer=None, **changes):
            fields = {"site": SITE, "agent": AGENT, "at_ns": 1, **changes}
            path = tmp_path / "ack.bin"
            ack = Ack(seq=seq, sha256=bytes([seq]) * 32, **fields)
            path.write_bytes(sign_ack(ack, signer or self.signer))
            return path

        def resume(self, ack=None, **changes):
            code = cli.main(words(works, ack=ack or self.ack(), **changes))
            said = capsys.readouterr()
            return code, said.out + said.err

    return Desk()


def words(works, **changes):
    """The command line."""
    given = {"reason": "the disk died", "operator": "li", "lost_since": LOST} | changes
    options = [
        text
        for name, value in given.items()
        if value is not None
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    return ["resume-from-ack", str(works.agent_file), *options]


async def resume(works):
    """The command beside the event loop that the gateway runs in."""
    return await asyncio.to_thread(cli.main, words(works))


async def delivered(works, agent, meter, count):
    """That many minutes, each acked before the next."""
    for _ in range(count):
        before = agent._outbox.head.seq
        await meter.minute(agent)
        await until(lambda before=before: agent._outbox.head.seq > before, "a batch")
        await until(lambda: agent._outbox.acked == agent._outbox.head.seq, "its ack")


@needs_broker
async def test_a_replaced_machine_goes_on_behind_the_last_ack(works, tmp_path, capsys):
    clock = PlantClock()
    first, second = Meter(clock), Meter(clock, first=90.5)
    async with works.gateway():
        async with works.agent(clock=clock) as agent:
            await delivered(works, agent, first, 3)
            head = agent._outbox.head
        shutil.rmtree(tmp_path / "state")
        assert await resume(works) == 0
        assert f"batch {head.seq + 1}, after {head.sha256.hex()}" in capsys.readouterr().out
        async with works.agent(clock=clock) as agent:
            await delivered(works, agent, second, 3)
            assert (agent.health.alarm, agent.health.acks_refused) == ("", 0)
        async with works.agent(clock=clock) as agent:  # a restart tells nothing again
            await delivered(works, agent, second, 1)
    assert works.rows() == first.truth + second.truth
    with works.ledger() as ledger:
        assert ledger.contiguous(SITE, AGENT)
        assert ledger.forks(SITE, AGENT) == []
        keys = ledger.key_ring()
        batches = [
            wire_batch.verify(row.raw, SITE, AGENT, keys).batch
            for row in ledger.batches(SITE, AGENT)
        ]
    told = {
        batch.seq: event
        for batch in batches
        for event in batch.events
        if event["type"] == "resumed"
    }
    assert list(told) == [head.seq + 1]
    event = told[head.seq + 1]
    assert (event["reason"], event["operator"]) == ("the disk died", "li")
    assert event["lost_since"] == 1_790_784_000 * 10**9
    assert batches[head.seq].prev == head.sha256


@needs_broker
async def test_what_the_lost_machine_had_sent_but_nobody_acked_shows_as_a_fork(
    works, tmp_path, capsys
):
    clock = PlantClock()
    first, second = Meter(clock), Meter(clock, first=90.5)
    async with works.agent(clock=clock) as agent:
        async with works.gateway():
            await delivered(works, agent, first, 2)
            acked = agent._outbox.acked
        # The gateway is away; the broker keeps what the agent sends for its session.
        sent = agent.health.published
        await first.minute(agent)
        await until(lambda: agent.health.published > sent, "the batch's way to the broker")
        await until(lambda: not agent._uplink._client._out_messages, "every PUBACK")
        lost = agent._outbox.after(acked, 10)
    shutil.rmtree(tmp_path / "state")
    assert await resume(works) == 0
    async with works.gateway():
        await until(lambda: works.head() > acked, "what the broker kept")
        async with works.agent(clock=clock) as agent:
            await second.minute(agent)

            def frozen():
                with works.ledger() as ledger:
                    return ledger.is_frozen(SITE, AGENT)

            await until(frozen, "the fork")
            await until(lambda: agent.health.alarm == "foreign_history", "the alarm")
            own = agent._outbox.after(acked, 10)
            assert agent._outbox.unacked_bytes == sum(len(one.raw) for one in own) > 0
    with works.ledger() as ledger:
        kept = {raw for _, _, raw in ledger.forks(SITE, AGENT)}
        stood = [row.raw for row in ledger.batches(SITE, AGENT)]
    assert stood[acked] == lost[0].raw
    assert own[0].raw in kept


def test_the_ack_may_come_from_a_file_and_the_outbox_begins_behind_it(desk):
    code, said = desk.resume()
    assert code == 0
    assert "batch 8" in said
    outbox = sqlite3.connect(desk.outbox)
    values = dict(outbox.execute("SELECT key, value FROM meta").fetchall())
    outbox.close()
    assert values["head"] == values["acked"] == (7).to_bytes(8, "big") + bytes([7]) * 32
    assert "state" not in values


def test_a_batch_that_waits_at_the_gateway_is_told(desk):
    assert "batches 9 to 11 of the lost machine" in desk.resume(desk.ack(held=(9, 11)))[1]


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("batches", (1, bytes(32), b"raw", 0)),
        ("journal", (1, b"readings")),
        ("meta", ("state", b"state")),
        ("meta", ("head", bytes(40).replace(bytes(8), (5).to_bytes(8, "big"), 1))),
        ("meta", ("acked", bytes(40).replace(bytes(8), (5).to_bytes(8, "big"), 1))),
    ],
)
def test_an_outbox_with_data_is_left_alone(desk, table, row):
    desk.resume()
    outbox = sqlite3.connect(desk.outbox)
    outbox.execute("DELETE FROM meta")
    outbox.execute(f"INSERT INTO {table} VALUES({', '.join('?' * len(row))})", row)
    outbox.commit()
    before = list(outbox.iterdump())
    code, said = desk.resume()
    assert code == 1
    assert str(desk.outbox) in said
    assert "new outboxes only" in said or "damaged" in said
    assert list(outbox.iterdump()) == before
    outbox.close()


def test_twice_is_refused(desk):
    assert desk.resume()[0] == 0
    assert desk.resume()[0] == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"site": "al-002"}, "identity"), ({"agent": "gw-02"}, "identity"), ({"seq": 0}, "new one")],
)
def test_an_ack_for_another_agent_or_of_nothing_is_refused(desk, changes, reason):
    code, said = desk.resume(desk.ack(**changes))
    assert code == 1
    assert reason in said
    assert not desk.outbox.exists(), "nothing was begun"


def test_an_ack_that_is_not_the_gateways_is_refused(desk, tmp_path):
    stranger = create_signer(tmp_path / "stranger.pem")
    code, said = desk.resume(desk.ack(signer=stranger))
    assert (code, "unknown_key" in said) == (1, True)
    changed = desk.ack()
    whole = changed.read_bytes()
    changed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "signature" in desk.resume(changed)[1]
    changed.write_bytes(b"")
    assert "envelope" in desk.resume(changed)[1]
    assert not desk.outbox.exists()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"reason": "  "}, "--reason"),
        ({"reason": "x" * 201}, "--reason"),
        ({"operator": "l\x00i"}, "--operator"),
        ({"lost_since": "2026-03-01T08:00"}, "--lost-since"),
        ({"lost_since": "2999-03-01T08:00+08:00"}, "--lost-since"),
        ({"ack": "/nowhere/ack.bin"}, "/nowhere/ack.bin"),
    ],
)
def test_what_cannot_stand_in_a_batch_is_refused_by_name(desk, changes, key):
    code, said = desk.resume(**changes)
    assert code == 2
    assert key in said
    assert not desk.outbox.exists()


def test_a_broker_that_is_away_is_named(desk, capsys):
    assert cli.main(words(desk.works)) == 1
    assert "cannot be reached" in capsys.readouterr().err


@needs_broker
def test_a_broker_without_the_ack_is_named(works, capsys):
    assert cli.main(words(works, wait_s=0.3)) == 1
    assert "keeps nothing on carbon/v1/al-001/gw-01/ack" in capsys.readouterr().err

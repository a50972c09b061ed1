"""Rows 15 and 16: a broker that repeats old batches gets nothing for it but a few acks."""

import asyncio
import hashlib
import sqlite3
import time

import pytest

from gateway.config import load
from gateway.ingest import Intake, Verdict
from tests.faults.network.works import (
    Listener,
    Meter,
    PlantClock,
    needs_broker,
    restarts_paho,
    until,
)

pytestmark = [needs_broker, pytest.mark.timeout(120), restarts_paho]
REPLAYS = 10_000
CHUNK = 500  # so that nothing is left out as a flood
REPEAT_S = 0.2
TABLES = ("batches", "configs", "forks", "freezes", "quarantine", "quarantine_counts", "leaves")


async def made(works, minutes):
    """The bytes of a short chain that the gateway acked."""
    clock = PlantClock()
    meter = Meter(clock)
    async with works.agent(clock=clock) as agent:
        for _ in range(minutes):
            await meter.minute(agent)
        await until(lambda: agent._outbox.acked == agent._outbox.head.seq, "the ack")
        return [one.raw for one in agent._outbox.after(0, 100)]


def counts(works):
    """Rows of every table, and the points in the store."""
    config = load(works.gateway_file)
    found = {}
    for path, tables in ((config.ledger_path, TABLES), (config.store_path, ("points", "events"))):
        file = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for table in tables:
            found[table] = file.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        file.close()
    return found


async def test_an_old_batch_ten_thousand_times_adds_nothing_and_few_acks(
    works, broker, monkeypatch
):  # row 15
    verdicts = []
    offer = Intake.offer

    def watched(intake, message):
        verdicts.append(offer(intake, message))
        return verdicts[-1]

    async with works.gateway():
        raws = await made(works, 4)
        before = counts(works)
        listener = Listener(works, broker.port)
        await until(lambda: listener.acks, "the retained ack")
        monkeypatch.setattr(Intake, "offer", watched)
        began, heard = time.monotonic(), len(listener.acks)
        for number in range(CHUNK, REPLAYS + 1, CHUNK):
            for _ in range(CHUNK):
                listener.send(raws[1])
            await until(lambda number=number: len(verdicts) >= number, "the replays' way")
        await asyncio.sleep(3 * REPEAT_S)
        repeated, passed_s = len(listener.acks) - heard, time.monotonic() - began
        listener.close()
    assert verdicts == [Verdict.REPLAY] * REPLAYS
    assert 0 < repeated <= passed_s / REPEAT_S + 2
    assert {(ack.seq, ack.sha256) for ack in listener.acks} == {
        (len(raws), hashlib.sha256(raws[-1]).digest())
    }
    assert counts(works) == before


async def test_the_newest_batch_after_a_restart_of_the_gateway_is_acked_again(
    works, broker
):  # row 16
    async with works.gateway():
        raws = await made(works, 3)
    before = counts(works)
    listener = Listener(works, broker.port)
    try:
        await until(lambda: listener.acks, "the retained ack")
        first = len(listener.acks)
        async with works.gateway():
            await until(lambda: len(listener.acks) > first, "the ack at the start")
            await asyncio.sleep(2 * REPEAT_S)
            heard = len(listener.acks)
            listener.send(raws[-1])
            await until(lambda: len(listener.acks) > heard, "the repeated ack")
    finally:
        listener.close()
    again = listener.acks[-1]
    assert (again.seq, again.sha256) == (listener.acks[0].seq, listener.acks[0].sha256)
    assert again.seq == len(raws)
    assert again.at_ns > listener.acks[first].at_ns
    assert counts(works) == before

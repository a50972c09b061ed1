"""The task that asks witnesses goes on, whatever one of them or the ledger makes go wrong (75)."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_agent.errors import StoreError
from edge_agent.wire import notes
from gateway.checkpoints import Checkpointer
from gateway.ingest.log_keeper import LogKeeper
from gateway.ledger import Draft
from gateway.witness import Witness
from gateway.witness_http import WitnessClient, serving

ORIGIN, NAMES = "carbon-log/test", ("first.example/1", "second.example/1")
LIMIT_S = 60


class Troubled(WitnessClient):
    """Its first answer makes something raise what is no error of ours."""

    __slots__ = ()
    failures = 1

    def cosign(self, *args):
        if Troubled.failures:
            Troubled.failures -= 1
            return int("9" * 5_000), 0
        return super().cosign(*args)


async def test_a_witness_whose_answer_raises_anything_and_a_failing_ledger_end_nothing(
    tmp_path, ledger, gateway_signer, neighbour, clock, monkeypatch, caplog
):
    Troubled.failures = 1
    known = notes.note_key(ORIGIN, gateway_signer.public_spki())
    keys = [notes.note_key(name, neighbour.public_spki()) for name in NAMES]
    servers = [
        Witness(tmp_path / f"{place}.sqlite", name, neighbour, [known], clock)
        for place, name in enumerate(NAMES)
    ]
    ledger.documents.add(Draft("enrol", "al-001", "1", b"1", 5))
    maker = Checkpointer(ledger, gateway_signer, ORIGIN, 60)
    read, failures = ledger.tree.checkpoint, [StoreError("disk full")] * 2

    def checkpoint():
        if failures:
            raise failures.pop()
        return read()

    monkeypatch.setattr(ledger.tree, "checkpoint", checkpoint)
    with (
        serving(servers[0], "127.0.0.1", 0) as one,
        serving(servers[1], "127.0.0.1", 0) as two,
        ThreadPoolExecutor(1) as executor,
    ):
        clients = [
            kind(key, f"http://{host}:{port}", 20)
            for kind, key, (host, port) in zip(
                (Troubled, WitnessClient), keys, (one, two), strict=True
            )
        ]
        keeper = LogKeeper(maker, clients, executor, clock, lambda: None)
        task = asyncio.create_task(keeper.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                while (made := read()) is None or len(ledger.tree.cosignatures(made.size)) < 2:
                    assert not task.done(), task
                    await asyncio.sleep(0.005)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    assert failures == []
    assert "checkpoint_failed" in caplog.text
    assert "not_witnessed" in caplog.text
    assert "ValueError" in caplog.text


@pytest.fixture(autouse=True)
def _warnings(caplog):
    caplog.set_level("WARNING")

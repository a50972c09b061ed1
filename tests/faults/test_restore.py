"""A gateway restored from an old backup is given what it lost by the agents' retained batches."""

import shutil

import pytest

from gateway.ledger import Ledger
from simulators.demo import follow
from simulators.stage import AGENT, SITE, Plan, Stage

PLAN = Plan(
    pots=3,
    seed=9,
    seconds=86_400,
    block_s=1_200,
    pace_min_s=0.2,
    pace_max_s=1.0,
    aef=3.0,
    broker="mosquitto",
)
FILES = ("ledger.sqlite", "ledger.sqlite-wal", "store.sqlite", "store.sqlite-wal")


def copy(source, target):
    target.mkdir(exist_ok=True)
    for name in FILES:
        (target / name).unlink(missing_ok=True)
        if (source / name).exists():
            shutil.copy(source / name, target / name)
    for name in ("ledger.sqlite-shm", "store.sqlite-shm"):
        (target / name).unlink(missing_ok=True)


@pytest.mark.timeout(200)
def test_the_agents_retained_batches_heal_a_restored_gateway(tmp_path):
    stage = Stage(tmp_path, PLAN)
    gateway, backup = tmp_path / "gateway", tmp_path / "backup"
    try:
        stage.prepare()
        stage.start()
        stage.wait("some batches", lambda: (stage.gateway_status().get("seq") or 0) >= 5)
        stage.kill("gateway")
        copy(gateway, backup)
        kept = Ledger(backup / "ledger.sqlite")
        old = kept.head(SITE, AGENT).seq
        kept.close()
        stage.restart("gateway")
        stage.wait("more batches", lambda: (stage.gateway_status().get("seq") or 0) >= old + 10)
        stage.kill("gateway")
        lost = Ledger(gateway / "ledger.sqlite")
        before = [(row.seq, row.sha256) for row in lost.batches(SITE, AGENT)]
        lost.close()
        copy(backup, gateway)
        stage.restart("gateway")
        follow(stage, 120)
        healed = Ledger(gateway / "ledger.sqlite")
        after = [(row.seq, row.sha256) for row in healed.batches(SITE, AGENT)]
        assert healed.contiguous(SITE, AGENT)
        assert healed.forks(SITE, AGENT) == []
        healed.close()
        assert len(before) >= old + 10
        assert after[: len(before)] == before
        assert len(after) > len(before)
        done = stage.run("carbon-gateway", "audit", str(stage.gateway_file), check=False)
        assert done.returncode == 0, done.stdout
    finally:
        stage.stop()
    assert "gateway_fell_back" in (tmp_path / "logs" / "agent.log").read_text()

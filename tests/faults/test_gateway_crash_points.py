"""The gateway killed before and after every SQL statement: nothing lost, nothing doubled."""

import sqlite3

import pytest

from tests.faults.crashing import Bomb, Crash, connect_with, memory_folder, survivors
from tests.faults.step_gateway import GatewayRun


def statements(monkeypatch):
    bomb = Bomb()
    with memory_folder() as folder, monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_with(bomb))
        GatewayRun(folder).live(check=False)
    return bomb.count


@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_gateway_killed_at_any_statement_loses_and_doubles_nothing(monkeypatch, after):
    total = statements(monkeypatch)
    assert total > 200
    for at in range(1, total + 1):
        with memory_folder() as folder:
            first = folder / "first"
            first.mkdir()
            run = GatewayRun(first)
            with monkeypatch.context() as patch:
                patch.setattr(sqlite3, "connect", connect_with(Bomb(at, after=after)))
                with pytest.raises(Crash):
                    run.live()
            run.folder = survivors(first, folder / "second")
            run.live()

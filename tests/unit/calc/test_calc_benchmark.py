"""The calculation benchmark does the work it claims to time."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "calc.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("calc_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_planted_effect_is_found_in_bulk(bench):
    run = bench.bulk(200, 6 * 3_600)
    assert run.planted > 5
    assert run.found == run.planted
    assert run.samples == 200 * 6 * 3_600


def test_the_baseline_machine_finds_what_the_detector_finds(bench):
    plant = bench.Plant(300, seed=4)
    found = 0
    for piece in plant.pieces(2 * 3_600, bench.PIECE_S):
        row = piece.current_times.tolist()
        for pot in range(plant.away, 300):
            machine = bench.PlainMachine()
            part = slice(pot * len(row), (pot + 1) * len(row))
            machine.run(row, piece.volts.volts[part].tolist())
            found += len(machine.effects)
    assert plant.planted >= 1
    assert found == plant.planted


def test_a_missed_goal_is_an_exit_code(bench, monkeypatch, capsys):
    monkeypatch.setattr(bench, "BULK_GOAL", 1e15)
    assert bench.main(["--pots", "30", "--minutes", "2", "--days", "0.25"]) == 1
    assert "MISSED bulk 4x" in capsys.readouterr().out

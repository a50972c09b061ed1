"""The import contracts hold, and each breaks when it is violated."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).parent / "lint-imports"
PACKAGES = ("edge_agent", "gateway", "simulators")

VIOLATIONS = {
    "The agent reads left to right": ("edge_agent/outbox.py", "import edge_agent.agent"),
    "The gateway reads left to right": ("gateway/plan.py", "import gateway.month"),
    "Calculation is pure": ("edge_agent/calc/pfc.py", "import asyncio"),
    "A driver knows no other driver": (
        "edge_agent/drivers/modbus/driver.py",
        "import edge_agent.drivers.opcua",
    ),
    "Only acquisition opens devices": (
        "edge_agent/health.py",
        "import edge_agent.drivers.modbus",
    ),
    "MQTT has three homes": ("edge_agent/outbox.py", "import paho.mqtt.client"),
    "The agent knows no gateway": ("edge_agent/agent.py", "import gateway.plan"),
    "The gateway takes only the kernel from the agent": (
        "gateway/evidence.py",
        "import edge_agent.outbox",
    ),
    "Nobody ships a simulator": ("edge_agent/agent.py", "import simulators.compare"),
    "A simulator shares no code with what it tests": (
        "simulators/compare.py",
        "import edge_agent.calc.pfc",
    ),
    "The offline verifier needs no service": ("gateway/verify.py", "import gateway.ingest"),
}


def lint(folder):
    done = subprocess.run(
        [LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    text = " ".join(done.stdout.split())
    return {name: f"{name} KEPT" in text for name in VIOLATIONS}, done


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("contracts")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_contracts_hold(copy):
    kept, done = lint(copy)
    assert all(kept.values()), done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_breaks_its_contract(copy, name):
    file, line = VIOLATIONS[name]
    path = copy / file
    before = path.read_text()
    try:
        path.write_text(before + f"\n{line}\n")
        kept, done = lint(copy)
    finally:
        path.write_text(before)
    assert done.returncode != 0
    assert not kept[name], done.stdout

"""A plant pays only for the protocols it speaks."""

import subprocess
import sys

from edge_agent.wire import keys


def test_the_opc_ua_library_is_not_loaded_before_a_device_needs_it():
    code = (
        "import sys, edge_agent.cli\n"
        "from edge_agent.drivers.opcua import OpcUaConfig\n"
        "print('asyncua' in sys.modules)\n"
        "import edge_agent.drivers.opcua.subscriber\n"
        "print('asyncua' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


PLANT = """\
site: al-001
agent: gw-01
state_dir: state
keys: {signing: k.pem, gateway: [k.pub.pem]}
factor_set: cets-ag-04.01-v01-2024
devices:
  - {id: d, driver: modbus, host: 127.0.0.1, unit: 1, interval_s: 1, tags: [{id: x, address: 1, type: uint16}]}
"""


def test_an_agent_that_reads_meters_loads_nothing_of_what_it_does_not_use(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from edge_agent import config\n"
        "from edge_agent.agent import Agent\n"
        "from edge_agent.commands import run\n"
        "Agent(config.load(Path('plant.yaml')))\n"
        "print(*sys.modules)"
    )
    (tmp_path / "plant.yaml").write_text(PLANT)
    keys.create_signer(tmp_path / "k.pem")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = set(done.stdout.split())
    unused = {"numpy", "asyncua", "pkcs11", "edge_agent.drivers.mqtt", "edge_agent.drivers.hj212"}
    assert "edge_agent.drivers.modbus" in loaded
    assert not unused & loaded

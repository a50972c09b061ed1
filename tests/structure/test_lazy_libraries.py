"""A plant pays only for the protocols it speaks."""

import subprocess
import sys


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

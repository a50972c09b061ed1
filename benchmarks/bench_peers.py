"""Peers of the acquisition benchmark: how they are installed and what they are told to do.

Each function gives the command of one peer, or raises ``Missing`` when it cannot be installed here.
What is installed stays in the folder given (``--peers``), outside the repository's packages.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

THINGSBOARD = ("thingsboard-gateway==3.8.5", "pymodbus==3.9.2", "pyserial", "pyserial-asyncio")
NODE_RED = {
    "name": "peer-node-red",
    "version": "1.0.0",
    "private": True,
    "dependencies": {"node-red": "4.1.8", "node-red-contrib-modbus": "5.45.2"},
    # the nodes take their fork of modbus-serial by an address outside the registry
    "overrides": {
        "modbus-serial": "8.0.25",
        "@openp4nr/modbus-serial": "npm:modbus-serial@8.0.25",
    },
}
Place = tuple[Path, Path, Sequence[int], int]
"""Folder of this run, folder of the installed peers, the devices' ports, the broker's port."""


class Missing(Exception):
    """A peer cannot run here, and why."""


def _install(steps: Sequence[Sequence[str]], folder: Path, ready: Path) -> None:
    if ready.exists():
        return
    for step in steps:
        try:
            done = subprocess.run(
                step, cwd=folder, capture_output=True, text=True, timeout=900, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Missing(str(error)) from error
        if done.returncode:
            raise Missing(f"{' '.join(step[:4])} … failed: {done.stderr.strip()[-300:]}")
    if not ready.exists():
        raise Missing(f"{ready} is not there after the installation")


def thingsboard(
    place: Place, registers: int, interval_s: float, *, storage: str, per_tag: bool = False
) -> list[str]:
    """ThingsBoard Gateway with one slave a device; a range of registers, or a tag a register."""
    folder, peers, ports, mqtt_port = place
    home = peers / "thingsboard"
    home.mkdir(parents=True, exist_ok=True)
    python = home / "venv" / "bin" / "python"
    steps = (
        (sys.executable, "-m", "venv", str(home / "venv")),
        (str(python), "-m", "pip", "install", "-q", *THINGSBOARD),
    )
    program = home / "venv" / "bin" / "thingsboard-gateway"
    _install(steps, home, program)
    found = json.loads(
        subprocess.run(
            [
                str(python),
                "-c",
                "import json,thingsboard_gateway as t;print(json.dumps(t.__path__))",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    given = Path(found[0]) / "config"
    settings = json.loads((given / "tb_gateway.json").read_text())
    settings["thingsboard"] |= {
        "host": "127.0.0.1",
        "port": mqtt_port,
        "remoteConfiguration": False,
        "security": {"type": "accessToken", "accessToken": "bench"},
        "statistics": {"enable": False},
    }
    settings["storage"] |= {"type": storage, "data_file_path": "./data/data.db"}
    settings["connectors"] = [{"name": "bench", "type": "modbus", "configuration": "modbus.json"}]
    target = folder / "config"
    (folder / "data").mkdir()
    (folder / "logs").mkdir()
    target.mkdir()
    shutil.copy(given / "logs.json", target)
    text = (target / "logs.json").read_text().replace('"INFO"', '"ERROR"')
    (target / "logs.json").write_text(text)
    (target / "tb_gateway.json").write_text(json.dumps(settings))
    slaves = [_slave(port, registers, interval_s, per_tag=per_tag) for port in ports]
    (target / "modbus.json").write_text(json.dumps({"master": {"slaves": slaves}}))
    return ["env", f"TB_GW_CONFIG_DIR={target}", str(program)]


def _slave(port: int, registers: int, interval_s: float, *, per_tag: bool) -> dict[str, Any]:
    one = {"type": "16uint", "functionCode": 3, "objectsCount": 1}
    tags = [{**one, "tag": f"r{n}", "address": n} for n in range(registers)]
    span = {"address": f"0-{registers - 1}", "maxRegistersPerRequest": 125}
    whole = [{**one, "tag": "r_${address}", **span}]
    return {
        "host": "127.0.0.1",
        "port": port,
        "type": "tcp",
        "method": "socket",
        "unitId": 1,
        "deviceName": f"d{port}",
        "deviceType": "default",
        "timeout": 5,
        "byteOrder": "BIG",
        "wordOrder": "BIG",
        "retries": 1,
        "retryOnEmpty": True,
        "retryOnInvalid": True,
        "pollPeriod": round(interval_s * 1000),
        "connectAttemptTimeMs": 1000,
        "connectAttemptCount": 5,
        "waitAfterFailedAttemptsMs": 1000,
        "attributes": [],
        "timeseries": tags if per_tag else whole,
    }


def node_red(place: Place, registers: int, interval_s: float) -> list[str]:
    """Node-RED: a Modbus read node a device, its array as JSON to MQTT."""
    folder, peers, ports, mqtt_port = place
    home = peers / "node-red"
    home.mkdir(parents=True, exist_ok=True)
    if shutil.which("npm") is None:
        raise Missing("npm is not installed")
    (home / "package.json").write_text(json.dumps(NODE_RED))
    program = home / "node_modules" / "node-red" / "red.js"
    _install((("npm", "install", "--no-audit", "--no-fund"),), home, program)
    flow: list[dict[str, Any]] = [
        {"id": "tab", "type": "tab", "label": "bench"},
        {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(mqtt_port),
         "clientid": "", "autoConnect": True, "protocolVersion": "4", "keepalive": "60",
         "cleansession": True},
        {"id": "out", "type": "mqtt out", "z": "tab", "topic": "", "qos": "1", "retain": "",
         "broker": "broker", "wires": []},
    ]  # fmt: skip
    for place_, port in enumerate(ports):
        flow += [
            {"id": f"client{place_}", "type": "modbus-client", "clienttype": "tcp",
             "bufferCommands": True, "tcpHost": "127.0.0.1", "tcpPort": str(port),
             "tcpType": "DEFAULT", "unit_id": 1, "commandDelay": 1, "clientTimeout": 1000,
             "reconnectOnTimeout": True, "reconnectTimeout": 2000,
             "parallelUnitIdsAllowed": True},
            {"id": f"read{place_}", "type": "modbus-read", "z": "tab", "topic": f"nr/{place_}",
             "unitid": "1", "dataType": "HoldingRegister", "adr": "0",
             "quantity": str(registers), "rate": str(round(interval_s * 1000)),
             "rateUnit": "ms", "server": f"client{place_}", "showWarnings": False,
             "wires": [["out"], []]},
        ]  # fmt: skip
    (folder / "flows.json").write_text(json.dumps(flow))
    (folder / "settings.js").write_text(
        "module.exports = {uiPort: 0, uiHost: '127.0.0.1', httpAdminRoot: false, "
        "httpNodeRoot: false, logging: {console: {level: 'error'}}, "
        f"nodesDir: {json.dumps(str(home / 'node_modules' / 'node-red-contrib-modbus'))}}};\n"
    )
    settings = ["--userDir", str(folder), "--settings", str(folder / "settings.js")]
    return ["node", str(program), *settings, str(folder / "flows.json")]


def _thingsboard_sqlite(place: Place, registers: int, interval_s: float) -> list[str]:
    return thingsboard(place, registers, interval_s, storage="sqlite")


def _thingsboard_memory(place: Place, registers: int, interval_s: float) -> list[str]:
    return thingsboard(place, registers, interval_s, storage="memory")


def _thingsboard_tags(place: Place, registers: int, interval_s: float) -> list[str]:
    return thingsboard(place, registers, interval_s, storage="sqlite", per_tag=True)


PEERS: dict[str, Callable[[Place, int, float], list[str]]] = {
    "thingsboard-sqlite": _thingsboard_sqlite,
    "thingsboard-sqlite-tag-by-tag": _thingsboard_tags,
    "thingsboard-memory": _thingsboard_memory,
    "node-red": node_red,
}

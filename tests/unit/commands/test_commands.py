"""The verbs as a user sees them: what is printed, and the exit code."""

import asyncio
import contextlib
import json
import socket
import struct
import textwrap
import threading
from pathlib import Path

import pytest
import yaml
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent import __version__, cli
from edge_agent.clock import SystemClock
from edge_agent.health import Health, write_status
from edge_agent.legal import legal_digest
from edge_agent.wire import keys

NS = 10**9
ROOT = Path(__file__).resolve().parents[3]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def write(tmp_path):
    """Writes a configuration with working keys; gives its path."""
    keys.create_signer(tmp_path / "k.pem")

    def make(text, *, mqtt_port=1):
        head = f"""\
        site: al-001
        agent: gw-01
        state_dir: state
        keys: {{signing: k.pem, gateway: [k.pub.pem]}}
        mqtt: {{port: {mqtt_port}}}
        factor_set: cets-ag-04.01-v01-2024
        """
        path = tmp_path / "agent.yaml"
        path.write_text(textwrap.dedent(head) + textwrap.dedent(text))
        return path

    return make


def run(*args, capsys):
    code = cli.main([str(arg) for arg in args])
    said = capsys.readouterr()
    return code, said.out, [line.partition(".yaml:")[2] for line in said.err.splitlines()]


GOOD = """\
devices:
  - id: d
    driver: modbus
    host: 127.0.0.1
    unit: 1
    interval_s: 1
    tags:
      - {id: "x{n}", address: 1, type: uint16, repeat: {from: 1, to: 3}}
      - {id: y, address: 9, type: uint16}
"""


def test_check_says_what_a_right_configuration_holds(write, capsys):
    code, out, err = run("check", write(GOOD), capsys=capsys)
    assert code == 0
    assert out.endswith("ok: 1 devices, 4 tags, 0 potlines, 0 kilns, 0 units, 4 series\n")
    assert err == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("driver: modbus", "driver: modbuz", "9:5: devices[0].driver: no such driver: 'modbuz' (did you mean 'modbus'?)"),
        ("host: ", "hosd: ", "10:5: devices[0].hosd: unknown key (did you mean 'host'?)"),
        ("unit: 1", "unit: 300", "11:5: devices[0].unit: Input should be less than or equal to 247; found 300"),
        ("id: y, address: 9", "id: y, address: 70000", "15:17: devices[0].tags[3].address: Input should be less than or equal to 65535; found 70000"),
        ("type: uint16}", "type: uint61}", "15:29: devices[0].tags[3].type: Input should be 'bool', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'float32', 'float64', 'bcd16' or 'bcd32'; found 'uint61' (did you mean 'uint64'?)"),
        ("id: y,", "id: x2,", "15:10: devices[0].tags[3].id: tag id 'x2' stands twice"),
        ("id: y,", "id: y, maintenance: xx3,", "15:17: devices[0].tags[3].maintenance: 'xx3' is no flag (did you mean 'x3'?)"),
        ("id: y,", "id: y, deadband: {absolute: -1},", "15:28: devices[0].tags[3].deadband.absolute: Input should be greater than 0; found -1"),
        ("id: y,", "id: y, instrument: {calibrated_on: 2026-13-01},", "'2026-13-01' cannot be read"),
        ("to: 3}", "to: 0}", "14:48: devices[0].tags[0].repeat: found {'from': 1, 'to': 0} (repeat: {from: 1, to: 24} is right)"),
        ('"x{n}"', '"x{m}"', "14:9: devices[0].tags[0]: 'x{m}' holds braces other than {n} or {n:03d} ({n} or {n:03d} is right)"),
        ("unit: 1", "unit: 1\n    unit: 2", "12:5: devices[0].unit: this key stands twice"),
        ("tags:", "tags: [", "is no valid YAML"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)  # fmt: skip
def test_check_names_line_column_key_value_and_what_would_be_right(
    before, after, told, write, capsys
):
    place = GOOD.rindex(before)
    text = GOOD[:place] + after + GOOD[place + len(before) :]
    code, _, err = run("check", write(text), capsys=capsys)
    assert code == 2
    assert any(told in line for line in err), err


def test_check_names_everything_that_is_wrong_at_once_in_the_files_order(write, capsys):
    text = GOOD.replace("unit: 1", "unit: 0").replace("host: 127.0.0.1", "host: ''")
    text = text.replace("address: 9", "adress: 9")
    code, _, err = run("check", write(text), capsys=capsys)
    assert code == 2
    keys_named = [line.split(": ")[1] for line in err]
    assert keys_named == [
        "devices[0].host",
        "devices[0].unit",
        "devices[0].tags[3].address",
        "devices[0].tags[3].adress",
    ]


def test_check_names_missing_keys_and_factors_that_only_show_when_parts_are_built(write, capsys):
    path = write(GOOD)
    text = path.read_text().replace("k.pub.pem", "gone.pem").replace("v01-2024", "v01-1999")
    path.write_text(text)
    code, _, err = run("check", path, capsys=capsys)
    assert code == 2
    assert any("factor_set: there is no factor set" in line for line in err)
    assert any("keys.gateway[0]:" in line and "cannot be read" in line for line in err)


def test_the_schema_knows_every_key_of_the_sample_plant(capsys):
    code, out, _ = run("schema", capsys=capsys)
    schema = json.loads(out)
    assert code == 0
    plant = yaml.safe_load((ROOT / "configs/plants/aluminium.yaml").read_text(encoding="utf-8"))
    assert plant.keys() <= schema["properties"].keys()
    parts = schema["$defs"]
    for device in plant["devices"]:
        model = {"modbus": "ModbusConfig", "opcua": "OpcUaConfig"}[device["driver"]]
        assert device.keys() <= parts[model]["properties"].keys()
        tag_model = parts[model]["properties"]["tags"]["items"]["$ref"].rpartition("/")[2]
        for tag in device["tags"]:
            assert tag.keys() <= parts[tag_model]["properties"].keys()
    assert schema["additionalProperties"] is False


# --- probe --------------------------------------------------------------------------------------


@contextlib.contextmanager
def modbus_server(port):
    """A unit 1 with 230.5 as float32 in order CDAB at 0, and a uint16 at 10."""
    high, low = struct.unpack(">2H", struct.pack(">f", 230.5))
    words = [
        SimData(0, values=[low, high], datatype=DataType.REGISTERS),
        SimData(2, values=[7] * 20, datatype=DataType.REGISTERS),
    ]
    bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def serve():
        device = SimDevice(1, simdata=(bits, bits, words, words))
        server = ModbusTcpServer([device], address=("127.0.0.1", port))
        await server.serve_forever(background=True)
        started.set()
        await stop.wait()
        await server.shutdown()

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(20)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def device(port, order, *, name="meter"):
    return f"""\
  - id: {name}
    driver: modbus
    host: 127.0.0.1
    port: {port}
    unit: 1
    interval_s: 1
    timeout_s: 5
    order: {order}
    tags:
      - {{id: {name}.voltage, address: 0, type: float32, unit: V, range: [180, 260]}}
      - {{id: {name}.count, address: 10, type: uint16}}
"""


def test_probe_shows_values_of_a_right_device_and_finds_the_broker(write, capsys):
    port = free_port()
    with modbus_server(port), socket.create_server(("127.0.0.1", 0)) as broker:
        path = write("devices:\n" + device(port, "CDAB"), mqtt_port=broker.getsockname()[1])
        code, out, _ = run("probe", path, capsys=capsys)
    assert code == 0
    assert "meter.voltage=230.5 meter.count=7" in out
    assert "2 of 2 ok" in out


def test_probe_shows_a_strange_value_in_all_four_orders_beside_its_range(write, capsys):
    port = free_port()
    with modbus_server(port):
        code, out, _ = run("probe", write("devices:\n" + device(port, "ABCD")), capsys=capsys)
    assert code == 1
    assert "is not in [180, 260]" in out
    (orders,) = [line for line in out.splitlines() if "in every order" in line]
    assert "CDAB 230.5 (fits)" in orders
    assert orders.count("(fits)") == 1
    assert all(order in orders for order in ("ABCD", "BADC", "DCBA"))


def test_probe_names_a_device_and_a_broker_that_are_not_there(write, capsys):
    gone, port = free_port(), free_port()
    with modbus_server(port):
        text = "devices:\n" + device(gone, "CDAB", name="dead") + device(port, "CDAB")
        code, out, _ = run("probe", write(text, mqtt_port=free_port()), capsys=capsys)
    assert code == 1
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert "down" in rows["dead"]
    assert "cannot be connected" in rows["dead"]
    assert " ok " in rows["meter"]
    assert "down" in rows["(broker)"]


# --- status -------------------------------------------------------------------------------------


def test_status_shows_devices_and_says_when_the_agent_is_silent(write, tmp_path, capsys):
    path = write(GOOD)
    assert run("status", path, capsys=capsys)[0] == 2
    now_ns = SystemClock().utc_ns()
    (tmp_path / "state").mkdir()
    plain = {
        "device": "d",
        "state": "up",
        "last_data_ns": now_ns - 2 * NS,
        "polls": 41,
        "overruns": 3,
        "errors": 0,
        "last_error": "",
    }
    write_status(tmp_path / "state", now_ns, Health(overruns=3), [plain])
    code, out, _ = run("status", path, capsys=capsys)
    assert code == 0
    assert out.splitlines()[-1].split() == ["d", "up", "2", "s", "41", "3", "0"]
    down = plain | {"state": "down", "last_error": "NoAnswer: silence"}
    write_status(tmp_path / "state", now_ns - 10**12, Health(), [down])
    code, out, _ = run("status", path, capsys=capsys)
    assert code == 1
    assert "does not run or hangs" in out
    assert "NoAnswer: silence" in out


def test_software_prints_what_every_batch_of_it_carries(capsys):
    code, out, _ = run("software", capsys=capsys)
    name, digest = out.split()
    assert (code, name, bytes.fromhex(digest)) == (0, f"edge-agent/{__version__}", legal_digest())

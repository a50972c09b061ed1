"""``edge-agent probe`` of every driver, against other people's servers where there are some: it shows
what is there, and takes nothing away from the agent that runs beside it."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import textwrap
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent import cli
from edge_agent.wire import keys
from simulators.dlt645_meter import MeterLine
from simulators.hj212_logger import DataLogger


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def probe(tmp_path, capsys):
    """Probes a device given as YAML; gives exit code, its row, and all that was printed."""
    keys.create_signer(tmp_path / "k.pem")

    async def run(device):
        head = """\
        site: al-001
        agent: gw-01
        state_dir: state
        keys: {signing: k.pem, gateway: [k.pub.pem]}
        mqtt: {port: 1}
        factor_set: cets-ag-04.01-v01-2024
        devices:
        """
        path = tmp_path / "agent.yaml"
        path.write_text(textwrap.dedent(head) + textwrap.indent(textwrap.dedent(device), "  "))
        async with asyncio.timeout(60):
            code = await asyncio.to_thread(cli.main, ["probe", str(path)])
        out = capsys.readouterr().out
        (row,) = [line for line in out.splitlines() if line.startswith("d ")]
        assert code == 1  # there is no broker
        return row, out

    return run


async def test_a_dlt645_meter(probe):
    line = MeterLine({"202611240001": {0x00010000: bytes.fromhex("12345678")[::-1]}})
    async with line.tcp():
        row, _ = await probe(f"""\
        - id: d
          driver: dlt645
          host: 127.0.0.1
          port: {line.port}
          address: "202611240001"
          interval_s: 1
          timeout_s: 5
          tags: [{{id: kwh, quantity: forward_active_energy, unit: kWh}}]
        """)
    assert " ok " in row
    assert "kwh=123457" in row


async def test_a_logger_is_shown_and_keeps_what_it_sent(probe, tmp_path):
    port = free_port()
    (tmp_path / "pw").write_text("secret\n")
    logger = DataLogger("CEMS0001", "secret")

    async def report():
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    await logger.connect(port)
                    break
                await asyncio.sleep(0.02)
        for number, factor in enumerate(("a21026", "a34013")):
            await asyncio.sleep(0.3)
            stamp = f"2026112408000{number}"
            logger.report(2011, stamp, {factor: {"Rtd": 12.5 + number, "Flag": "N"}}, qn=stamp)
        with contextlib.suppress(OSError):
            while logger.waiting and await logger.listen():
                pass

    reporting = asyncio.create_task(report())
    row, _ = await probe(f"""\
    - id: d
      driver: hj212
      port: {port}
      loggers: [{{mn: CEMS0001, password_file: pw}}]
      tags: [{{id: so2, factor: a21026, unit: mg/m3}}, {{id: dust, factor: a34013, unit: mg/m3}}]
    """)
    await reporting
    logger.close()
    assert " ok " in row
    assert "so2=12.5 dust=13.5" in row
    assert len(logger.waiting) == 2  # nobody has acknowledged anything: the agent will get it


async def test_a_missing_password_file_is_named(probe):
    row, _ = await probe(f"""\
    - id: d
      driver: hj212
      port: {free_port()}
      loggers: [{{mn: CEMS0001, password_file: gone.pw}}]
      tags: [{{id: so2, factor: a21026}}]
    """)
    assert " down " in row
    assert "gone.pw" in row


async def test_files_are_shown_and_stay_where_they_are(probe, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("t,m\n2026-03-01 08:00:00,5.5\n")
    device = """\
    - id: d
      driver: file_drop
      folder: in
      time: t
      tags: [{id: m, column: m, unit: t}]
    """
    row, _ = await probe(device)
    assert " ok " in row
    assert "m=5.5" in row
    (folder / "b.csv").write_text("t,m\n2026-03-01 08:00:00,many\n")
    (folder / "a.csv").unlink()
    row, out = await probe(device)
    assert " down " in row
    assert "b.csv:2: " in out
    assert [path.name for path in folder.rglob("*")] == ["b.csv"]
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.fixture
async def broker(tmp_path):
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    if not Path(program).exists():
        pytest.skip("mosquitto is not installed")
    port, file = free_port(), tmp_path / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    with subprocess.Popen([program, "-c", file], stderr=subprocess.DEVNULL) as process:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                await asyncio.sleep(0.02)
        yield port
        process.terminate()


class Client:
    """A client whose session the broker keeps, and what came in it."""

    def __init__(self, port, name):
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
        self.came, self.lost, self.subscribed = [], [], asyncio.Event()
        loop = asyncio.get_running_loop()
        self.client.on_message = lambda _c, _u, message: self.came.append(message)
        self.client.on_disconnect = lambda *_: self.lost.append(True)
        self.client.on_subscribe = lambda *_: loop.call_soon_threadsafe(self.subscribed.set)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    async def subscribe(self, topic):
        self.client.subscribe(topic, qos=1)
        await asyncio.wait_for(self.subscribed.wait(), 20)

    async def publish(self, topic, payload):
        sent = self.client.publish(topic, payload, 1)
        await asyncio.to_thread(sent.wait_for_publish, 20)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


async def test_a_plant_broker_is_read_beside_the_agent_and_its_nodes_are_not_told_it_left(
    probe, broker
):
    agent, plant = Client(broker, "carbon"), Client(broker, "plant")
    await agent.subscribe("plant/#")
    await plant.subscribe("spBv1.0/STATE/#")
    publishing = True

    async def publish():
        while publishing:
            await plant.publish("plant/gas", json.dumps({"v": 7.5}))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(publish())
    row, _ = await probe(f"""\
    - id: d
      driver: mqtt
      host: 127.0.0.1
      port: {broker}
      client_id: carbon
      host_id: carbon
      tags: [{{id: gas, topic: plant/gas, path: v, unit: m3/h}}]
    """)
    publishing = False
    await task
    async with asyncio.timeout(20):
        while not agent.came:
            await asyncio.sleep(0.02)
    was_lost = bool(agent.lost)
    agent.close()
    plant.close()
    assert " ok " in row
    assert "gas=7.5" in row
    assert not was_lost  # nobody took its name
    assert plant.came == []  # no STATE of a host that comes and goes

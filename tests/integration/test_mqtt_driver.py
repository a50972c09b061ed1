"""The MQTT driver against a real mosquitto, a stock Sparkplug node, and every fault of a session."""

import asyncio
import contextlib
import gc
import json
import shutil
import socket
import subprocess
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.clock import SystemClock
from edge_agent.drivers.mqtt import HISTORY, MqttDriver
from edge_agent.drivers.mqtt_config import MqttConfig
from edge_agent.drivers.mqtt_link import MqttLink
from edge_agent.errors import NoAnswer, Refused
from edge_agent.readings import BAD_COMMS, GOOD, Reason
from simulators.sparkplug_node import SparkplugNode

CLOCK = SystemClock()
AT_MS = 1_790_000_000_123
PLAIN = (
    {"id": "raw", "topic": "plant/raw"},
    {"id": "power", "topic": "plant/json", "path": "data.power", "scale": "0.001"},
    {"id": "dated", "topic": "plant/json", "path": "data.power", "time_path": "ts"},
    {"id": "total", "topic": "plant/json", "path": "data.total", "totaliser": {}},
)
METRICS = (
    {"id": "load", "group": "plant", "node": "kiln", "metric": "load"},
    {"id": "below", "group": "plant", "node": "kiln", "metric": "below"},
    {"id": "total", "group": "plant", "node": "kiln", "device": "meter", "metric": "total"},
    {"id": "watts", "group": "plant", "node": "kiln", "device": "meter", "metric": "power"},
)


class Broker:
    def __init__(self, folder, extra=""):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.file = folder / "mosquitto.conf"
        self.file.write_text(f"listener {self.port} 127.0.0.1\n{extra or 'allow_anonymous true'}\n")
        self.process = None

    async def start(self):
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.process = subprocess.Popen(
            [program, "-c", str(self.file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", self.port))[1].close()
                    return
                await asyncio.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def broker(tmp_path):
    if not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()):
        pytest.skip("mosquitto is not installed")
    made = Broker(tmp_path)
    await made.start()
    yield made
    made.stop()


@contextlib.asynccontextmanager
async def publisher(port):
    """Somebody who publishes, and waits until the broker has it."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()

    async def publish(topic, payload, *, retain=False, qos=1):
        sent = client.publish(topic, payload, qos, retain)
        await asyncio.to_thread(sent.wait_for_publish, 20)

    try:
        publish.client = client
        yield publish
    finally:
        client.disconnect()
        client.loop_stop()


def config(port, tags, **fields):
    base = {"driver": "mqtt", "id": "plant", "host": "127.0.0.1", "client_id": "agent"}
    return MqttConfig.model_validate({**base, "port": port, "tags": tags, **fields})


@contextlib.asynccontextmanager
async def session(port, tags, **fields):
    async with asyncio.timeout(60), MqttDriver(config(port, tags, **fields), CLOCK) as driver:
        samples = kept(driver)
        async with contextlib.aclosing(samples):
            yield driver, samples


async def kept(driver):
    """What the driver delivers; it is durable when the next step begins."""
    deliveries = 0
    async with contextlib.aclosing(driver.samples()) as samples:
        async for readings in samples:
            yield readings
            deliveries += 1
            driver.kept(deliveries)


async def until(samples, count):
    readings = []
    while len(readings) < count:
        readings += await anext(samples)
    return readings


async def test_plain_topics_give_numbers_and_values_of_json(broker):
    async with session(broker.port, PLAIN) as (_, samples), publisher(broker.port) as publish:
        await publish("plant/raw", "-12.5")
        body = {"ts": AT_MS, "data": {"power": 4711, "total": 2**53 + 1}}
        await publish("plant/json", json.dumps(body))
        got = {reading.tag: reading for reading in await until(samples, 4)}
    assert {tag: reading.value for tag, reading in got.items()} == {
        "raw": -12.5, "power": 4.711, "dated": 4711, "total": 2**53 + 1,
    }  # fmt: skip
    assert {reading.quality for reading in got.values()} == {GOOD}
    assert got["dated"].time_ns == AT_MS * 1_000_000


async def test_what_is_no_number_is_bad_and_does_not_stop_the_next(broker):
    async with session(broker.port, PLAIN) as (_, samples), publisher(broker.port) as publish:
        await publish("plant/raw", "OFF")
        await publish("plant/json", "{broken")
        await publish("plant/raw", "7.5")
        got = await until(samples, 5)
    assert [(r.tag, r.value) for r in got] == [
        ("raw", None), ("power", None), ("dated", None), ("total", None), ("raw", 7.5),
    ]  # fmt: skip


async def test_a_retained_message_is_taken_only_with_a_time_of_its_own(broker):
    async with publisher(broker.port) as publish:
        await publish("plant/raw", "1.5", retain=True)
        await publish("plant/json", json.dumps({"ts": AT_MS, "data": {"power": 9}}), retain=True)
        async with session(broker.port, PLAIN) as (_, samples):
            await publish("plant/raw", "2.5")
            got = await until(samples, 2)
    assert [(r.tag, r.value) for r in got] == [("dated", 9), ("raw", 2.5)]


async def test_what_was_published_while_the_agent_was_away_or_busy_comes_after_it(broker):
    async with session(broker.port, PLAIN[:1]):
        pass
    async with publisher(broker.port) as publish:
        for number in range(50):
            await publish("plant/raw", f"{number}.5")
        async with session(broker.port, PLAIN[:1]) as (_, samples):
            first = await anext(samples)  # taken, but its acknowledgement goes with the next step
        async with session(broker.port, PLAIN[:1]) as (_, samples):
            values = [reading.value for reading in await until(samples, 50)]
    assert first[0].value == 0.5
    assert values == [number + 0.5 for number in range(50)]


async def test_what_is_not_durable_is_not_acknowledged_and_a_repeat_of_what_is_is_not_taken(broker):
    """A plain number has no time of its own: taken twice it would be two readings."""
    async with session(broker.port, PLAIN[:1]):
        pass
    marks = []
    async with publisher(broker.port) as publish:
        for number in range(50):
            await publish("plant/raw", f"{number}.5")
        driver, values = MqttDriver(config(broker.port, PLAIN[:1]), CLOCK), []
        async with asyncio.timeout(60), driver, contextlib.aclosing(driver.samples()) as samples:
            while len(values) < 20:  # mosquitto's window: nothing more comes without an answer
                values += [reading.value for reading in await anext(samples)]
                marks += driver.marks()
            stuck = asyncio.ensure_future(anext(samples))
            await asyncio.wait([stuck], timeout=0.3)
            assert not stuck.done()
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)
        # Of these the first ten are durable when the agent is killed, before it could say so.
        again = MqttDriver(config(broker.port, PLAIN[:1]), CLOCK)
        again.remember(marks[:10])
        async with asyncio.timeout(60), again, contextlib.aclosing(kept(again)) as samples:
            values += [reading.value for reading in await until(samples, 40)]
    expected = [number + 0.5 for number in range(50)]
    assert values[:20] == expected[:20]
    assert values[20:] == expected[10:]


async def test_repeats_within_a_life_are_known_and_acknowledged_when_the_first_is_durable(broker):
    async with session(broker.port, PLAIN[:1]):
        pass
    driver, values = MqttDriver(config(broker.port, PLAIN[:1]), CLOCK), []
    async with publisher(broker.port) as publish:
        for number in range(30):
            await publish("plant/raw", f"{number}.5")
        deliveries = 0
        async with asyncio.timeout(60), driver, contextlib.aclosing(driver.samples()) as samples:
            while len(values) < 20:
                values += [reading.value for reading in await anext(samples)]
                deliveries += 1
        async with asyncio.timeout(60), driver, contextlib.aclosing(driver.samples()) as samples:
            driver.kept(deliveries)
            while len(values) < 30:
                values += [reading.value for reading in await anext(samples)]
                deliveries += 1
                driver.kept(deliveries)
    assert values == [number + 0.5 for number in range(30)]


async def test_a_broker_that_lost_the_session_counts_anew_and_nothing_is_taken_for_a_repeat(broker):
    driver = MqttDriver(config(broker.port, PLAIN[:1]), CLOCK)
    driver.remember([b"m" * 16])
    async with asyncio.timeout(60), driver:
        assert not driver._receipts._known
    driver.remember([b"m" * 16])
    async with asyncio.timeout(60), driver:
        assert list(driver._receipts._known) == [b"m" * 16]


async def test_a_broker_that_dies_ends_the_session_and_a_new_one_works(broker):
    async with session(broker.port, PLAIN[:1]) as (_, samples):
        broker.stop()
        with pytest.raises(NoAnswer, match="connection ended"):
            await anext(samples)
    with pytest.raises(NoAnswer):
        async with session(broker.port, PLAIN[:1]):
            pass
    await broker.start()
    async with session(broker.port, PLAIN[:1]) as (_, samples), publisher(broker.port) as publish:
        await publish("plant/raw", "3.5")
        assert (await anext(samples))[0].value == 3.5


async def test_a_broker_that_accepts_and_never_answers_is_no_answer():
    async def swallow(reader, writer):
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(NoAnswer):
            async with session(port, PLAIN[:1], timeout_s=0.1):
                pass


# --- TLS and passwords ------------------------------------------------------------------------


def make_certificate(folder):
    """A self-signed certificate of 127.0.0.1, made for this test."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "broker.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "broker.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


async def test_a_broker_with_tls_and_a_password_lets_in_who_has_both(tmp_path):
    if not shutil.which("mosquitto_passwd"):
        pytest.skip("mosquitto is not installed")
    make_certificate(tmp_path)
    (tmp_path / "pw").write_text("plant-secret\n")
    password = tmp_path / "passwords"
    done = subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(password), "agent", "plant-secret"], check=False
    )
    assert done.returncode == 0
    password.chmod(0o644)
    (tmp_path / "broker.key").chmod(0o644)
    broker = Broker(
        tmp_path,
        f"allow_anonymous false\npassword_file {password}\nuser root\n"
        f"certfile {tmp_path / 'broker.pem'}\nkeyfile {tmp_path / 'broker.key'}",
    )
    await broker.start()
    fields = {"username": "agent", "password_file": tmp_path / "pw"}
    tls = {"ca": tmp_path / "broker.pem"}
    try:
        async with session(broker.port, PLAIN[:1], tls=tls, **fields):
            pass
        (tmp_path / "pw").write_text("wrong\n")
        with pytest.raises(Refused, match="(?i)not authori"):
            async with session(broker.port, PLAIN[:1], tls=tls, **fields):
                pass
        with pytest.raises(NoAnswer, match="(?i)certificate"):
            async with session(broker.port, PLAIN[:1], tls={}, **fields):
                pass
    finally:
        broker.stop()
        gc.collect()  # a socket left open would be told here, as an error


# --- Sparkplug ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stock(stock_project):
    return stock_project("stock-sparkplug")


async def test_a_stock_node_is_asked_for_its_births_and_its_values_are_those_it_published(
    broker, stock
):
    async with session(broker.port, METRICS) as (_, samples):
        process = subprocess.Popen(
            ["node", "node.js", str(broker.port)], cwd=stock, stdin=subprocess.PIPE
        )
        try:
            readings = await until(samples, 305)
            process.stdin.write(b"stop\n")
            process.stdin.flush()
            while {r.quality for r in {r.tag: r for r in readings}.values()} != {BAD_COMMS}:
                readings += await anext(samples)  # until the newest of every tag says so
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
    born = {reading.tag: reading.value for reading in readings[:4]}
    assert born == {"load": 41.25, "below": -321, "total": 9_876_543_210, "watts": 1.5}
    watts = readings[4:304]
    assert [reading.value for reading in watts] == [number + 0.5 for number in range(1, 301)]
    assert watts[0].time_ns == (AT_MS + 1) * 1_000_000
    assert (readings[304].value, readings[304].quality) == (-5, HISTORY)


async def test_a_lost_message_makes_values_bad_until_the_births_asked_for_have_come(broker):
    async with session(broker.port, METRICS) as (_, samples), publisher(broker.port) as publish:
        outbox, asked = [], asyncio.Event()
        loop = asyncio.get_running_loop()
        publish.client.on_message = lambda *_: loop.call_soon_threadsafe(asked.set)
        publish.client.subscribe("spBv1.0/plant/NCMD/kiln", 1)
        node = SparkplugNode("plant", "kiln", lambda *message: outbox.append(message))
        node.time_ms = AT_MS

        async def flush():
            while outbox:
                await publish(*outbox.pop(0))

        node.birth({"load": ("double", 1.5), "below": ("int16", -3)})
        await flush()
        assert [r.value for r in await until(samples, 2)] == [1.5, -3]
        node.skip()
        node.report({"load": 66.6})
        await flush()
        lost = await until(samples, 2)
        assert {(r.tag, r.value, r.quality) for r in lost} == {
            ("load", None, BAD_COMMS), ("below", None, BAD_COMMS),
        }  # fmt: skip
        node.birth({"load": ("double", 2.5), "below": ("int16", -4)})
        node.report({"load": 3.5})
        await flush()
        assert [r.value for r in await until(samples, 3)] == [2.5, -4, 3.5]


async def test_a_host_that_is_waited_for_publishes_its_state(broker):
    seen = asyncio.Queue()
    loop = asyncio.get_running_loop()
    async with publisher(broker.port) as publish:
        publish.client.on_message = lambda _c, _d, m: loop.call_soon_threadsafe(
            seen.put_nowait, json.loads(m.payload)
        )
        publish.client.subscribe("spBv1.0/STATE/carbon", 1)
        async with session(broker.port, METRICS, host_id="carbon"):
            first = await seen.get()
        async with asyncio.timeout(20):
            second = await seen.get()
    assert (first["online"], second["online"]) == (True, False)
    assert first["timestamp"] == second["timestamp"]


async def test_a_source_time_that_is_implausible_is_ours_and_marked(broker):
    async with session(broker.port, PLAIN[2:3]) as (_, samples), publisher(broker.port) as publish:
        await publish("plant/json", json.dumps({"ts": 12, "data": {"power": 9}}))
        (reading,) = await until(samples, 1)
    assert (reading.value, reading.quality.reason) == (9, Reason.CLOCK)
    assert abs(reading.time_ns - CLOCK.utc_ns()) < 60e9


async def test_the_supervisor_comes_back_after_the_broker_did(broker):
    acquired = Acquisition([config(broker.port, PLAIN[:1])], CLOCK, jitter=lambda: 0.0)
    task = asyncio.create_task(acquired.run())
    batches = acquired.batches()

    async def feed(value):
        async with publisher(broker.port) as publish:
            while not task.done():
                await publish("plant/raw", value)
                await asyncio.sleep(0.05)

    try:
        async with asyncio.timeout(60):
            for value in ("1.5", "2.5"):
                feeding = asyncio.create_task(feed(value))
                while (await anext(batches))[-1].value != float(value):
                    pass
                assert acquired.status()[0].state is DeviceState.UP
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                broker.stop()
                await broker.start()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_connection_that_comes_after_its_deadline_is_hung_up_on(broker, monkeypatch):
    import time

    made = []
    slow = MqttLink._made

    def dawdling(self):
        time.sleep(0.3)
        made.append(slow(self))
        return made[-1]

    monkeypatch.setattr(MqttLink, "_made", dawdling)
    with pytest.raises(NoAnswer, match="in time"):
        async with session(broker.port, PLAIN[:1], timeout_s=0.05):
            pass
    async with asyncio.timeout(20):
        while not made or made[0].socket() is not None:
            await asyncio.sleep(0.01)

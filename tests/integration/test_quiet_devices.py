"""Devices that regularly send once an hour or once a day are no dead devices: the real drivers
under the supervisor, with a clock that moves when told."""

import asyncio
import contextlib
import heapq
import json
import shutil
import socket
import subprocess
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import ValidationError

from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.drivers.file_drop_rows import FileDropConfig
from edge_agent.drivers.hj212_values import Hj212Config
from edge_agent.drivers.mqtt_config import MqttConfig
from simulators.hj212_logger import DataLogger

S = 10**9
HOUR_S = 3_600
START_NS = round(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * S


class FakeClock:
    """Moves in steps and gives the drivers' threads and sockets a little real time after each."""

    def __init__(self):
        self.now_ns = START_NS
        self._sleepers = []
        self._tickets = count()

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.now_ns

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        due_ns = self.now_ns + round(seconds * S)
        heapq.heappush(self._sleepers, (due_ns, next(self._tickets), woken))
        await woken

    async def advance(self, seconds, step_s=60.0):
        for _ in range(round(seconds / step_s)):
            self.now_ns += round(step_s * S)
            while self._sleepers and self._sleepers[0][0] <= self.now_ns:
                _, _, woken = heapq.heappop(self._sleepers)
                if not woken.done():
                    woken.set_result(None)
            await asyncio.sleep(0.001)


class Watched:
    """A device under the supervisor, and every state and renewal it was told to have."""

    def __init__(self, config):
        self.clock = FakeClock()
        self.acquired = Acquisition([config], self.clock, jitter=lambda: 0.0)
        self._tasks = []
        self.values = []
        self.told = []

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(work) for work in (self.acquired.run(), self._take())]
        return self

    async def __aexit__(self, *exc):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self):
        async for readings in self.acquired.batches():
            self.values += [reading.value for reading in readings]
            self.acquired.kept(self.acquired.taken.place)

    async def opened(self):
        async with asyncio.timeout(30):
            while not self.acquired._devices[0]._is_open:
                await self.clock.advance(1, 1)

    async def until(self, count):
        async with asyncio.timeout(30):
            while len(self.values) < count:
                await self.clock.advance(1, 1)

    async def pass_time(self, seconds):
        await self.clock.advance(seconds, 60 if seconds < 5 * HOUR_S else 900)
        for event in self.acquired.drain_events():
            self.told.append(event.get("state") or event["type"])

    @property
    def status(self):
        return self.acquired.status()[0]


def hj212(tmp_path, tags, **fields):
    (tmp_path / "pw").write_text("secret\n")
    loggers = [{"mn": "CEMS0001", "password_file": tmp_path / "pw"}]
    base = {"driver": "hj212", "id": "cems", "loggers": loggers, "tags": tags}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Hj212Config.model_validate({**base, "port": port, **fields})


HOURLY = {"id": "so2_h", "factor": "a21026", "field": "Avg", "command": "2061"}


async def test_an_hourly_logger_is_up_between_its_reports_and_its_connection_stays(tmp_path):
    config = hj212(tmp_path, [HOURLY])
    async with Watched(config) as device:
        await device.opened()
        logger = await DataLogger("CEMS0001", "secret").connect(config.port)
        for hour in range(6):
            stamp = f"2026030108{hour:02}00"
            logger.report(2061, stamp, {"a21026": {"Avg": hour + 0.5, "Flag": "N"}}, qn=stamp)
            await device.until(hour + 1)
            while logger.waiting:
                assert await logger.listen()
            await device.pass_time(HOUR_S + 300)  # and five minutes late
        assert device.told == ["up"]
        assert device.status.state is DeviceState.UP
        assert (device.status.renewals, device.status.reconnects) == (0, 0)
        await device.pass_time(HOUR_S)
        assert device.status.state is DeviceState.DEGRADED  # one report is missing
        await device.pass_time(20 * 24 * HOUR_S)
        assert (device.status.renewals, device.status.reconnects) == (0, 0)  # the port stays open
        logger.report(2061, "20260322080000", {"a21026": {"Avg": 9.5, "Flag": "N"}}, qn="9")
        await device.until(7)
        assert device.status.state is DeviceState.UP
        logger.close()


async def test_a_folder_with_a_file_a_day_is_up_between_them(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    plain = {"driver": "file_drop", "id": "drop", "folder": folder, "time": "t", "scan_s": 600}
    plain |= {"record": tmp_path / "record", "tags": [{"id": "m", "column": "m"}]}
    async with Watched(FileDropConfig.model_validate(plain)) as device:
        for day in range(3):
            (folder / f"{day}.csv").write_text(f"t,m\n2026-03-0{day + 1} 06:00:00,{day}.5\n")
            await device.until(day + 1)
            await device.pass_time(26 * HOUR_S)
        assert device.told == ["up"]
        assert device.status.state is DeviceState.UP
        await device.pass_time(24 * HOUR_S)
        assert device.status.state is DeviceState.DEGRADED
        assert device.status.renewals == 0


@pytest.fixture
async def broker(tmp_path):
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    if not Path(program).exists():
        pytest.skip("mosquitto is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "mosquitto.conf"
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


def publisher(port, **fields):
    plain = {"driver": "mqtt", "id": "plant", "host": "127.0.0.1", "port": port, "client_id": "a"}
    plain["tags"] = [{"id": "gas", "topic": "plant/gas", "path": "v"}]
    return MqttConfig.model_validate({**plain, **fields})


async def test_an_hourly_publisher_is_up_between_its_messages_and_its_session_stays(broker):
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    async with Watched(publisher(broker)) as device:
        await device.opened()
        for hour in range(4):
            client.publish("plant/gas", json.dumps({"v": hour}), qos=1)
            await device.until(hour + 1)
            await device.pass_time(HOUR_S + 300)
        assert device.told == ["up"]
        assert (device.status.renewals, device.status.reconnects) == (0, 0)
        await device.pass_time(HOUR_S)
        assert device.status.state is DeviceState.DEGRADED
    client.disconnect()
    client.loop_stop()


async def test_a_publisher_that_is_told_to_send_each_minute_is_missed_after_two(broker):
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker)
    client.loop_start()
    async with Watched(publisher(broker, sends_every_s=60)) as device:
        await device.opened()
        client.publish("plant/gas", json.dumps({"v": 1}), qos=1)
        await device.until(1)
        await device.pass_time(60)
        assert device.status.state is DeviceState.UP
        await device.pass_time(120)
        assert device.status.state is DeviceState.DEGRADED
    client.disconnect()
    client.loop_stop()


MINUTES = {"id": "so2_m", "factor": "a21026", "field": "Avg"}
REAL_TIME = {"id": "so2", "factor": "a21026"}
DAILY = {"id": "so2_d", "factor": "a21026", "field": "Avg", "command": "2031"}


@pytest.mark.parametrize(
    ("tags", "fields", "degraded_s", "silence_s"),
    [
        ([REAL_TIME, HOURLY], {}, 900, 1_800),
        ([MINUTES], {}, 900, 1_800),
        ([HOURLY], {}, 5_400, 5_400),
        ([DAILY], {}, 129_600, 129_600),
        ([HOURLY], {"sends_every_s": 60}, 900, 1_800),
        ([HOURLY], {"stale_s": 10_000, "idle_s": 60}, 10_000, 60),
        ([{**REAL_TIME, "interval_s": 7_200}], {}, 10_800, 10_800),
    ],
)
def test_how_long_a_logger_may_be_silent_follows_from_what_it_sends(
    tmp_path, tags, fields, degraded_s, silence_s
):
    config = hj212(tmp_path, tags, **fields)
    assert (config.degraded_s, config.silence_s) == (degraded_s, silence_s)
    assert config.renewed_s == float("inf")


def test_a_renewal_may_be_asked_for_and_refused_for_every_driver():
    assert publisher(1).renewed_s == 54_000
    assert publisher(1, renew_s=60_000).renewed_s == 60_000
    assert publisher(1, renew_s="never").renewed_s == float("inf")
    with pytest.raises(ValidationError, match="never"):
        publisher(1, renew_s="sometimes")

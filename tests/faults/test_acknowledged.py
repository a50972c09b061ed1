"""What a logger or a broker was told is kept stays so, whenever the agent is killed.

The real program, killed by SIGKILL before and after the statements that write its journal and its
batches. A logger sends again what was not answered, as loggers do; a real mosquitto sends again what
was not acknowledged to it. Plant time is the devices', so that every report ends a minute.
"""

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import paho.mqtt.client as mqtt
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.outbox import Outbox
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from simulators.hj212_logger import DataLogger
from tests.faults.network.works import Broker, free_port, needs_broker
from tests.faults.step_agent import AGENT, SITE, content

ROOT = Path(__file__).parents[2]
MN, PASSWORD = "CEMS0001", "pw-of-the-logger"
START = datetime(2026, 3, 1, tzinfo=UTC)
LIVES = [(at, ("before", "after")[at // 2 % 2]) for at in range(0, 44, 2)]
REPORTS = 30  # a life, if it lasts


class Publisher:
    """Who publishes with QoS 1; each message carries its time."""

    def __init__(self, port):
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def publish(self, at, value):
        body = json.dumps({"v": value, "t": round(at.timestamp() * 1_000)})
        self._client.publish("plant/hall", body, qos=1).wait_for_publish(30)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


class Plant:
    """A logger and a publisher; ``answered`` and ``published`` are values by their time."""

    def __init__(self, port, publisher):
        self.port, self.publisher = port, publisher
        self.logger = DataLogger(MN, PASSWORD)
        self.sent, self.published = {}, {}
        self.minute = 0

    @property
    def answered(self):
        return {at: value for qn, (at, value) in self.sent.items() if qn not in self.logger.waiting}

    async def report(self):
        at = START + timedelta(minutes=self.minute)
        value = 100.5 + self.minute
        self.minute += 1
        local = f"{at.astimezone(ZoneInfo('Asia/Shanghai')):%Y%m%d%H%M%S}"
        qn = f"{local}123"
        self.sent[qn] = (at, value)
        self.logger.report(2011, local, {"a21026": {"Rtd": value, "Flag": "N"}}, qn=qn)
        await asyncio.to_thread(self.publisher.publish, at, -value)
        self.published[at] = -value

    async def meet(self, agent):
        """Connect as soon as it listens; False when what the broker had kept killed it before."""
        while agent.poll() is None:
            try:
                await self.logger.connect(self.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                return True
        return False

    async def live(self, agent):
        """Report until the agent dies, or until everything was answered."""
        if not await self.meet(agent):
            return
        self.logger.send_again()
        listening = asyncio.create_task(self._listen())
        for _ in range(REPORTS):
            if listening.done():
                break
            await self.report()
            await asyncio.sleep(0.05)
        while not listening.done() and self.logger.waiting:
            await asyncio.wait([listening], timeout=0.5)
            self.logger.send_again()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self):
        while await self.logger.listen():
            pass


@pytest.fixture
def broker(tmp_path):
    made = Broker(tmp_path)
    made.start()
    yield made
    made.kill()


def write_config(folder, port, broker_port):
    (folder / "pw").write_text(PASSWORD)
    create_signer(folder / "agent.pem")
    create_signer(folder / "gw.pem")
    logger = {"driver": "hj212", "id": "cems", "port": port, "stale_s": 86_400,
              "late_s": 86_400, "ahead_s": 86_400, "loggers": [{"mn": MN, "password_file": "pw"}],
              "tags": [{"id": "so2", "factor": "a21026"}]}  # fmt: skip
    hall = {"driver": "mqtt", "id": "hall", "host": "127.0.0.1", "port": broker_port,
            "client_id": "carbon", "stale_s": 86_400,
            "tags": [{"id": "hall", "topic": "plant/hall", "path": "v", "time_path": "t"}]}  # fmt: skip
    plain = {
        "site": SITE, "agent": AGENT, "state_dir": "state",
        "keys": {"signing": "agent.pem", "gateway": ["gw.pub.pem"]},
        "mqtt": {"port": 9}, "factor_set": "ipcc-2006",
        # what is late here came again after a kill
        "time": {"source": "device", "lateness_s": 30, "journal_s": 1},
        "devices": [{**logger, "lateness_s": 600}, {**hall, "lateness_s": 600}],
    }  # fmt: skip
    file = folder / "agent.yaml"
    file.write_text(yaml.safe_dump(plain))
    return file


def start(config, at, when):
    command = [sys.executable, "-m", "tests.faults.dying", str(config), str(at), when]
    with (config.parent / "agent.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stderr=log)


async def lives(plant, config):
    killed = 0
    for at, when in [*LIVES, (-1, "before")]:
        agent = start(config, at, when)
        try:
            await plant.live(agent)
            if at < 0:
                await settle(plant, config)
            elif await asyncio.to_thread(agent.wait, 30) == -9:
                killed += 1
        finally:
            agent.kill()
            agent.wait()
    return killed


async def settle(plant, config):
    """Time goes on until what was told is accounted for."""
    for _ in range(14):
        await plant.report()
    while plant.logger.waiting:
        assert await plant.logger.listen()
    wanted = len(plant.published) - 13
    end = time.monotonic() + 20  # what is lost by then is told by the comparison
    while len(rows_of(config)[0]) < 2 * wanted and time.monotonic() < end:
        await asyncio.sleep(0.1)


def rows_of(config):
    folder = config.parent
    ring = KeyRing([Enrolment(SITE, AGENT, public_key((folder / "agent.pub.pem").read_bytes()))])
    outbox = Outbox(folder / "state/outbox.sqlite", 2**30)
    try:
        return content(outbox.after(0, 100_000), ring)
    finally:
        outbox.close()


@needs_broker
@pytest.mark.timeout(240)
async def test_what_was_acknowledged_is_in_a_batch_once_wherever_the_agent_was_killed(
    tmp_path, broker
):
    port = free_port()
    config, publisher = write_config(tmp_path, port, broker.port), Publisher(broker.port)
    plant = Plant(port, publisher)
    # The broker keeps messages for whom it has met.
    first = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="carbon", clean_session=False)
    first.connect("127.0.0.1", broker.port)
    first.subscribe("plant/hall", 1)
    for _ in range(20):
        first.loop(0.05)
    first.disconnect()
    try:
        async with asyncio.timeout(200):
            killed = await lives(plant, config)
    finally:
        plant.logger.close()
        publisher.close()
    assert killed == len(LIVES)
    rows, events = rows_of(config)
    end = max(at for _, at in rows)
    for series, told in (("so2", plant.answered), ("hall", plant.published)):
        expected = {round(at.timestamp()) * 10**9: value for at, value in told.items()}
        found = {at: value for (name, at), value in rows.items() if name == series}
        assert {at: value for at, value in expected.items() if at <= end} == found, series
        assert len(found) > 2 * len(LIVES)
    assert not [event for event in events if event["type"] in ("late_samples", "lost_records")]

"""Peers of the OPC UA driver: node-opcua's server, a cable that can be cut, and how to listen."""

import asyncio
import contextlib
import json
import random
import socket
from pathlib import Path

import pytest

from edge_agent.acquisition import Acquisition
from edge_agent.clock import SystemClock
from edge_agent.drivers.opcua import OpcUaConfig, opcua_driver
from edge_agent.readings import Sample

URI = "urn:test:potline"
LIMIT_S = 90
CLOCK = SystemClock()


def free_port():
    """A port below those that outgoing connections take, as a server may begin late on it."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture(scope="session", name="free_port")
def free_port_fixture():
    return free_port


class NodeServer:
    """node-opcua's server as a process, driven by lines on its stdin."""

    def __init__(self, project, folder, port=0, **setup):
        self.port = port or free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self._project = project
        self._folder = Path(folder)
        self._setup = {"port": self.port, "folder": str(folder), **setup}
        self._process = None

    async def __aenter__(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        log = (self._folder / "stderr").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            "node",
            "server.mjs",
            json.dumps(self._setup),
            cwd=self._project,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        log.close()
        try:
            await self._line(b"ready\n")
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *exc):
        await self.kill()

    async def kill(self):
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def send(self, **command):
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._line(b"done\n")

    async def _line(self, wanted):
        async with asyncio.timeout(LIMIT_S):
            while line := await self._process.stdout.readline():
                if line == wanted:
                    return
        raise AssertionError((self._folder / "stderr").read_text(errors="replace")[-2_000:])


@pytest.fixture(scope="session")
def node_project(stock_project):
    """node-opcua with a server of ours."""
    return stock_project("node-opcua")


@pytest.fixture
def node_server(node_project, tmp_path):
    """Makes servers; their certificates lie in a folder of the test's own unless named."""

    def make(port=0, folder=None, **setup):
        return NodeServer(node_project, folder or tmp_path / "server", port, **setup)

    return make


class Cable:
    """A relay that can be cut, or stop passing bytes while it stays connected."""

    def __init__(self, target):
        self.port = free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}"
        self.connections = 0
        self.is_plugged = True
        self.flows = asyncio.Event()
        self.flows.set()
        self._target = target
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *exc):
        self._server.close()
        self.flows.set()
        await self.cut()

    async def cut(self):
        """Close what is connected and let nobody in until ``plug``."""
        self.is_plugged = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def plug(self):
        self.is_plugged = True

    async def _relay(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        other = None
        try:
            if not self.is_plugged:
                return
            self.connections += 1
            there, other = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pipe(reader, other))
                group.create_task(self._pipe(there, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for side in (writer, other):
                if side is not None:
                    side.transport.abort()

    async def _pipe(self, reader, writer):
        while chunk := await reader.read(65_536):
            await self.flows.wait()
            writer.write(chunk)
        raise ConnectionResetError


@pytest.fixture
def cable():
    return Cable


def configured(url, *names, **fields):
    """A device with these tags; a dict among them has more than a name."""
    tags = []
    for name in names:
        more = {"id": name} if isinstance(name, str) else dict(name)
        more.setdefault("node", f"nsu={URI};s={more['id']}")
        if more["id"] == "wave":
            more.setdefault("period_s", 0.1)
        tags.append(more)
    fields = {"publishing_ms": 50, "timeout_s": 5, "stale_s": 5, "retry_s": 0.2, **fields}
    fields.setdefault("insecure", "security" not in fields)
    return OpcUaConfig(driver="opcua", id="pots", url=url, tags=tags, **fields)


@pytest.fixture(scope="session")
def device():
    return configured


class Listener:
    """Runs an acquisition and keeps what it delivered."""

    def __init__(self, *devices, clock=CLOCK):
        self.acquisition = Acquisition(devices, clock, jitter=lambda: 0.0)
        self.found = []
        self._events = []

    async def __aenter__(self):
        self._tasks = [
            asyncio.create_task(self.acquisition.run()),
            asyncio.create_task(self._collect()),
        ]
        return self

    async def __aexit__(self, *exc):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _collect(self):
        async for readings in self.acquisition.batches():
            self.found += readings

    async def until(self, is_enough):
        """Wait until ``is_enough`` says so of this listener."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while not is_enough(self):
                    for task in self._tasks:
                        assert not task.done(), task
                    await asyncio.sleep(0.02)
        except TimeoutError:
            print(self.status, self.found[-20:])
            raise

    @property
    def events(self):
        self._events += self.acquisition.drain_events()
        return self._events

    @property
    def status(self):
        return self.acquisition.status()[0]

    def samples(self, tag):
        return [r for r in self.found if isinstance(r, Sample) and r.tag == tag]

    def values(self, tag):
        return [sample.value for sample in self.samples(tag)]


@pytest.fixture(scope="session")
def listen():
    return Listener


@pytest.fixture(scope="session")
def first_readings():
    """What a driver delivers first, until ``count`` readings are there."""

    async def read(config, count=1):
        found = []
        async with (
            asyncio.timeout(LIMIT_S),
            opcua_driver(config, CLOCK) as driver,
            contextlib.aclosing(driver.samples()) as deliveries,
        ):
            async for readings in deliveries:
                found += readings
                if len(found) >= count:
                    return found
        raise AssertionError

    return read

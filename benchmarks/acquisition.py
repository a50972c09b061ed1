"""What reading costs: registers a second and CPU of the whole agent against other pollers.

One process plays the devices (``simulators.fast_modbus``) and counts what is asked of it; every
poller runs as a process of its own against the same devices, one after the other, and its CPU time
and memory are read from the kernel. A mosquitto takes what is published, where it is installed.

    ours          `edge-agent run`: acquisition, judging, minute means, journal, signed durable outbox,
                  MQTT; a tag a register, no merging by hand
    bare          pymodbus alone, the same blocks, values thrown away
    thingsboard   ThingsBoard Gateway from PyPI, in its SQLite and in its memory mode
    node-red      Node-RED with its Modbus nodes from npm, JSON to MQTT, stores nothing

A peer that cannot be installed is named and skipped. Three scenarios:

    rate      50 lines x 100 registers, once a second: CPU and memory at equal work
    flat-out  the same devices, as fast as the poller can (ours and bare); ours with room for a minute
              of so many readings, which its usual limit would hold back
    many      10,000 tags once a second (ours): memory
    overload  10,000 tags every 10 ms (ours): what cannot be read is counted, memory stays bounded

    python benchmarks/acquisition.py [--seconds 60] [--peers DIR] [--only ours,bare]
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import yaml
from bench_peers import PEERS, Missing, Place
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.wire import keys

ROOT = Path(__file__).resolve().parents[1]
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, slots=True)
class Work:
    """Devices to be read: a register is a tag."""

    lines: int
    registers: int
    interval_s: float
    waiting_mb: int = 128

    @property
    def tags(self) -> int:
        """Tags in all."""
        return self.lines * self.registers


class Listener:
    """Takes everything that is published, and plays the one answer ThingsBoard Gateway waits for."""

    def __init__(self, port: int) -> None:
        self.messages = self.bytes = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        with contextlib.suppress(OSError):
            self._client.connect("127.0.0.1", port)
            self._client.subscribe("#", qos=1)
            self._client.loop_start()

    def _on_message(self, client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        self.messages += 1
        self.bytes += len(message.payload)
        head, _, number = message.topic.rpartition("/")
        if head == "v1/devices/me/rpc/request":
            unlimited = {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""}
            limits: dict[str, Any] = {"maxPayloadSize": 1_000_000, "maxInflightMessages": 1_000}
            limits |= {"rateLimits": unlimited, "gatewayRateLimits": unlimited}
            client.publish(f"v1/devices/me/rpc/response/{number}", json.dumps(limits), qos=1)

    def close(self) -> None:
        """Stop."""
        self._client.loop_stop()


@dataclass(frozen=True, slots=True)
class Figures:
    """What one poller did in one scenario."""

    poller: str
    scenario: str
    seconds: float
    registers_per_s: float
    cpu_percent: float
    registers_per_cpu_s: float
    cpu_percent_per_1000_tags_per_s: float
    rss_mb: float
    note: str = ""


class Devices:
    """The simulated devices, in a process of their own."""

    def __init__(self, lines: int) -> None:
        command = [sys.executable, "-m", "simulators.fast_modbus", "--moving"]
        self._process = subprocess.Popen(
            [*command, "--lines", str(lines)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ports: list[int] = self._read("ports")

    def registers(self) -> int:
        """Registers that were asked for so far."""
        assert self._process.stdin is not None  # noqa: S101  a pipe
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        registers: int = self._read("registers")
        return registers

    def close(self) -> None:
        """Stop."""
        self._process.terminate()
        self._process.wait()

    def _read(self, key: str) -> Any:
        assert self._process.stdout is not None  # noqa: S101  a pipe
        return json.loads(self._process.stdout.readline())[key]


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """CPU time of a process and its descendants [s]."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) * _TICK_S
    return total


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its descendants [MB]."""
    total = 0.0
    for member in family(pid):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * _PAGE_MB
    return total


def measure(
    name: str, scenario: str, process: subprocess.Popen[bytes], devices: Devices, seconds: float
) -> Figures:
    """Watch a poller that has warmed up."""
    began, cpu, registers = time.monotonic(), cpu_s(process.pid), devices.registers()
    resident: list[float] = []
    while time.monotonic() - began < seconds:
        time.sleep(0.5)
        resident.append(rss_mb(process.pid))
        if process.poll() is not None:
            return Figures(name, scenario, 0, 0, 0, 0, 0, 0, f"ended with {process.returncode}")
    took = time.monotonic() - began
    cpu, registers = cpu_s(process.pid) - cpu, devices.registers() - registers
    rate = registers / took
    return Figures(
        name,
        scenario,
        round(took, 1),
        round(rate),
        round(100 * cpu / took, 2),
        round(registers / max(cpu, _TICK_S)),
        round(100 * cpu / took / max(rate, 1) * 1_000, 3),
        round(max(resident), 1),
        f"RSS per minute in the second half {slope_mb(resident[len(resident) // 2 :]):+.1f} MB",
    )


def slope_mb(resident: Sequence[float]) -> float:
    """Growth by least squares of values half a second apart [MB/min]."""
    middle, mean = (len(resident) - 1) / 2, sum(resident) / len(resident)
    above = sum((at - middle) * (mb - mean) for at, mb in enumerate(resident))
    return 120 * above / sum((at - middle) ** 2 for at in range(len(resident)))


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[int]:
    """A private mosquitto; gives its port."""
    path = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    if path is None:
        print("mosquitto is not installed: nothing takes what is published", flush=True)
        yield port
        return
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([path, "-c", str(settings)], stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        process.wait()


def ours(folder: Path, work: Work, ports: Sequence[int], mqtt_port: int) -> list[str]:
    """A configuration of the agent; gives its command."""
    keys.create_signer(folder / "k.pem")
    devices = [
        {
            "id": f"l{place}",
            "driver": "modbus",
            "host": "127.0.0.1",
            "port": port,
            "unit": 1,
            "interval_s": work.interval_s,
            "tags": [
                {"id": f"l{place}.r{n}", "address": n, "type": "uint16"}
                for n in range(work.registers)
            ],
        }
        for place, port in enumerate(ports)
    ]
    path = folder / "agent.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "site": "bench",
                "agent": "a1",
                "state_dir": "state",
                "keys": {"signing": "k.pem", "gateway": ["k.pub.pem"]},
                "mqtt": {"port": mqtt_port},
                "time": {"lateness_s": 2, "status_s": 5},
                "limits": {"waiting_mb": work.waiting_mb},
                "factor_set": "cets-ag-04.01-v01-2024",
                "devices": devices,
            }
        )
    )
    return [sys.executable, "-m", "edge_agent.cli", "--log-level", "ERROR", "run", str(path)]


def bare(work: Work, ports: Sequence[int]) -> list[str]:
    """The command of the baseline."""
    listed = ",".join(map(str, ports))
    script = str(ROOT / "benchmarks" / "bare_pymodbus.py")
    settings = ["--registers", str(work.registers), "--interval", str(work.interval_s)]
    return [sys.executable, script, "--ports", listed, *settings]


def command_of(poller: str, work: Work, place: Place) -> list[str]:
    """How a poller is started on these devices."""
    folder, _, ports, mqtt_port = place
    if poller == "ours":
        return ours(folder, work, ports, mqtt_port)
    if poller == "bare":
        return bare(work, ports)
    return PEERS[poller](place, work.registers, work.interval_s)


def run(poller: str, scenario: str, work: Work, args: argparse.Namespace) -> Figures:
    """One poller in one scenario, from its start to its end."""
    devices = Devices(work.lines)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        stack.callback(devices.close)
        folder = Path(name)
        mqtt_port = stack.enter_context(broker(folder))
        listener = Listener(mqtt_port)
        stack.callback(listener.close)
        command = command_of(poller, work, (folder, args.peers, devices.ports, mqtt_port))
        output = stack.enter_context((folder / "output").open("wb"))
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            warm_up(process, devices, args.warm_up)
            published = listener.bytes
            figures = measure(poller, scenario, process, devices, args.seconds)
            published = listener.bytes - published
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        if figures.note.startswith("ended"):
            print((folder / "output").read_text(errors="replace")[-2_000:], flush=True)
        return with_note(figures, folder, published)


def warm_up(process: subprocess.Popen[bytes], devices: Devices, seconds: float) -> None:
    """Wait until the devices are asked, and some time on."""
    deadline = time.monotonic() + 60
    while not devices.registers() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(seconds)


def with_note(figures: Figures, folder: Path, published: int) -> Figures:
    """What came out at the broker, and what the agent itself says of its overruns."""
    note = f"{figures.note}, published {published} bytes"
    path = folder / "state" / "status.json"
    if path.is_file():
        health = json.loads(path.read_text())["health"]
        for name in ("overruns", "batches", "rows"):
            note += f", {name} {health[name]}"
    return Figures(**{**asdict(figures), "note": note})


SCENARIOS = {
    "rate": (Work(50, 100, 1.0), ("ours", "bare", *PEERS)),
    "flat-out": (Work(50, 100, 0.001, 4_096), ("ours", "bare")),
    "many": (Work(100, 100, 1.0), ("ours",)),
    "overload": (Work(100, 100, 0.01), ("ours",)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scenarios; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=10.0)
    parser.add_argument("--peers", type=Path, default=ROOT / ".bench-peers")
    parser.add_argument("--only", default="", help="pollers, by comma")
    parser.add_argument("--scenario", default="", help="scenarios, by comma")
    args = parser.parse_args(argv)
    only = set(filter(None, args.only.split(",")))
    found: dict[tuple[str, str], Figures] = {}
    for scenario, (work, pollers) in SCENARIOS.items():
        if args.scenario and scenario not in args.scenario.split(","):
            continue
        for poller in pollers:
            if only and poller not in only:
                continue
            try:
                figures = run(poller, scenario, work, args)
            except Missing as reason:
                print(f"{poller}: skipped: {reason}", flush=True)
                continue
            found[scenario, poller] = figures
            print(json.dumps(asdict(figures)), flush=True)
    return report(found)


def report(found: dict[tuple[str, str], Figures]) -> int:
    """The ratios that are goals; exit code 1 when one is missed."""
    checks: list[tuple[str, float, float]] = []

    def ratio(scenario: str, poller: str, goal: float, what: str = "registers_per_cpu_s") -> None:
        mine, other = found.get((scenario, "ours")), found.get((scenario, poller))
        if mine and other and getattr(other, what):
            value = getattr(mine, what) / getattr(other, what)
            checks.append((f"{scenario}: {what} over {poller}", value, goal))

    ratio("rate", "bare", 0.8, "registers_per_s")
    ratio("rate", "thingsboard-sqlite", 5)
    ratio("rate", "thingsboard-memory", 2)
    ratio("rate", "node-red", 1)
    ratio("flat-out", "bare", 0.8, "registers_per_s")
    missed = 0
    for name, value, goal in checks:
        missed += value < goal
        print(f"{name}: {value:.2f}, goal {goal:g}: {'met' if value >= goal else 'MISSED'}")
    limits = [("many", 150.0)]
    if ("rate", "node-red") in found:
        limits.append(("rate", found["rate", "node-red"].rss_mb / 2))
    for scenario, limit_mb in limits:
        if (scenario, "ours") in found:
            value = found[scenario, "ours"].rss_mb
            missed += value > limit_mb
            verdict = "met" if value <= limit_mb else "MISSED"
            print(f"{scenario}: RSS {value:.0f} MB, goal {limit_mb:.0f}: {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

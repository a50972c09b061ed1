"""A whole plant with agent, broker and gateway as processes, started through their CLIs."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SITE, AGENT = "al-001", "gw-01"
SHANGHAI = timezone(timedelta(hours=8))
_BIN = Path(sys.executable).parent


class StageError(RuntimeError):
    """A process did not come up or ended when it should not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is staged: plant size, time and how fast it goes.

    The accounted seconds end with the month. With ``real_time`` the plant's time is the wall
    clock, scalars at 1 Hz.
    """

    pots: int = 24
    seed: int = 7
    month: str = "2026-10"
    seconds: int = 31 * 86_400
    mode: str = "blocks"
    speed: float = 60.0
    block_s: int = 3_600
    pace_min_s: float = 0.05
    pace_max_s: float = 5.0
    aef: float = 0.15
    broker: str = "amqtt"
    real_time: bool = False
    plant_arguments: tuple[str, ...] = ()

    def start(self) -> datetime:
        """When the accounted seconds begin, plant local time."""
        first = datetime.strptime(self.month, "%Y-%m").replace(tzinfo=SHANGHAI)
        after = (first + timedelta(days=31)).replace(day=1)
        return after - timedelta(seconds=self.seconds)


@dataclass(slots=True)
class Stage:
    """The processes of one demo in one folder; stopped by process id."""

    folder: Path
    plan: Plan
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)
    logs: list[IO[bytes]] = field(default_factory=list)
    broker_port: int = 0

    def prepare(self) -> None:
        """Folders, keys and a broker port."""
        for name in ("keys", "logs", "truth"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "keys").chmod(0o700)
        self.run("edge-agent", "keys-new", str(self.folder / "keys/agent.pem"))
        self.run("carbon-gateway", "keys", "new", str(self.folder / "keys/gateway.pem"))
        self.broker_port = free_port()

    def start(self) -> None:
        """Broker, plant, gateway and agent, in this order, each when the one before is up."""
        self.start_broker()
        self.start_plant()
        self._write_gateway()
        self._write_agent(json.loads((self.folder / "ready.json").read_text(encoding="utf-8")))
        self.launch("gateway", self.cli("carbon-gateway", "run", str(self.gateway_file)))
        self.launch("agent", self.cli("edge-agent", "run", str(self.agent_file)))

    @property
    def gateway_file(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateway.yaml"

    @property
    def agent_file(self) -> Path:
        """The agent's configuration."""
        return self.folder / "agent.yaml"

    def start_broker(self) -> None:
        """An embedded broker, or mosquitto from the system, on loopback."""
        folder = self.folder / "broker"
        folder.mkdir(exist_ok=True)
        if self.plan.broker == "mosquitto":
            program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
            if program is None:
                message = "mosquitto is not installed"
                raise StageError(message)
            file = folder / "mosquitto.conf"
            file.write_text(mosquitto_configuration(self.broker_port, folder), encoding="utf-8")
            command = [program, "-c", str(file)]
        else:
            port = str(self.broker_port)
            command = [sys.executable, "-m", "simulators.broker"]
            command += ["--port", port, "--dir", str(folder)]
        self.launch("broker", command)
        self.wait("the broker", lambda: listens(self.broker_port))

    def start_plant(self) -> None:
        """The simulated plant; waits until its servers listen."""
        plan = self.plan
        command = [sys.executable, "-m", "simulators.plant"]
        for name, item in (
            ("pots", plan.pots),
            ("seed", plan.seed),
            ("seconds", plan.seconds),
            ("mode", plan.mode),
            ("speed", plan.speed),
            ("block-s", plan.block_s),
            ("pace-min-s", plan.pace_min_s),
            ("pace-max-s", plan.pace_max_s),
            ("aef", plan.aef),
            ("truth", self.folder / "truth"),
            ("ready", self.folder / "ready.json"),
        ):
            command += [f"--{name}", str(item)]
        if not plan.real_time:
            command += ["--start", plan.start().isoformat()]
        self.launch("plant", [*command, "--hold", *plan.plant_arguments])
        self.wait("the plant", (self.folder / "ready.json").is_file)

    def _write_gateway(self) -> None:
        settings = {
            "state_dir": "gateway",
            "keys": {"ack": "keys/gateway.pem"},
            "mqtt": {"host": "127.0.0.1", "port": self.broker_port, "client_id": "gateway"},
            "agents": [{"site": SITE, "agent": AGENT, "public_key": "keys/agent.pub.pem"}],
            "late_after_s": None,
            "future_after_s": None,
            "clock_drift_ppm": None,
        }
        self.gateway_file.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    def _write_agent(self, ready: dict[str, Any]) -> None:
        """The example plant's configuration, pointed at the simulated servers."""
        text = (ROOT / "configs/plants/aluminium.yaml").read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
        settings["mqtt"]["port"] = self.broker_port
        settings["state_dir"] = "agent"
        settings["control_plan"] = str(ROOT / "configs/plants" / settings["control_plan"])
        blocks = self.plan.mode == "blocks"
        lateness_s = 2 * self.plan.block_s if blocks else max(5.0, self.plan.speed)
        settings["time"] = {"source": "device", "lateness_s": lateness_s}
        if self.plan.real_time:
            settings["time"] = {"source": "system", "lateness_s": 5}
        settings["potlines"][0]["pots"]["count"] = self.plan.pots
        for device in settings["devices"]:
            if device["driver"] == "opcua":
                _point_opcua(device, ready["opcua"], self.plan)
            else:
                device["port"] = ready["modbus"]
                device["interval_s"] = 0.05 if blocks else 1 if self.plan.real_time else 0.2
        self.agent_file.write_text(
            yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8"
        )

    def launch(self, name: str, command: list[str]) -> None:
        """Start a process with its output in ``logs/NAME.log``."""
        log = (self.folder / "logs" / f"{name}.log").open("ab")
        self.logs.append(log)
        self.commands[name] = command
        self.processes[name] = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def kill(self, name: str) -> None:
        """SIGKILL: no chance to tidy up."""
        self.processes[name].kill()
        self.processes[name].wait()

    def restart(self, name: str) -> None:
        """Start a killed process again."""
        self.launch(name, self.commands[name])

    def check_alive(self) -> None:
        """Raise when a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                tail = (self.folder / "logs" / f"{name}.log").read_text(errors="replace")[-2_000:]
                message = f"{name} ended with exit code {process.returncode}:\n{tail}"
                raise StageError(message)

    def wait(self, what: str, condition: Callable[[], bool], limit_s: float = 60) -> None:
        """Wait until a condition holds.

        Raises:
            StageError: it does not within the limit, or a process died.
        """
        end = time.monotonic() + limit_s
        while not condition():
            self.check_alive()
            if time.monotonic() > end:
                message = f"{what} did not come up within {limit_s:g} s"
                raise StageError(message)
            time.sleep(0.05)

    def plant_progress(self) -> dict[str, Any]:
        """The truth's summary so far."""
        try:
            text = (self.folder / "truth/truth.json").read_text(encoding="utf-8")
            return dict(json.loads(text))
        except (OSError, ValueError):
            return {}

    def gateway_status(self) -> dict[str, Any]:
        """What the gateway says of its one agent."""
        done = self.run("carbon-gateway", "status", str(self.gateway_file), "--json", check=False)
        try:
            told = json.loads(done.stdout)
            agent = dict(told["agents"][0])
            agent["points"] = told["points"].get(SITE) or 0
        except (ValueError, LookupError):
            return {}
        return agent

    def cli(self, program: str, *arguments: str) -> list[str]:
        """Command line of an installed program."""
        return [str(_BIN / program), *arguments]

    def run(
        self, program: str, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run an installed program to its end."""
        done = subprocess.run(
            self.cli(program, *arguments), cwd=ROOT, check=False, capture_output=True, text=True
        )
        if check and done.returncode != 0:
            message = f"{program} {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}"
            raise StageError(message)
        return done

    def stop(self) -> None:
        """Stop everything, the agent first."""
        for name in ("agent", "gateway", "plant", "broker"):
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self.logs:
            log.close()


def _point_opcua(device: dict[str, Any], url: str, plan: Plan) -> None:
    device["url"] = url
    tags = []
    for tag in device["tags"]:
        if "repeat" in tag:
            tag["repeat"]["to"] = plan.pots
        if plan.mode == "blocks" and not tag["id"].endswith("status"):
            tag["node"] += "Block"
            tag["period_s"] = 1
        tags.append(tag)
    device["tags"] = tags


def mosquitto_configuration(port: int, folder: Path) -> str:
    """A private broker on loopback that keeps its queue on disk."""
    return (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nmessage_size_limit 270000\n"
        f"persistence true\npersistence_location {folder}/\nautosave_interval 1\n"
        "max_queued_messages 10000\n"
    )


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0

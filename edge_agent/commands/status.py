"""``edge-agent status``: how the running agent is, from the file it writes beside its outbox."""

import argparse
import json
from pathlib import Path
from typing import Any

from edge_agent import config as config_
from edge_agent.clock import NS_PER_S, SystemClock
from edge_agent.commands import Verb
from edge_agent.commands.table import table
from edge_agent.errors import ConfigError
from edge_agent.health import STATUS_FILE

_LATE = 3


def register(verb: Verb) -> None:
    """Add the verb."""
    verb("status", status).add_argument("config", type=Path, help="the agent's YAML file")


def status(args: argparse.Namespace) -> int:
    """Show how the running agent and its devices are; 1 when something is wrong."""
    config = config_.load(args.config)
    path = config.state_dir / STATUS_FILE
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"no status: {error}"
        raise ConfigError(message, file=str(path), right="has the agent run?") from error
    age_s = (SystemClock().utc_ns() - written["at_ns"]) / NS_PER_S
    is_old = age_s > _LATE * config.time.status_s
    health, devices = written["health"], written["devices"]
    print(f"{config.site}/{config.agent}: {written['state']}, {age_s:.0f} s ago")
    if is_old:
        print(f"  the agent writes every {config.time.status_s:g} s: it does not run or hangs")
    print("  " + "  ".join(f"{name} {value}" for name, value in health.items() if value))
    rows = [_row(device, written["at_ns"]) for device in devices]
    print(table(("device", "state", "data age", "polls", "overruns", "errors", "last error"), rows))
    all_up = all(device["state"] == "up" for device in devices)
    return 0 if all_up and written["state"] == "up" and not is_old else 1


def _row(device: dict[str, Any], at_ns: int) -> tuple[str, ...]:
    last_ns = device["last_data_ns"]
    return (
        device["device"],
        device["state"],
        "never" if last_ns is None else f"{max(0, at_ns - last_ns) / NS_PER_S:.0f} s",
        str(device["polls"]),
        str(device["overruns"]),
        str(device["errors"]),
        device["last_error"] if device["state"] != "up" else "",
    )

"""What the agent says of itself: counters and states for status messages, files and logs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.wire import cbor

STATUS_FILE = "status.json"
FOREIGN = "foreign_history"
LOST = "evidence_lost"
_STANDING = frozenset({FOREIGN, LOST})
"""Alarms that no other one may cover."""


@dataclass(slots=True)
class Health:
    """Counters since the start, and what is wrong now.

    Args:
        devices_up: devices whose data flow.
        devices_not_up: all other enabled devices.
        overruns: poll slots left out and readings dropped because somebody was too slow.
        renewals: sessions that were ended because they brought no data.
        restarts: own tasks that crashed and were started again.
        overload: readings come faster than memory allows; what is left out is in ``overruns``.
        held_s: how long the intake was held back for that [s].
        waiting_mb: memory of the readings that wait for their minute [MiB].
        certificate_warning: certificates that end soon, with the key of the configuration.
        tls_problem: why renewed TLS files are not in use; the old ones are.
    """

    readings: int = 0
    batches: int = 0
    rows: int = 0
    published: int = 0
    acks: int = 0
    acks_refused: int = 0
    connects: int = 0
    fallbacks: int = 0
    lost_records: int = 0
    devices_up: int = 0
    devices_not_up: int = 0
    overruns: int = 0
    renewals: int = 0
    restarts: int = 0
    overload: bool = False
    held_s: int = 0
    waiting_mb: int = 0
    alarm: str = ""
    key_warning: str = ""
    certificate_warning: str = ""
    tls_problem: str = ""

    def alert(self, name: str) -> bool:
        """Show an alarm, unless it is there or a graver one is; True when it is news."""
        before = self.alarm
        if before in _STANDING or before == name or (before, name) == ("outbox_full", "disk_full"):
            return False
        self.alarm = name
        return True

    def detail(self) -> dict[str, Any]:
        """The counters as a plain map, in texts that a signed message may hold."""
        plain: dict[str, Any] = cbor.clean(asdict(self))
        return plain

    @property
    def state(self) -> str:
        """``up``, ``overload``, or ``alarm`` when somebody must act."""
        return "alarm" if self.alarm else "overload" if self.overload else "up"


def write_status(
    folder: Path, at_ns: int, health: Health, devices: Sequence[dict[str, Any]]
) -> None:
    """Replace the status file as a whole; readers never see half of one. Blocking."""
    written = {
        "at_ns": at_ns,
        "state": health.state,
        "health": health.detail(),
        "devices": list(devices),
    }
    path = folder / STATUS_FILE
    part = path.with_suffix(".part")
    part.write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
    part.replace(path)

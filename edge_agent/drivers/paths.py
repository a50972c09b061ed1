"""Local paths in device configurations: relative ones are relative to the configuration file."""

from pathlib import Path
from typing import Any

_PATHS = ("password_file", "ca", "cert", "key", "folder", "record")
_DRIVERS = ("hj212", "mqtt", "file_drop")


def resolve_paths(device: Any, folder: Path, state_dir: Path) -> None:
    """Make the paths of one device absolute; a file drop keeps its record in the state folder."""
    if not isinstance(device, dict) or device.get("driver") not in _DRIVERS:
        return
    if device["driver"] == "file_drop" and isinstance(device.get("id"), str):
        device.setdefault("record", str(state_dir / f"file_drop-{device['id']}.jsonl"))
    for part in (device, device.get("tls"), *_maps(device.get("loggers"))):
        if isinstance(part, dict):
            for name in _PATHS:
                if isinstance(part.get(name), str):
                    part[name] = str(folder / part[name])


def _maps(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

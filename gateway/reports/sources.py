"""Which devices of the month nobody could tell from an impostor on their cable. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

_MOST = 24


def reservations(configurations: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line naming every source without authentication; none where all have it.

    Args:
        configurations: contents of the configuration documents that the month's batches name.
    """
    found = {
        f"{device['id']} ({how})"
        for plain in configurations
        for device in plain.get("devices", ())
        if device.get("enabled", True) and (how := _open(device))
    }
    if not found:
        return []
    shown = sorted(found)[:_MOST]
    more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return [f"sources without authentication 无认证数据源: {', '.join(shown)}{more}"]


def _open(device: Mapping[str, Any]) -> str:
    """How a device is read, where that authenticates nothing; else nothing."""
    driver = str(device.get("driver"))
    if driver == "opcua":
        return "" if device.get("security") else "opcua, insecure: true"
    if driver == "modbus":
        transport = str(device.get("transport"))
        return "" if transport == "tls" else f"modbus {transport}"
    if driver == "mqtt":
        return "" if device.get("tls") else "mqtt without TLS"
    return driver

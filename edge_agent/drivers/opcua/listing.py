"""What ``browse`` prints of a server: its tree, and lines for a configuration."""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing

from edge_agent.drivers.opcua.browse import Bounds, Entry, Walk
from edge_agent.drivers.opcua.client import translated
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.connection import Connection

_NO_ID = re.compile(r"[^a-z0-9_.-]+")
_NUMBERS = frozenset(
    [
        "Boolean",
        "SByte",
        "Byte",
        "Int16",
        "UInt16",
        "Int32",
        "UInt32",
        "Int64",
        "UInt64",
        "Float",
        "Double",
    ]
)


async def listing(config: OpcUaConfig, bounds: Bounds, text: str) -> AsyncIterator[str]:
    """The lines, as they are found; only names and nodes with ``text`` in them.

    Raises:
        DeviceError: the server cannot be read.
    """
    connection = Connection(config, lambda _: None)
    lines: list[str] = []
    try:
        await connection.open(_nothing)
        walk = Walk(connection.client, bounds)
        async with translated(config.url), aclosing(walk.entries()) as entries:
            async for entry in entries:
                if text.lower() in f"{entry.name} {entry.node}".lower():
                    yield _line(entry)
                    lines += _tag_line(entry)
    finally:
        await connection.close()
    if walk.cut:
        yield f"… stopped at {walk.cut}"
    if lines:
        yield "\n".join(("", "tags:", *lines))


async def _nothing() -> None:
    """Nothing is prepared while connecting."""


def _line(entry: Entry) -> str:
    indent = "  " * entry.depth
    if not entry.is_variable:
        return f"{indent}{entry.name}/  {entry.node}"
    writable = "  writable" if entry.is_writable else ""
    unit = f" {entry.unit}" if entry.unit else ""
    return f"{indent}{entry.name}  {entry.node}  {entry.data_type} = {entry.value}{unit}{writable}"


def _tag_line(entry: Entry) -> list[str]:
    """The variable as a line of ``tags:``, if it can be read as a number."""
    if not entry.is_variable or entry.data_type not in _NUMBERS:
        return []
    path = entry.node.rpartition(";")[2].partition("=")[2]
    name = _NO_ID.sub("_", (path if not path.isdigit() else entry.name).lower()).strip("_.-")[:64]
    unit = f", unit: {_quoted(entry.unit)}" if entry.unit else ""
    period = ", period_s: 1" if entry.is_array else ""
    return [f"  - {{id: {name or 'tag'}, node: {_quoted(entry.node)}{unit}{period}}}"]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

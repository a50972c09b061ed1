"""``edge-agent browse opc.tcp://HOST:4840``: the tree of a server, and lines for a configuration."""

import argparse
import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_agent.drivers.opcua.browse import Bounds, Entry, Walk
from edge_agent.drivers.opcua.client import translated
from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.drivers.opcua.connection import Connection
from edge_agent.errors import ConfigError

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


def add_browse(
    verb: Callable[[str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser],
) -> None:
    """Make the verb known to the program."""
    parser = verb("browse", browse)
    parser.add_argument("url", help="opc.tcp://HOST:PORT")
    parser.add_argument("--depth", type=int, default=8, help="deepest level that is shown")
    parser.add_argument("--nodes", type=int, default=2_000, help="most nodes that are shown")
    parser.add_argument("--seconds", type=float, default=60.0, help="longest time it may take")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only names with this text")
    parser.add_argument("--device", default="browse", help="id of the device whose trust is used")
    parser.add_argument(
        "--security",
        metavar="POLICY[,MODE]",
        help="Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss, with Sign or "
        "SignAndEncrypt; without it nothing is secured",
    )
    parser.add_argument("--pki", type=Path, default=Path("pki"), help="folder of certificates")
    parser.add_argument("--username", help="user name; needs --security and --password-file")
    parser.add_argument("--password-file", type=Path, help="file with the password")


def browse(args: argparse.Namespace) -> int:
    """Show what an OPC UA server has, with tag lines ready to paste."""
    config = _config(args)
    bounds = Bounds(args.nodes, args.depth, args.seconds)
    asyncio.run(_show(config, bounds, args.filter))
    return 0


def _config(args: argparse.Namespace) -> OpcUaConfig:
    fields: dict[str, Any] = {"insecure": True}
    if args.security:
        policy, _, mode = args.security.partition(",")
        security = {"policy": policy, "mode": mode or "SignAndEncrypt", "pki": args.pki}
        fields = {"security": security}
    if args.username or args.password_file:
        fields["login"] = {"username": args.username, "password_file": args.password_file}
    tags = [{"id": "browse", "node": "i=2259"}]
    try:
        return OpcUaConfig(driver="opcua", id=args.device, url=args.url, tags=tags, **fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "browse"
        raise ConfigError(first["msg"].removeprefix("Value error, "), key=key) from error


async def _show(config: OpcUaConfig, bounds: Bounds, text: str) -> None:
    connection = Connection(config, lambda _: None)
    lines: list[str] = []
    try:
        await connection.open(_nothing)
        walk = Walk(connection.client, bounds)
        async with translated(config.url):
            async for entry in walk.entries():
                if text.lower() in f"{entry.name} {entry.node}".lower():
                    print(_line(entry))
                    lines += _tag_line(entry)
    finally:
        await connection.close()
    if walk.cut:
        print(f"… stopped at {walk.cut}")
    if lines:
        print("\ntags:", *lines, sep="\n")


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

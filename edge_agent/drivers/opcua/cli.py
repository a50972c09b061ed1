"""``edge-agent browse opc.tcp://HOST:4840``: the tree of a server, and lines for a configuration."""

import argparse
import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_agent.drivers.opcua.config import OpcUaConfig
from edge_agent.errors import ConfigError


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
    bounds = (args.nodes, args.depth, args.seconds)
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


async def _show(config: OpcUaConfig, bounds: tuple[int, int, float], text: str) -> None:
    # Only here is the library loaded: no other verb pays for it.
    browse_ = importlib.import_module("edge_agent.drivers.opcua.browse")
    listing_ = importlib.import_module("edge_agent.drivers.opcua.listing")
    async for line in listing_.listing(config, browse_.Bounds(*bounds), text):
        print(line)

"""``edge-agent``: one function a verb. Exit codes: 0 ok, 1 failed, 2 usage or configuration."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from edge_agent import __version__, keys_desk
from edge_agent import config as config_
from edge_agent.agent import Agent
from edge_agent.commands import check, devices, probe, resume, scan, schema, software, status
from edge_agent.drivers.opcua.cli import add_browse
from edge_agent.errors import CarbonError, ConfigError, KeyFileError
from edge_agent.process import harden
from edge_agent.state_lock import locked
from edge_agent.wire import keys

USAGE = 2


def run(args: argparse.Namespace) -> int:
    """Run the agent until it is told to stop."""
    config = config_.load(args.config)
    with locked(config.state_dir):
        asyncio.run(_until_stopped(Agent(config)))
    return 0


async def _until_stopped(agent: Agent) -> None:
    task = asyncio.ensure_future(agent.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")


def keys_new(args: argparse.Namespace) -> int:
    """Make a new signing key."""
    signer = keys.create_signer(args.path)
    print(f"key id {signer.kid.hex()}")
    print(f"public key {args.path.with_suffix('.pub.pem')}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Reads plant devices, signs and delivers carbon data."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    verbs = parser.add_subparsers(dest="verb", required=True)

    def verb(name: str, function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        help_ = (function.__doc__ or "").strip()
        sub = verbs.add_parser(name, help=help_, description=help_)
        sub.set_defaults(function=function)
        return sub

    verb("run", run).add_argument("config", type=Path, help="the agent's YAML file")
    for module in (check, probe, resume, schema, software, status):
        module.register(verb)
    keys_desk.add(verbs)
    add_browse(verb)
    verb("keys-new", keys_new).add_argument("path", type=Path, help="where the key file goes")
    devices.add(verbs)
    scan.add(verbs)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one verb."""
    args = _parser().parse_args(argv)
    harden()
    logging.basicConfig(
        level=args.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("asyncua", "pymodbus"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    try:
        return int(args.function(args))
    except (ConfigError, KeyFileError) as error:
        for line in str(error).splitlines():
            print(f"edge-agent: {line}", file=sys.stderr)
        return USAGE
    except CarbonError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""``edge-agent``: one module a verb. Exit codes: 0 ok, 1 failed, 2 usage or configuration.

Only the module of the verb that is asked for is loaded, so that the agent, which runs for years,
does not hold what the others need.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from edge_agent import __version__
from edge_agent.errors import CarbonError, ConfigError, KeyFileError
from edge_agent.later import Later
from edge_agent.process import harden

USAGE = 2
_COMMANDS = "edge_agent.commands"
_VERBS = {
    "run": Later(f"{_COMMANDS}.run", "register"),
    "check": Later(f"{_COMMANDS}.check", "register"),
    "probe": Later(f"{_COMMANDS}.probe", "register"),
    "resume-from-ack": Later(f"{_COMMANDS}.resume", "register"),
    "schema": Later(f"{_COMMANDS}.schema", "register"),
    "software": Later(f"{_COMMANDS}.software", "register"),
    "status": Later(f"{_COMMANDS}.status", "register"),
    "browse": Later("edge_agent.drivers.opcua.cli", "add_browse"),
    "keys-new": Later(f"{_COMMANDS}.keys_new", "register"),
}
_SUBJECTS = {
    "keys": Later("edge_agent.keys_desk", "add"),
    "devices": Later(f"{_COMMANDS}.devices", "add"),
    "scan": Later(f"{_COMMANDS}.scan", "add"),
}
"""Those with verbs of their own."""


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows these verbs and subjects."""
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Reads plant devices, signs and delivers carbon data."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--log-level", default="INFO", help="DEBUG, INFO, WARNING or ERROR")
    every = ",".join((*_VERBS, *_SUBJECTS))
    verbs: Any = parser.add_subparsers(dest="verb", required=True, metavar=f"{{{every}}}")

    def verb(name: str, function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        help_ = (function.__doc__ or "").strip()
        sub: argparse.ArgumentParser = verbs.add_parser(name, help=help_, description=help_)
        sub.set_defaults(function=function)
        return sub

    for name in names:
        if name in _VERBS:
            _VERBS[name](verb)
        else:
            _SUBJECTS[name](verbs)
    return parser


def _named(argv: Sequence[str]) -> list[str]:
    """The verb that is asked for; all of them where none is, for help and for errors."""
    known = [*_VERBS, *_SUBJECTS]
    return next(([word] for word in argv if word in known), known)


def main(argv: list[str] | None = None) -> int:
    """Run one verb."""
    words = sys.argv[1:] if argv is None else argv
    args = _parser(_named(words)).parse_args(words)
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

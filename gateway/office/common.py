"""What the verbs share: files, hexadecimal arguments, parsers, the open ledger."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError
from edge_agent.wire.keys import load_signer, read_secret
from gateway.config import load
from gateway.ledger import Ledger
from gateway.trust.enrolment import Decision, Registrar, pinned
from gateway.trust.keybook import open_keybook
from gateway.trust.people import load_people

Arguments = argparse.Namespace


@contextmanager
def registrar(arguments: Arguments) -> Iterator[Registrar]:
    """Ledger, keys in force, people and pinned CAs of the gateway's file."""
    config = load(arguments.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        yield Registrar(
            ledger, open_keybook(config, ledger.documents), load_people(config), pinned(config)
        )


def decision(arguments: Arguments) -> Decision:
    """Who decides (the key file given with ``--by``), now, and why."""
    passphrase = (
        read_secret(arguments.passphrase_file).strip() if arguments.passphrase_file else None
    )
    signer = load_signer(arguments.by, passphrase)
    return Decision(signer, SystemClock().utc_ns(), arguments.reason)


def decision_arguments(parser: argparse.ArgumentParser) -> None:
    """``--by KEY --reason TEXT [--passphrase-file FILE]``."""
    parser.add_argument("--by", type=Path, required=True, metavar="KEY", help="your private key")
    parser.add_argument("--passphrase-file", type=Path, help="file with your key's passphrase")
    parser.add_argument("--reason", required=True, help="why; stays on record")


def source_arguments(parser: argparse.ArgumentParser) -> None:
    """``SITE AGENT``."""
    parser.add_argument("site")
    parser.add_argument("agent")


def from_hex(text: str, name: str) -> bytes:
    """32 bytes from a hexadecimal argument.

    Raises:
        ConfigError: it is something else.
    """
    try:
        found = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        found = b""
    if len(found) != 32:
        message = f"{text[:80]!a} is not right"
        raise ConfigError(message, key=name, right="64 hexadecimal digits")
    return found


def read(path: Path) -> bytes:
    """A file's contents.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(message, file=str(path)) from error


def verbs(words: Any, subject: str, text: str) -> Callable[..., argparse.ArgumentParser]:
    """A subject of the command line; what it returns adds a verb to it."""
    inner = words.add_parser(subject, help=text).add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, run: Callable[[Arguments], int], *, config: bool = True
    ) -> argparse.ArgumentParser:
        told = (run.__doc__ or "").strip()
        parser: argparse.ArgumentParser = inner.add_parser(name, help=told, description=told)
        if config:
            parser.add_argument("config", type=Path, metavar="CONFIG", help="the gateway's file")
        parser.set_defaults(run=run)
        return parser

    return verb

"""``carbon-gateway broker-config``: mosquitto's configuration and access list."""

from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

from gateway.office.common import Arguments
from gateway.trust import broker

_MOST = 1_000_000


def write(arguments: Arguments) -> int:
    """Write mosquitto.conf and acl: TLS only, a client certificate each, its own topics only."""
    settings = broker.Settings(
        bind=arguments.bind,
        port=arguments.port,
        ca=arguments.ca.resolve(),
        certificate=arguments.certificate.resolve(),
        key=arguments.key.resolve(),
        data=(arguments.data or arguments.out / "data").resolve(),
        crl=arguments.crl.resolve() if arguments.crl else None,
        connections=arguments.connections,
    )
    for path in broker.write(arguments.out.resolve(), settings):
        print(path)
    return 0


def _count(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= _MOST:
        message = f"{text!r} is no number of connections; 2 to {_MOST} are right"
        raise ArgumentTypeError(message)
    return int(text)


def add(words: Any) -> None:
    """Add the verb."""
    text = (write.__doc__ or "").strip()
    parser = words.add_parser("broker-config", help=text, description=text)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8883)
    parser.add_argument("--ca", type=Path, required=True, help="certificate of the plant CA")
    parser.add_argument("--certificate", type=Path, required=True, help="the broker's own")
    parser.add_argument("--key", type=Path, required=True, help="the broker's key")
    parser.add_argument("--data", type=Path, help="folder for queued messages")
    parser.add_argument("--crl", type=Path, help="revocation list of the plant CA")
    parser.add_argument("--connections", type=_count, default=10_000, help="at most so many")
    parser.set_defaults(run=write)

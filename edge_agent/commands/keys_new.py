"""``edge-agent keys-new``: a signing key before there is a configuration."""

import argparse
from pathlib import Path

from edge_agent.commands import Verb
from edge_agent.wire import keys


def register(verb: Verb) -> None:
    """Add the verb."""
    verb("keys-new", keys_new).add_argument("path", type=Path, help="where the key file goes")


def keys_new(args: argparse.Namespace) -> int:
    """Make a new signing key."""
    signer = keys.create_signer(args.path)
    print(f"key id {signer.kid.hex()}")
    print(f"public key {args.path.with_suffix('.pub.pem')}")
    return 0

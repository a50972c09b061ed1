"""``edge-agent software``: what is installed, as a verifier's trust file names it."""

import argparse

from edge_agent import __version__
from edge_agent.commands import Verb
from edge_agent.legal import legal_digest


def register(verb: Verb) -> None:
    """Add the verb."""
    verb("software", software)


def software(_: argparse.Namespace) -> int:
    """Print version and digest of the legally relevant files, for `software` in a trust file."""
    print(f"edge-agent/{__version__} {legal_digest().hex()}")
    return 0

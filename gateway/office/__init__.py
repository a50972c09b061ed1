"""Verbs of the people who decide: agents, the CA, configurations, the broker's set-up."""

from typing import Any

from gateway.office import agents, authority, broker, clocks, configs


def add(words: Any) -> None:
    """Add ``agents``, ``ca``, ``config``, ``clocks`` and ``broker-config`` to the command line."""
    for part in (agents, authority, configs, clocks, broker):
        part.add(words)

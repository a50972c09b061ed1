"""Peers of the acquisition benchmark."""

from collections.abc import Callable, Sequence
from pathlib import Path

Place = tuple[Path, Path, Sequence[int], int]


class Missing(Exception):
    """A peer cannot run here, and why."""


PEERS: dict[str, Callable[[Place, int, float], list[str]]] = {}

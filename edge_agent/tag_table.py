"""A device's tags as a table, for configuration documents that would not fit the wire.

What all tags of a device share stands once (``same``), everything else in columns as long as the
table. ``rows`` gives back exactly the tags that ``tabulate`` took.
"""

from collections.abc import Sequence
from typing import Any

_ABSENT = "-"
"""Stands for a key that this tag does not have; no value of a tag's settings is this text alone."""


def tabulate(tags: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What the tags share (with their ``count``), and the columns of the rest by key."""
    same: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for key in sorted({key for tag in tags for key in tag}):
        values = [tag.get(key, _ABSENT) for tag in tags]
        if all(value == values[0] for value in values):
            same[key] = values[0]
        else:
            columns[key] = values
    return {"count": len(tags), "same": same}, columns


def rows(shared: dict[str, Any], columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The tags of a table."""
    return [
        {
            **shared["same"],
            **{key: values[n] for key, values in columns.items() if values[n] != _ABSENT},
        }
        for n in range(shared["count"])
    ]

"""What differs between two configuration documents, in the words of whoever must judge it.

A change of scale, unit, factor, register, range or order of substitution can change a tonne
without any reading being touched: these come first. Lists whose entries have an ``id`` are
compared entry by entry, whatever their order. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a change touches, in the order in which it is shown."""

    SCALE = "scale"
    UNIT = "unit"
    FACTOR = "factor"
    REGISTER = "register"
    RANGE = "range"
    SUBSTITUTION = "substitution"
    OTHER = "other"


SEMANTIC = frozenset(Kind) - {Kind.OTHER}
ABSENT = "absent"
_DERIVED = frozenset({"series", "v"})
_WORDS = {
    "scale": Kind.SCALE,
    "offset": Kind.SCALE,
    "modulus": Kind.SCALE,
    "unit": Kind.UNIT,
    "address": Kind.REGISTER,
    "type": Kind.REGISTER,
    "order": Kind.REGISTER,
    "node": Kind.REGISTER,
    "host": Kind.REGISTER,
    "port": Kind.REGISTER,
    "url": Kind.REGISTER,
    "tag": Kind.REGISTER,
    "clock_register": Kind.REGISTER,
    "range": Kind.RANGE,
    "voltage_range": Kind.RANGE,
    "max_rate_per_h": Kind.RANGE,
    "sources": Kind.SUBSTITUTION,
    "substitution": Kind.SUBSTITUTION,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs: what it touches, where it stands, before and after."""

    kind: Kind
    where: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.before} -> {self.after}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every value that differs between two documents, the dangerous kinds first."""
    old, new = dict(_leaves(before, ())), dict(_leaves(after, ()))
    found = [
        Change(
            _kind(path), ".".join(path), _show(old.get(path, ABSENT)), _show(new.get(path, ABSENT))
        )
        for path in old.keys() | new.keys()
        if old.get(path, ABSENT) != new.get(path, ABSENT)
    ]
    order = list(Kind)
    return sorted(found, key=lambda change: (order.index(change.kind), change.where))


def _kind(path: tuple[str, ...]) -> Kind:
    if path[0] == "factor_set":
        return Kind.FACTOR
    if path[-1] == "unit" and path[0] == "devices" and "tags" not in path:
        return Kind.REGISTER  # the number of a Modbus unit, not a unit of measurement
    for word in reversed(path):
        if word in _WORDS:
            return _WORDS[word]
    return Kind.OTHER


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if path or key not in _DERIVED:
                yield from _leaves(item, (*path, str(key)))
    elif isinstance(value, list) and value and all(_named(item) for item in value):
        for item in value:
            yield from _leaves(item, (*path, str(item["id"])))
    else:
        yield path, value


def _named(item: Any) -> bool:
    return isinstance(item, Mapping) and "id" in item


def _show(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)

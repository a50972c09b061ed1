"""Numbers and times out of plain MQTT payloads: pure, strict, bounded."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from edge_agent.errors import BadAnswer

MAX_PAYLOAD = 262_144
_MAX_NUMBER = 64
_STEP = re.compile(r"\[(?P<index>[0-9]{1,6})\]|(?P<key>[^.\[\]]+)")
_PATH = re.compile(r"(?:[^.\[\]]+|\[[0-9]{1,6}\])(?:\.[^.\[\]]+|\[[0-9]{1,6}\])*")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Path_ = tuple[str | int, ...]


def parse_path(text: str) -> Path_:
    """``data.power[0]`` as its steps. Raises ValueError when it is no path."""
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no path such as data.power[0]")
    steps = _STEP.finditer(text)
    return tuple(step["key"] or int(step["index"]) for step in steps)


def loads(payload: bytes) -> object:
    """JSON without NaN and infinities. Raises BadAnswer."""
    if len(payload) > MAX_PAYLOAD:
        raise BadAnswer(f"a payload of {len(payload)} bytes is larger than {MAX_PAYLOAD}")
    try:
        return json.loads(payload, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"no JSON: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def at(document: object, path: Path_) -> object:
    """What stands at a path, None where nothing does."""
    found: Any = document
    for step in path:
        if isinstance(step, str) and isinstance(found, dict):
            found = found.get(step)
        elif isinstance(step, int) and isinstance(found, list) and step < len(found):
            found = found[step]
        else:
            return None
    return found


def plain_number(raw: object) -> int | float | None:
    """A JSON number, a boolean as 0 or 1, or a decimal text; None for anything else."""
    if isinstance(raw, bool):
        return int(raw)
    if isinstance(raw, int):
        return raw if abs(raw) < 1 << 64 else None
    if isinstance(raw, float):
        return raw if raw - raw == 0 else None
    if isinstance(raw, bytes):
        raw = raw[: _MAX_NUMBER + 1].decode("ascii", "replace")
    if not isinstance(raw, str) or len(raw) > _MAX_NUMBER:
        return None
    text = raw.strip()
    if not _NUMBER.fullmatch(text):
        return None
    return plain_number(int(text) if text.lstrip("+-").isdigit() else float(text))


def instant_ns(raw: object, unit: str) -> int | None:
    """A time as UTC [ns]: a count of ``unit`` since 1970, or ISO 8601 with its offset."""
    if unit == "iso":
        return _iso_ns(raw) if isinstance(raw, str) and len(raw) <= _MAX_NUMBER else None
    number = plain_number(raw)
    if number is None or abs(number) > 1 << 63:
        return None
    return round(number * _NS[unit])


def _iso_ns(text: str) -> int | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        return None
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1000

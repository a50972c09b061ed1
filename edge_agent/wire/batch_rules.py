"""What the fields of a batch's payload must be, after decoding.

The chain fields (v, site, agent, seq, prev, boot, t0, t1, config) must be right, or the message is
refused. Everything else is the body: its rules name the first thing that is wrong as a flag.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from edge_agent.errors import BadProfile
from edge_agent.wire import cbor, topics

Fields = dict[str, Any]
"""A decoded payload."""

MAX_SEQ = 2**53 - 1
MAX_SERIES = 4_096
MAX_ROWS = 65_536
MAX_EVENTS = 1_024
MAX_SPAN_NS = 24 * 3600 * 10**9
NS_PER_MS = 1_000_000
_SERIES_NAME = re.compile(r"[a-z0-9_.-]{1,64}(/[a-z0-9_.-]{1,64})*\Z")
_SERIES_CHARACTERS = 200
_INT64 = 2**63
_PLAIN = 2.0**62
EVENT_TYPES = frozenset(
    {
        "started",
        "device_state",
        "device_overrun",
        "device_renewed",
        "tag_quality",
        "task_restarted",
        "effect_started",
        "effect_ended",
        "gap",
        "history",
        "hj212_damaged",
        "hj212_lost",
        "hj212_refused",
        "hj212_silent",
        "hj212_unreadable",
        "late_samples",
        "totaliser_rollover",
        "totaliser_reset",
        "clock_step",
        "config_changed",
        "keychange",
        "lost_records",
        "resumed",
    }
)


@lru_cache(maxsize=65_536)
def valid_series_name(name: str) -> bool:
    """Whether a series may have this name (no separators of any store's language)."""
    return len(name) <= _SERIES_CHARACTERS and _SERIES_NAME.match(name) is not None


def _is_bytes(length: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is bytes and len(value) == length


def _is_int(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is_name(value: Any) -> bool:
    return type(value) is str and topics.NAME.match(value) is not None


_CHAIN_RULES: dict[str, Callable[[Any], bool]] = {
    "v": _is_int(1, 1),
    "site": _is_name,
    "agent": _is_name,
    "seq": _is_int(1, MAX_SEQ),
    "prev": _is_bytes(32),
    "boot": _is_bytes(16),
    "t0": _is_int(0, _INT64 - 1),
    "t1": _is_int(0, _INT64 - 1),
    "config": _is_bytes(32),
}
_BODY_KEYS = frozenset({"mono", "clock", "sw", "series", "s", "dt", "x", "q", "events"})
_OPTIONAL_KEYS = frozenset({"lrs", "log", "r"})
_NEEDED = _BODY_KEYS | _CHAIN_RULES.keys()
_KNOWN = _NEEDED | _OPTIONAL_KEYS
_CLOCK = {"src": str, "sync": bool, "off": int, "err": int, "steps": int}
_TWO_INTS = [int, int]
_NUMBERS = frozenset({int, float, type(None)})


def check_chain(fields: Any) -> None:
    """Refuse a payload whose chain fields are not right.

    Raises:
        BadProfile: it is no map, or one of them is missing or out of its range.
    """
    if type(fields) is not dict:
        message = "the payload is not a map"
        raise BadProfile(message)
    for key, rule in _CHAIN_RULES.items():
        if not rule(fields.get(key)):
            message = f"field {key!r} is missing or out of its range"
            raise BadProfile(message)
    if not 0 <= fields["t1"] - fields["t0"] <= MAX_SPAN_NS:
        message = "t0 and t1 are out of order or more than 24 h apart"
        raise BadProfile(message)


def body_flag(fields: Fields) -> str:
    """The flag of the first rule of the body that is broken, but for the times; empty when none."""
    for check in (check_schema, check_names, check_rows, check_events):
        flag = check(fields)
        if flag:
            return flag
    return ""


def check_schema(fields: Fields) -> str:
    """Keys and types, but for what is in the columns."""
    keys = fields.keys()
    if not keys >= _NEEDED or not keys <= _KNOWN:
        return "body_schema"
    if not _opt_log(fields.get("log")) or not _opt_bytes(fields.get("lrs")):
        return "body_schema"
    mono, clock = fields["mono"], fields["clock"]
    good = (
        type(mono) is list
        and [type(item) for item in mono] == _TWO_INTS
        and type(fields["sw"]) is str
        and type(clock) is dict
        and {key: type(item) for key, item in clock.items()} == _CLOCK
        and all(type(fields[key]) is list for key in ("series", "s", "dt", "x", "q", "events"))
        and known_events(fields["events"])
    )
    return "" if good else "body_schema"


def _opt_log(value: Any) -> bool:
    return value is None or (
        type(value) is list
        and len(value) == 2
        and type(value[0]) is int
        and 0 < value[0] < _INT64
        and type(value[1]) is bytes
        and len(value[1]) == 32
    )


def _opt_bytes(value: Any) -> bool:
    return value is None or (type(value) is bytes and len(value) == 32)


def known_events(events: Sequence[Any]) -> bool:
    """Whether all events have a time and a type of the closed list, and are not too many."""
    return len(events) <= MAX_EVENTS and all(
        type(event) is dict
        and type(event.get("t")) is int
        and type(event.get("type")) is str
        and event["type"] in EVENT_TYPES
        for event in events
    )


def check_names(fields: Fields) -> str:
    """The names of the series."""
    names = fields["series"]
    good = (
        len(names) <= MAX_SERIES
        and set(map(type, names)) <= {str}
        and all(map(valid_series_name, names))
        and len(set(names)) == len(names)
    )
    return "" if good else "body_names"


def check_rows(fields: Fields) -> str:
    """The four columns."""
    index, steps, values, quality = (fields[key] for key in ("s", "dt", "x", "q"))
    count = len(index)
    if not count == len(steps) == len(values) == len(quality) <= MAX_ROWS:
        return "body_schema"
    if count == 0:
        return ""
    whole = all(set(map(type, column)) == {int} for column in (index, steps, quality))
    if not whole:
        return "body_schema"
    good_index = min(index) >= 0 and max(index) < len(fields["series"])
    if not good_index or min(quality) < 0 or max(quality) > 0x3F:
        return "body_schema"
    if max(map(abs, steps)) > MAX_SPAN_NS // NS_PER_MS:
        return "body_time"
    return check_values(values, quality)


def check_values(values: list[Any], quality: list[int]) -> str:
    """The values, beside qualities that are right; a missing value needs a bad quality."""
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS:
        return "body_schema"
    # Their norm is so small only if every value is; else they are looked at one by one.
    if type(None) not in kinds and math.hypot(*values) < _PLAIN:
        return ""
    return _first_bad(values, quality)


def _first_bad(values: list[Any], quality: list[int]) -> str:
    for value, code in zip(values, quality, strict=True):
        if value is None:
            if code >> 4 != 2:
                return "body_schema"
        elif type(value) is float:
            if not math.isfinite(value):
                return "body_nonfinite"
        elif not -_INT64 <= value < _INT64:
            return "body_range"
    return ""


def check_events(fields: Fields) -> str:
    """No event may hold a number that is not finite."""
    return "" if cbor.all_finite(fields["events"]) else "body_nonfinite"

"""Whether an event that a signed batch carries holds what a report reads of it.

An authentic batch may carry anything under a known type. An event of another shape is no reason to
stop a month for ever: it is left out and named.
"""

from collections.abc import Mapping
from typing import Any

from edge_agent.readings import Event

_WHOLE, _NUMBER, _TEXT = (int,), (int, float), (str,)
_LAST_NS = 2**62
_SHAPES: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "effect_ended": {
        "line": _TEXT,
        "pot": _TEXT,
        "start": _WHOLE,
        "end": _WHOLE,
        "net_s": _NUMBER,
        "gross_s": _NUMBER,
        "peak_v": _NUMBER,
        "ov_vs": _NUMBER,
        "group": _WHOLE,
        "reason": _TEXT,
    },
    "gap": {"from": _WHOLE, "to": _WHOLE, "pots": (list,)},
    "late_samples": {"count": _WHOLE},
    "lost_records": {"count": _WHOLE},
    "resumed": {"t": _WHOLE, "lost_since": _WHOLE, "reason": _TEXT, "operator": _TEXT},
    "tag_quality": {"severity": _TEXT, "reason": _TEXT, "tag": _TEXT},
}
_PLAIN = (int, float, str, bool, type(None))


def is_well_formed(event: Event) -> bool:
    """Whether a report can read the event; types that it does not read pass."""
    shape = _SHAPES.get(event["type"], {})
    if any(type(event.get(key)) not in kinds for key, kinds in shape.items()):
        return False
    if event["type"] == "resumed":
        return bool(0 <= event["lost_since"] <= event["t"] < _LAST_NS)
    if event["type"] != "effect_ended":
        return True
    return 0 <= event["start"] <= event["end"] < _LAST_NS and all(map(_is_plain, event.values()))


def _is_plain(value: Any) -> bool:
    if type(value) is list:
        return all(type(item) in _PLAIN for item in value)
    return type(value) in _PLAIN

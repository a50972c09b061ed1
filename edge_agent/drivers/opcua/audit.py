"""Is a silent tag unchanged, or is its subscription dead? Asked of the server itself, pure part.

A value that a plain read shows and the subscription did not report is suspect; if it is still so
at the next audit, the subscription does not work, however well the connection does.
"""

import math
from collections.abc import Mapping

from asyncua import ua

from edge_agent.drivers.opcua.config import OpcUaTag

_SLACK = 1.001  # a deadband compares with the last value *reported*, in the server's own rounding


class Audit:
    """What was last reported for each tag, and what is suspect."""

    def __init__(self) -> None:
        """Nothing reported yet."""
        self._reported: dict[str, ua.DataValue] = {}
        self._silent: set[str] = set()
        self._suspect: set[str] = set()

    def heard(self, tag: str, answer: ua.DataValue) -> None:
        """The subscription reported this."""
        self._reported[tag] = answer
        self._silent.discard(tag)
        self._suspect.discard(tag)

    def due(self, tags: Mapping[str, ua.NodeId]) -> dict[str, ua.NodeId]:
        """The nodes that were silent since the last call."""
        due = {tag: node for tag, node in tags.items() if tag in self._silent}
        self._silent = set(tags)
        return due

    def unreported(self, tag: OpcUaTag, now: ua.DataValue) -> bool:
        """Compare a read with what was reported; True at the second difference in a row."""
        before = self._reported.get(tag.id)
        if before is not None and _same(tag, before, now):
            self._suspect.discard(tag.id)
            return False
        if tag.id in self._suspect:
            return True
        self._suspect.add(tag.id)
        return False


def _same(tag: OpcUaTag, before: ua.DataValue, now: ua.DataValue) -> bool:
    if _severity(before) != _severity(now):
        return False
    if tag.server_deadband is not None and tag.server_deadband.percent is not None:
        return True  # the range it is a percentage of is the server's
    old, new = _value(before), _value(now)
    if isinstance(old, float) and isinstance(new, float):
        if math.isnan(old) or math.isnan(new):
            return math.isnan(old) and math.isnan(new)
        band = tag.server_deadband.absolute if tag.server_deadband is not None else None
        return abs(new - old) <= (band or 0.0) * _SLACK or old == new
    if isinstance(old, list) and isinstance(new, list):
        return before.SourceTimestamp == now.SourceTimestamp and len(old) == len(new)
    return bool(old == new)


def _severity(answer: ua.DataValue) -> int:
    return answer.StatusCode.value >> 30 if answer.StatusCode is not None else 0


def _value(answer: ua.DataValue) -> object:
    value: object = answer.Value.Value if answer.Value is not None else None
    return float(value) if isinstance(value, int) else value

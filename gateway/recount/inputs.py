"""What stands beside the rows: the signed configuration, its factors, and people's entries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.wire import cbor, cose

Entry = Mapping[str, Any]
Name = tuple[str, str]
"""Parameter and scope."""


class NotCounted(Exception):
    """The second computation has no rule for this value."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything but the rows; ``units`` are those that the report states, by name."""

    config: Mapping[str, Any]
    start_ns: int
    end_ns: int
    entries: Sequence[Entry]
    units: Mapping[Name, str]
    substituted: Mapping[Name, float] = field(default_factory=dict)

    def line(self, parameter: str, scope: str) -> Mapping[str, Any]:
        """The control plan's line for a value: its own, or the one for every scope; empty if none."""
        lines = self.config.get("control_lines") or ()
        for wanted in (scope, None):
            for line in lines:
                if (line["id"], line["scope"]) == (parameter, wanted):
                    return dict(line)
        return {}

    def option(self, name: str, otherwise: str) -> str:
        """The choice that the factor set takes."""
        found = self.config["factor_set"].get("options", {}).get(name)
        return otherwise if found is None else str(found["value"])

    def has_factor(self, factor_id: str) -> bool:
        """Whether the choices taken leave such a factor."""
        return any(self._choices(factor_id))

    def factor(self, factor_id: str) -> float:
        """The value of the factor that the choices taken leave and that holds on the first day."""
        zone = ZoneInfo(self.config["timezone"])
        day = datetime.fromtimestamp(self.start_ns // 10**9, zone).date().isoformat()
        for one in self._choices(factor_id):
            if (one.get("valid_from") or day) <= day <= (one.get("valid_to") or day):
                return float(one["value"])
        raise NotCounted(factor_id)

    def of(self, kind: str, items: Iterable[str], quantity: str) -> list[Entry]:
        """The month's entries of a kind about some items."""
        return [
            one
            for one in self.entries
            if (one["kind"], one["quantity"]) == (kind, quantity)
            and one["item"] in items
            and self.start_ns <= one["time"] < self.end_ns
        ]

    def _choices(self, factor_id: str) -> list[Mapping[str, Any]]:
        options = self.config["factor_set"].get("options", {})
        found = []
        for one in self.config["factor_set"]["factors"]:
            name, _, value = (one.get("when") or "").partition("=")
            taken = not name or (name in options and str(options[name]["value"]) == value)
            if one["id"] == factor_id and taken:
                found.append(one)
        return found


def bounds(month: str, timezone: str) -> tuple[int, int]:
    """First moment of a month ``YYYY-MM`` and of the next one in plant local time [ns UTC]."""
    zone, (year, number) = ZoneInfo(timezone), map(int, month.split("-"))
    first = datetime(year, number, 1, tzinfo=zone)
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return int(first.timestamp()) * 10**9, int(after.timestamp()) * 10**9


def entries(documents: Iterable[bytes]) -> list[Entry]:
    """The entries of the newest version of each signed lab document."""
    newest: dict[str, Mapping[str, Any]] = {}
    for raw in documents:
        plain = cbor.decode(cose.parse(raw).payload)
        if plain["version"] > newest.get(plain["id"], {"version": 0})["version"]:
            newest[plain["id"]] = plain
    return [one for _, plain in sorted(newest.items()) for one in plain["entries"]]

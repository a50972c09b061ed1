"""Sums of one pot by plant-local hour, and the share of each effect in them, while they are open.

Each effect keeps its own record by hour and minute; the records are folded into the hour's sums,
in order of their starts, when the hour is taken. So the sums are the same to the last bit however
the samples were cut into pieces, and an effect can still be put aside after it was seen.
"""

from dataclasses import dataclass, field
from typing import Any

from edge_agent.calc.windows import HOUR_NS, MINUTE_NS, window_start

NS_PER_S = 10**9
Segment = tuple[int, int, float]
"""Start [ns], end [ns] and constant voltage [V] of a stretch."""


@dataclass(slots=True)
class HourSums:
    """Sums of one pot over one hour: times [ns], effects, overvoltage [V.s].

    ``start_up_ns`` and ``start_up_effects`` show effects of a pot being started apart, whether or
    not they are counted; ``held_ns`` and ``held_effects`` are put aside and counted nowhere.
    """

    observed_ns: int = 0
    out_ns: int = 0
    effect_ns: int = 0
    effects: int = 0
    overvoltage_v_s: float = 0.0
    overvoltage_algebraic_v_s: float = 0.0
    start_up_ns: int = 0
    start_up_effects: int = 0
    held_ns: int = 0
    held_effects: int = 0


@dataclass(slots=True)
class Part:
    """What one effect adds to one hour: net time [ns], overvoltage [V.s], whether it began."""

    net_ns: int = 0
    overvoltage_v_s: float = 0.0
    overvoltage_algebraic_v_s: float = 0.0
    effects: int = 0


@dataclass(slots=True)
class EffectRecord:
    """One effect by hour and by minute [ns] of net time.

    ``starting``: the pot was being started; ``counted``: it enters the sums of effects;
    ``held``: it waits for a person to review it.
    """

    start_ns: int
    starting: bool = False
    counted: bool = True
    held: bool = False
    closed: bool = False
    hours: dict[int, Part] = field(default_factory=dict)
    minutes: dict[int, int] = field(default_factory=dict)

    def fold(self, hour: int, sums: HourSums) -> None:
        """Move this effect's part of an hour into the hour's sums."""
        part = self.hours.pop(hour, None)
        if part is None:
            return
        if self.held:
            sums.held_ns += part.net_ns
            sums.held_effects += part.effects
        elif self.starting:
            sums.start_up_ns += part.net_ns
            sums.start_up_effects += part.effects
        if self.counted:
            sums.effect_ns += part.net_ns
            sums.effects += part.effects
            sums.overvoltage_v_s += part.overvoltage_v_s
            sums.overvoltage_algebraic_v_s += part.overvoltage_algebraic_v_s

    def add_minutes(self, start_ns: int, end_ns: int) -> None:
        """Net time of a stretch, by minute."""
        while start_ns < end_ns:
            minute = start_ns // MINUTE_NS * MINUTE_NS
            stop = min(end_ns, minute + MINUTE_NS)
            self.minutes[minute] = self.minutes.get(minute, 0) + stop - start_ns
            start_ns = stop


@dataclass(slots=True)
class Windows:
    """Hourly sums by start of the hour, and the records of effects, while they are open.

    Time that can only be credited after its hour was taken goes to the earliest hour still open.
    """

    offset_ns: int = 0
    floor_ns: int = 0
    hours: dict[int, HourSums] = field(default_factory=dict)
    records: dict[int, EffectRecord] = field(default_factory=dict)

    def add_observed(self, start_ns: int, end_ns: int) -> None:
        """Time in circuit with a usable voltage."""
        for hour, part_start, part_end in self._parts(start_ns, end_ns):
            self._sums(hour).observed_ns += part_end - part_start

    def add_out(self, start_ns: int, end_ns: int) -> None:
        """Time out of circuit."""
        for hour, part_start, part_end in self._parts(start_ns, end_ns):
            self._sums(hour).out_ns += part_end - part_start

    def begin(self, start_ns: int, *, new_group: bool, starting: bool, counted: bool) -> None:
        """An effect was confirmed; it counts where it began if it is the first of its group."""
        record = EffectRecord(start_ns, starting, counted)
        record.hours[self._hour(start_ns)] = Part(effects=int(new_group))
        self.records[start_ns] = record

    def add_effect(self, effect_ns: int, segment: Segment, target_v: float, *, above: bool) -> None:
        """Effect time and overvoltage of one stretch of the effect that began at ``effect_ns``."""
        start_ns, end_ns, volt = segment
        record = self.records.setdefault(effect_ns, EffectRecord(effect_ns))
        for hour, part_start, part_end in self._parts(start_ns, end_ns):
            part = record.hours.setdefault(hour, Part())
            over = (volt - target_v) * (part_end - part_start) / NS_PER_S
            part.overvoltage_algebraic_v_s += over
            part.overvoltage_v_s += max(over, 0.0)
            if above:
                part.net_ns += part_end - part_start
        if above:
            record.add_minutes(start_ns, end_ns)

    def close(self, effect_ns: int) -> None:
        """The effect that began then has ended."""
        self.records.setdefault(effect_ns, EffectRecord(effect_ns)).closed = True

    def hold(self, effect_ns: int) -> None:
        """Put the effect that began then aside for review: it is counted nowhere."""
        record = self.records.get(effect_ns)
        if record is not None:
            record.held, record.counted = True, False

    def take_hours(self, before_ns: int) -> list[tuple[int, HourSums]]:
        """Remove and give the hours that ended at or before a moment, oldest first."""
        edge_ns = window_start(before_ns, HOUR_NS, self.offset_ns)
        if edge_ns <= self.floor_ns:
            return []
        starts = set(self.hours).union(*(record.hours for record in self.records.values()))
        done = sorted(start for start in starts if start + HOUR_NS <= before_ns)
        self.floor_ns = edge_ns
        taken = []
        for start in done:
            sums = self.hours.pop(start, None) or HourSums()
            for _, record in sorted(self.records.items()):
                record.fold(start, sums)
            taken.append((start, sums))
        self._prune()
        return taken

    def take_minutes(self, before_ns: int) -> list[tuple[int, int]]:
        """Remove and give the counted effect time [ns] of minutes that ended by then."""
        taken: dict[int, int] = {}
        for record in self.records.values():
            for start in [m for m in record.minutes if m + MINUTE_NS <= before_ns]:
                net_ns = record.minutes.pop(start)
                if record.counted:
                    taken[start] = taken.get(start, 0) + net_ns
        self._prune()
        return sorted(taken.items())

    def clear(self) -> None:
        """Forget all sums; what is going on stays."""
        self.hours.clear()
        for record in self.records.values():
            record.hours.clear()
            record.minutes.clear()
        self._prune()

    def _prune(self) -> None:
        gone = [
            start
            for start, record in self.records.items()
            if record.closed and not record.hours and not record.minutes
        ]
        for start in gone:
            del self.records[start]

    def _hour(self, time_ns: int) -> int:
        return max(window_start(time_ns, HOUR_NS, self.offset_ns), self.floor_ns)

    def _sums(self, hour: int) -> HourSums:
        sums = self.hours.get(hour)
        if sums is None:
            sums = self.hours[hour] = HourSums()
        return sums

    def _parts(self, start_ns: int, end_ns: int) -> list[tuple[int, int, int]]:
        """Hour, start and end of a stretch's part in each hour."""
        parts = []
        while start_ns < end_ns:
            hour = window_start(start_ns, HOUR_NS, self.offset_ns)
            stop = min(end_ns, hour + HOUR_NS)
            parts.append((max(hour, self.floor_ns), start_ns, stop))
            start_ns = stop
        return parts

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "offset_ns": self.offset_ns,
            "floor_ns": self.floor_ns,
            "hours": [[start, plain(sums)] for start, sums in self.hours.items()],
            "records": [
                {
                    **plain(record),
                    "hours": [[start, plain(part)] for start, part in record.hours.items()],
                    "minutes": [list(item) for item in record.minutes.items()],
                }
                for record in self.records.values()
            ],
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> "Windows":
        """The windows that ``dump`` gave."""
        records = [
            EffectRecord(
                **{
                    **item,
                    "hours": {start: Part(**part) for start, part in item["hours"]},
                    "minutes": dict(item["minutes"]),
                }
            )
            for item in stored.get("records", ())
        ]
        return cls(
            stored["offset_ns"],
            stored["floor_ns"],
            {start: HourSums(**sums) for start, sums in stored["hours"]},
            {record.start_ns: record for record in records},
        )


def plain(value: Any) -> dict[str, Any]:
    """The fields of a slotted dataclass by name."""
    return {name: getattr(value, name) for name in value.__slots__}

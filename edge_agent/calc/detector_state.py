"""State and outputs of the anode-effect detector, as plain values that can be stored."""

from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

from edge_agent.calc.windows import HOUR_NS, MINUTE_NS, window_start
from edge_agent.readings import AnodeEffect

NS_PER_S = 10**9
_TARGET_MINUTES = 15
Segment = tuple[int, int, float]
"""Start [ns], end [ns] and constant voltage [V] of a stretch."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Levels [V] and times [s] of the detector; defaults of anode-effect-pfc.md section 5.1."""

    v_on: float = 8.0
    v_off: float = 7.0
    t_on_s: float = 2.0
    t_off_s: float = 10.0
    max_hold_s: float = 5.0
    gap_cap_s: float = 60.0
    reoccur_s: float = 900.0
    v_target: float | None = None
    v_out: float = 1.5
    t_out_s: float = 60.0
    outage_in_service: bool = True

    @property
    def t_on_ns(self) -> int:
        """``t_on_s`` in ns."""
        return round(self.t_on_s * NS_PER_S)

    @property
    def t_off_ns(self) -> int:
        """``t_off_s`` in ns."""
        return round(self.t_off_s * NS_PER_S)

    @property
    def max_hold_ns(self) -> int:
        """``max_hold_s`` in ns."""
        return round(self.max_hold_s * NS_PER_S)

    @property
    def gap_cap_ns(self) -> int:
        """``gap_cap_s`` in ns."""
        return round(self.gap_cap_s * NS_PER_S)

    @property
    def reoccur_ns(self) -> int:
        """``reoccur_s`` in ns."""
        return round(self.reoccur_s * NS_PER_S)

    @property
    def t_out_ns(self) -> int:
        """``t_out_s`` in ns."""
        return round(self.t_out_s * NS_PER_S)

    @property
    def settle_ns(self) -> int:
        """How long after a moment the sums before it can still change, gaps apart [ns]."""
        return max(self.t_out_ns, self.t_off_ns, self.t_on_ns) + 2 * self.max_hold_ns


class Phase(StrEnum):
    """What the pot is doing."""

    NORMAL = "normal"
    CANDIDATE = "candidate"
    EFFECT = "effect"
    LOW = "low"
    OUT = "out"
    NO_CURRENT = "no_current"


@dataclass(frozen=True, slots=True)
class Started:
    """An effect was confirmed; it began at ``start_ns``."""

    pot: str
    start_ns: int
    group: int
    restrike: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """No usable sample held between the two times [ns]."""

    pot: str
    start_ns: int
    end_ns: int


Output = Started | AnodeEffect | Gap


@dataclass(slots=True)
class Effect:
    """An effect that is going on."""

    start_ns: int
    group: int
    target_v: float
    starting: bool
    peak_v: float
    net_ns: int = 0
    estimated_ns: int = 0
    volt_seconds: float = 0.0
    overvoltage_v_s: float = 0.0
    overvoltage_algebraic_v_s: float = 0.0

    def add(self, length_ns: int, volt: float, *, above: bool) -> None:
        """One stretch of constant voltage."""
        seconds = length_ns / NS_PER_S
        over = (volt - self.target_v) * seconds
        self.volt_seconds += volt * seconds
        self.overvoltage_algebraic_v_s += over
        self.overvoltage_v_s += max(over, 0.0)
        if above:
            self.net_ns += length_ns


@dataclass(slots=True)
class HourSums:
    """Sums of one pot over one hour: times [ns], effects, overvoltage [V.s]."""

    observed_ns: int = 0
    out_ns: int = 0
    effect_ns: int = 0
    effects: int = 0
    overvoltage_v_s: float = 0.0
    overvoltage_algebraic_v_s: float = 0.0


@dataclass(slots=True)
class Windows:
    """Hourly sums by start of the hour, and effect time by minute, while they are open.

    Time that can only be credited after its hour was taken (a gap inside an effect that lasts
    longer than the settling time) goes to the earliest hour still open.
    """

    offset_ns: int = 0
    floor_ns: int = 0
    hours: dict[int, HourSums] = field(default_factory=dict)
    minutes: dict[int, int] = field(default_factory=dict)

    def add_observed(self, start_ns: int, end_ns: int) -> None:
        """Time in circuit with a usable voltage."""
        for part_start, part_end, sums in self._parts(start_ns, end_ns):
            sums.observed_ns += part_end - part_start

    def add_out(self, start_ns: int, end_ns: int) -> None:
        """Time out of circuit."""
        for part_start, part_end, sums in self._parts(start_ns, end_ns):
            sums.out_ns += part_end - part_start

    def add_count(self, start_ns: int) -> None:
        """A group of effects began."""
        self._hour(start_ns).effects += 1

    def add_effect(self, segment: Segment, target_v: float, *, above: bool) -> None:
        """Effect time and overvoltage of one stretch."""
        start_ns, end_ns, volt = segment
        for part_start, part_end, sums in self._parts(start_ns, end_ns):
            over = (volt - target_v) * (part_end - part_start) / NS_PER_S
            sums.overvoltage_algebraic_v_s += over
            sums.overvoltage_v_s += max(over, 0.0)
            if above:
                sums.effect_ns += part_end - part_start
        if above:
            at = start_ns
            while at < end_ns:
                minute = at // MINUTE_NS * MINUTE_NS
                stop = min(end_ns, minute + MINUTE_NS)
                self.minutes[minute] = self.minutes.get(minute, 0) + stop - at
                at = stop

    def take_hours(self, before_ns: int) -> list[tuple[int, HourSums]]:
        """Remove and give the hours that ended at or before a moment, oldest first."""
        done = sorted(start for start in self.hours if start + HOUR_NS <= before_ns)
        self.floor_ns = max(self.floor_ns, window_start(before_ns, HOUR_NS, self.offset_ns))
        return [(start, self.hours.pop(start)) for start in done]

    def take_minutes(self, before_ns: int) -> list[tuple[int, int]]:
        """Remove and give the effect time [ns] of minutes that ended by then."""
        done = sorted(start for start in self.minutes if start + MINUTE_NS <= before_ns)
        return [(start, self.minutes.pop(start)) for start in done]

    def _hour(self, time_ns: int) -> HourSums:
        start = max(window_start(time_ns, HOUR_NS, self.offset_ns), self.floor_ns)
        return self.hours.setdefault(start, HourSums())

    def _parts(self, start_ns: int, end_ns: int) -> list[tuple[int, int, HourSums]]:
        parts = []
        while start_ns < end_ns:
            hour = window_start(start_ns, HOUR_NS, self.offset_ns)
            stop = min(end_ns, hour + HOUR_NS)
            parts.append((start_ns, stop, self._hour(start_ns)))
            start_ns = stop
        return parts


@dataclass(slots=True)
class DetectorState:
    """All a detector remembers between samples.

    ``last_ns`` is the time up to which everything is accounted, ``sample_ns`` and ``last_v``
    the last sample; ``pending`` the stretches whose meaning is not yet decided.
    """

    phase: Phase = Phase.NORMAL
    last_ns: int | None = None
    sample_ns: int = 0
    last_v: float = 0.0
    since_ns: int = 0
    below_ns: int | None = None
    pending: list[Segment] = field(default_factory=list)
    candidate_gap_ns: int = 0
    effect: Effect | None = None
    last_end_ns: int | None = None
    group: int = 0
    spikes: int = 0
    status_known: bool = False
    starting: bool = False
    minute: int = -1
    minute_sum: float = 0.0
    minute_count: int = 0
    normal_v: list[float] = field(default_factory=list)
    windows: Windows = field(default_factory=Windows)

    def learn(self, minute: int, sum_: float, count: int) -> None:
        """Take a normal stretch of one minute into the running median of minute means."""
        if minute != self.minute:
            if self.minute_count:
                self.normal_v.append(self.minute_sum / self.minute_count)
                del self.normal_v[:-_TARGET_MINUTES]
            self.minute, self.minute_sum, self.minute_count = minute, 0.0, 0
        self.minute_sum += sum_
        self.minute_count += count

    def target(self, configured: float | None) -> float:
        """Target voltage [V]: configured, else the median of the last normal minutes."""
        if configured is not None:
            return configured
        if self.normal_v:
            return median(self.normal_v)
        return self.minute_sum / self.minute_count if self.minute_count else self.last_v

    def dump(self) -> dict[str, Any]:
        """Plain value for storage; ``load`` gives the same state back."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        plain["phase"] = self.phase.value
        plain["effect"] = _plain(self.effect) if self.effect else None
        plain["windows"] = {
            "offset_ns": self.windows.offset_ns,
            "floor_ns": self.windows.floor_ns,
            "hours": [[start, _plain(sums)] for start, sums in self.windows.hours.items()],
            "minutes": [list(item) for item in self.windows.minutes.items()],
        }
        return plain

    @classmethod
    def load(cls, plain: dict[str, Any]) -> "DetectorState":
        """The state that ``dump`` gave."""
        windows = plain["windows"]
        return cls(
            **{
                **plain,
                "phase": Phase(plain["phase"]),
                "pending": [(start, end, volt) for start, end, volt in plain["pending"]],
                "effect": Effect(**plain["effect"]) if plain["effect"] else None,
                "windows": Windows(
                    windows["offset_ns"],
                    windows["floor_ns"],
                    {start: HourSums(**sums) for start, sums in windows["hours"]},
                    dict(windows["minutes"]),
                ),
            }
        )


def _plain(value: Effect | HourSums) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}

"""State and outputs of the anode-effect detector, as plain values that can be stored."""

from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

from edge_agent.calc.effect_windows import Segment, Windows, plain
from edge_agent.readings import AnodeEffect

NS_PER_S = 10**9
UV_PER_V = 1_000_000
TARGET_MINUTES = 15
"""How many normal minutes the running target voltage looks back."""


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Levels [V] and times [s] of the detector.

    ``max_bridge_s``: a longer silence ends an effect even if the pot is on effect afterwards;
    ``count_start_up``: whether effects of a pot being started enter the sums; an effect is
    suspect, and put aside if ``hold_suspects``, when more than ``jump_share`` of the line's pots,
    at least ``jump_pots``, start one within ``jump_s``: a line event or a scaling fault.
    """

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
    max_bridge_s: float = 3600.0
    count_start_up: bool = True
    hold_suspects: bool = True
    jump_share: float = 0.2
    jump_pots: int = 4
    jump_s: float = 5.0

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
    def max_bridge_ns(self) -> int:
        """``max_bridge_s`` in ns."""
        return round(self.max_bridge_s * NS_PER_S)

    @property
    def jump_ns(self) -> int:
        """``jump_s`` in ns."""
        return round(self.jump_s * NS_PER_S)

    @property
    def settle_ns(self) -> int:
        """How long after a moment the sums before it can still change, gaps apart [ns]."""
        longest = max(self.t_out_ns, self.t_off_ns, self.t_on_ns)
        return longest + 2 * self.max_hold_ns + self.jump_ns


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
    """An effect was confirmed at ``confirmed_ns``; it began at ``start_ns``.

    ``peak_v`` is the highest voltage until then, ``target_v`` the pot's target [V].
    """

    pot: str
    start_ns: int
    group: int
    restrike: bool
    confirmed_ns: int
    peak_v: float
    target_v: float


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
    uncertain: bool = False

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
class DetectorState:
    """All a detector remembers between samples.

    ``last_ns`` is the time up to which everything is accounted, ``sample_ns`` and ``last_v``
    the last sample; ``pending`` the stretches whose meaning is not yet decided, ``bridged``
    the silences among them; ``uncertain`` says that silence came before the candidate;
    ``out_until_ns`` is up to when a silent pot's time out of circuit is accounted.
    """

    phase: Phase = Phase.NORMAL
    last_ns: int | None = None
    sample_ns: int = 0
    last_v: float = 0.0
    since_ns: int = 0
    below_ns: int | None = None
    pending: list[Segment] = field(default_factory=list)
    bridged: list[tuple[int, int]] = field(default_factory=list)
    uncertain: bool = False
    out_until_ns: int = 0
    effect: Effect | None = None
    last_end_ns: int | None = None
    group: int = 0
    spikes: int = 0
    status_known: bool = False
    starting: bool = False
    minute: int = -1
    minute_uv: int = 0
    minute_count: int = 0
    normal_v: list[float] = field(default_factory=list)
    windows: Windows = field(default_factory=Windows)

    def learn(self, minute: int, sum_uv: int, count: int) -> None:
        """Take a normal stretch of one minute into the running median of minute means.

        The sum is in whole microvolts, so that it is exact in any order of addition.
        """
        if minute != self.minute:
            if self.minute_count:
                self.normal_v.append(self.minute_uv / self.minute_count / UV_PER_V)
                del self.normal_v[:-TARGET_MINUTES]
            self.minute, self.minute_uv, self.minute_count = minute, 0, 0
        self.minute_uv += sum_uv
        self.minute_count += count

    def target(self, configured: float | None) -> float:
        """Target voltage [V]: configured, else the median of the last normal minutes."""
        if configured is not None:
            return configured
        if self.normal_v:
            return median(self.normal_v)
        if self.minute_count:
            return self.minute_uv / self.minute_count / UV_PER_V
        return self.last_v

    @property
    def unsettled_ns(self) -> int | None:
        """Since when [ns] the meaning of what was seen is open; None when nothing is."""
        if self.phase is Phase.EFFECT:
            return self.last_ns if self.below_ns is None else self.below_ns
        return self.since_ns if self.phase in (Phase.CANDIDATE, Phase.LOW) else None

    def dump(self) -> dict[str, Any]:
        """Plain value for storage; ``load`` gives the same state back."""
        return {
            **plain(self),
            "phase": self.phase.value,
            "effect": plain(self.effect) if self.effect else None,
            "windows": self.windows.dump(),
        }

    @classmethod
    def load(cls, stored: dict[str, Any]) -> "DetectorState":
        """The state that ``dump`` gave; what an older one has besides is left out."""
        known = {name: stored[name] for name in cls.__slots__ if name in stored}
        return cls(
            **{
                **known,
                "phase": Phase(stored["phase"]),
                "pending": [(start, end, volt) for start, end, volt in stored["pending"]],
                "bridged": [(start, end) for start, end in stored.get("bridged", ())],
                "effect": Effect(**stored["effect"]) if stored["effect"] else None,
                "windows": Windows.load(stored["windows"]),
            }
        )

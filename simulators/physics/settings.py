"""What a simulated potline is told, and the numbers of its physics.

Electrical and mass figures follow the project's reference on anode effects; shapes that the literature
leaves open (alumina curve, noise colour) are invented and marked so.
"""

from __future__ import annotations

from dataclasses import dataclass

SECONDS_PER_DAY = 86_400
CHUNK_S = 600
"""The plant is computed in pieces of this many seconds, whatever is asked for: same seed, same plant."""

STATUS_OUT = 0
STATUS_IN_OPERATION = 1
STATUS_STARTING = 2

ZERO_CURRENT_V = 1.65
"""Pot voltage extrapolated to zero current [V]."""
QUIET_CEILING_V = 6.8
"""No voltage outside effects and pre-spikes is ever above this [V]."""
COUNTED_ABOVE_V = 8.0
"""Seconds at or above this voltage count as effect time [V]."""
EFFECT_FLOOR_V = 8.6
"""Lowest voltage of a burning effect, scripted dips apart [V]."""

RESTRIKE_MAX_GAP_S = 830
FRESH_MIN_GAP_S = 1_000
REGROUP_S = 900
"""An effect starting less than this after the end of the one before belongs to its group [s]."""


@dataclass(frozen=True, slots=True)
class PotlineSettings:
    """One line and the span it is planned for.

    Attributes:
        pots: number of pots.
        period_s: accounted period, from second 0 [s]; outages and the like fall into it.
        horizon_s: how long the plant can run [s], at least ``period_s``.
        current_ka: rectifier set-point [kA].
        effects_per_pot_day: mean rate of anode effects [1/(pot d)]; pots scatter around it.
        outages: rectifier outages in the period.
        outage_effects: how many of the outages cut a burning effect short.
        cutout_pots: pots taken out of circuit for some hours.
        starting_pots: pots that are out at first and then started up.
        scheduled: (pot index, start second) pairs that replace the random effects.
    """

    pots: int = 24
    period_s: int = 31 * SECONDS_PER_DAY
    horizon_s: int = 31 * SECONDS_PER_DAY
    current_ka: float = 300.0
    effects_per_pot_day: float = 0.1
    outages: int = 0
    outage_effects: int = 0
    cutout_pots: int = 0
    starting_pots: int = 0
    scheduled: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        """Refuse a plant that cannot be planned.

        Raises:
            ValueError: sizes contradict each other.
        """
        if self.pots < 1 or self.period_s < 1 or self.horizon_s < self.period_s:
            raise ValueError("pots >= 1 and 1 <= period_s <= horizon_s are needed")
        if self.cutout_pots + self.starting_pots > self.pots:
            raise ValueError("more cut-out and starting pots than pots")
        if self.outage_effects > self.outages:
            raise ValueError("outage_effects cannot exceed outages")

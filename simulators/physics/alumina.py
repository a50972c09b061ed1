"""Alumina dissolved in the bath of each pot, and what it does to the voltage.

    dV(c) = 0.012 (c - 4)^2 + 0.02 / max(c - 1.3, 0.05)          c in weight percent, dV in volts

An invented curve with the published shape: least resistance near 4 %, rising ever faster when lean. Feed
control swings between under- and overfeed; before most effects the feeder is blocked and the bath runs lean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulators.physics.schedule import Effect

    Floats = NDArray[np.float64]

STEP_S = 60
SWING_PER_MIN = 0.0093
STARVE_PER_MIN = 0.12
DUMP_PER_MIN = 0.25
DUMP_S = 300
CRITICAL = 1.38


def concentration_voltage(concentration: Floats) -> Floats:
    """Voltage over that of the best concentration [V]."""
    lean: Floats = 0.02 / np.maximum(concentration - 1.3, 0.05)
    return 0.012 * (concentration - 4.0) ** 2 + lean


class AluminaBalance:
    """Alumina concentration of all pots, stepped once a minute."""

    def __init__(self, pots: int, effects: Sequence[Effect], rng: np.random.Generator) -> None:
        self._concentration = rng.uniform(2.0, 2.8, pots)
        self._overfed = rng.random(pots) < 0.5
        self._swing = SWING_PER_MIN * rng.uniform(0.7, 1.4, pots)
        self._lean_limit = rng.uniform(1.9, 2.1, pots)
        self._rich_limit = rng.uniform(2.6, 3.2, pots)
        self._coming: list[list[Effect]] = [[] for _ in range(pots)]
        for effect in sorted(effects, key=lambda one: one.start, reverse=True):
            self._coming[effect.pot].append(effect)
        never = np.full(pots, np.inf)
        self._onset, self._lead_from, self._dump_until = never, never.copy(), -never

    def advance(self, start: int, seconds: int) -> NDArray[np.float32]:
        """Voltage by concentration for [pots, seconds], starting at a full minute [V]."""
        points = [concentration_voltage(self._concentration)]
        for minute in range(start, start + seconds, STEP_S):
            self._look_ahead(minute)
            self._step(minute)
            points.append(concentration_voltage(self._concentration))
        corners = np.stack(points, axis=1).astype(np.float32)
        share = (np.arange(STEP_S, dtype=np.float32) / STEP_S)[None, None, :]
        rises = np.diff(corners, axis=1)
        lines = corners[:, :-1, None] + rises[:, :, None] * share
        return np.asarray(lines.reshape(len(corners), -1)[:, :seconds], dtype=np.float32)

    def _look_ahead(self, now: int) -> None:
        """Take up each pot's next effect once the one before has begun."""
        for pot in np.nonzero((self._onset <= now) | np.isinf(self._onset))[0]:
            if not self._coming[pot]:
                continue
            if np.isfinite(self._onset[pot]):
                begun = self._coming[pot].pop()
                self._dump_until[pot] = begun.end + DUMP_S
            upcoming = self._coming[pot][-1] if self._coming[pot] else None
            self._onset[pot] = upcoming.start if upcoming else np.inf
            lead_s = upcoming.waveform.lead_s if upcoming else 0
            self._lead_from[pot] = upcoming.start - lead_s if upcoming else np.inf

    def _step(self, now: int) -> None:
        """One minute of feed and consumption."""
        c = self._concentration
        rate = np.where(self._overfed, self._swing, -self._swing)
        minutes_left = np.maximum((self._onset - now) / STEP_S, 1.0)
        starving = (now >= self._lead_from) & (now < self._onset)
        drift = np.where(starving, (CRITICAL - c) / minutes_left, 0.0)
        rate = np.where(starving, np.maximum(drift, -STARVE_PER_MIN), rate)
        rate = np.where((now < self._dump_until) & ~starving, DUMP_PER_MIN, rate)
        self._concentration = np.clip(c + rate, 1.35, 3.6)
        self._overfed = (self._overfed | (c < self._lean_limit)) & (c <= self._rich_limit)

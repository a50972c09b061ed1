"""The voltage of one anode effect, second by second.

Rules every effect keeps, so that a detector at 1 Hz (on 8.0 V for 2 s, off 7.0 V for 10 s) must agree:

1. The onset jumps from under 7 V to over 8.5 V between two samples.
2. While it lasts every sample is at least 8.6 V, except scripted dips of 1 to 3 s at 4 to 6 V.
3. Before, between and after dips at least 3 samples are above 8.5 V.
4. It lasts at least 6 s.
5. Pre-spikes are 1 or 2 samples long and lie 13 to 60 s before the onset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

from simulators.physics.settings import COUNTED_ABOVE_V, EFFECT_FLOOR_V

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Volts = NDArray[np.float32]

NORMAL_V = 4.5
MIN_EFFECT_S = 6
SUDDEN_SHARE = 0.3
PRE_SPIKE_S = 60
LEAD_MAX_S = 1_800


@dataclass(frozen=True, slots=True)
class Waveform:
    """What one effect does to the pot's voltage.

    Attributes:
        approach: samples right before the start, part of the onset ramp, all under 7 V [V].
        burning: samples from the first over 8.5 V to the last before the end [V].
        pre_spikes: (seconds before the start, samples [V]) of each pre-spike.
        lead_s: how long the bath drifts lean beforehand [s]; 0 for a sudden effect.
        undershoot_v: how far the voltage falls under the set-point afterwards [V].
        undershoot_s: how long [s].
        overshoot_v: overshoot over the set-point after that [V].
        settle_s: time constant of its decay [s].
    """

    approach: Volts
    burning: Volts
    pre_spikes: tuple[tuple[int, Volts], ...]
    lead_s: int
    undershoot_v: float
    undershoot_s: int
    overshoot_v: float
    settle_s: int

    @property
    def net_s(self) -> int:
        """Seconds at or above 8 V."""
        return self.net_before(len(self.burning))

    def net_before(self, age_s: int) -> int:
        """Seconds at or above 8 V in the first ``age_s`` seconds."""
        return int(np.count_nonzero(self.burning[:age_s] >= COUNTED_ABOVE_V))

    @property
    def peak_v(self) -> float:
        """Highest sample [V]."""
        return float(self.burning.max())

    def after(self, since_end: NDArray[np.int64]) -> Volts:
        """Voltage offset at these seconds after the end [V]."""
        late = (since_end - self.undershoot_s) / self.settle_s
        recovered = self.overshoot_v * np.exp(-np.maximum(late, 0.0))
        return np.where(late < 0, -self.undershoot_v, recovered).astype(np.float32)


def draw_waveform(rng: np.random.Generator, setpoint_v: float) -> Waveform:
    """Draw one effect for a pot with this set-point [V]."""
    peak_v = float(np.clip(28.0 * np.exp(0.25 * rng.standard_normal()), 10.0, 80.0))
    duration_s = _draw_duration(rng)
    ramp = _onset_ramp(rng, peak_v)
    below = int(np.argmax(ramp >= EFFECT_FLOOR_V))
    burning = _burning(rng, peak_v, duration_s)
    rising = ramp[below : below + duration_s]
    burning[: len(rising)] = np.minimum(burning[: len(rising)], rising)
    _cut_dips(rng, burning)
    lead_s = 0 if rng.random() < SUDDEN_SHARE else int(rng.integers(480, LEAD_MAX_S))
    return Waveform(
        approach=np.minimum(ramp[:below], 6.7).astype(np.float32),
        burning=burning,
        pre_spikes=_pre_spikes(rng),
        lead_s=lead_s,
        undershoot_v=setpoint_v - float(rng.uniform(3.45, 3.85)),
        undershoot_s=int(rng.integers(60, 181)),
        overshoot_v=float(rng.uniform(0.1, 0.4)),
        settle_s=int(rng.integers(200, 600)),
    )


def _draw_duration(rng: np.random.Generator) -> int:
    """Seconds from start to end: lognormal, with 4 % failed kills of 4 to 10 min."""
    if rng.random() < 0.04:
        return int(rng.integers(240, 601))
    drawn = 75.0 * np.exp(0.75 * rng.standard_normal())
    return int(np.clip(drawn, MIN_EFFECT_S, 600))


def _onset_ramp(rng: np.random.Generator, peak_v: float) -> NDArray[np.float64]:
    """Rise from normal voltage to the peak in 1 to 10 s."""
    ramp_s = int(rng.integers(1, 11))
    share = np.arange(1, ramp_s + 1) / ramp_s
    rise: NDArray[np.float64] = NORMAL_V + (peak_v - NORMAL_V) * share ** rng.uniform(0.8, 2.0)
    return rise


def _burning(rng: np.random.Generator, peak_v: float, duration_s: int) -> Volts:
    """Peak, decay over the first minute, OU noise, sometimes a plateau of 10 to 15 V."""
    seconds = np.arange(duration_s)
    mean = peak_v * (1.0 - rng.uniform(0.1, 0.3) * np.minimum(seconds / 60.0, 1.0))
    if rng.random() < 0.1:
        mean = np.where(seconds >= rng.integers(20, 60), rng.uniform(10.0, 15.0), mean)
    keep = np.exp(-1.0 / 5.0)
    kicks = rng.standard_normal(duration_s) * (2.0 * np.sqrt(1.0 - keep * keep))
    wander = lfilter([1.0], [1.0, -keep], kicks)
    volts = mean + wander * np.clip((mean - EFFECT_FLOOR_V) / 8.0, 0.1, 1.0)
    volts[0] = max(volts[0], mean[0])
    return np.asarray(np.clip(volts, EFFECT_FLOOR_V, 80.0), dtype=np.float32)


def _cut_dips(rng: np.random.Generator, burning: Volts) -> None:
    """Termination steps: every 5 to 10 s from 20 to 40 s on; a failed step leaves a short dip."""
    at = int(rng.integers(20, 41))
    while at + 3 + 4 <= len(burning):
        if rng.random() < 0.6:
            dip_s = int(rng.integers(1, 4))
            burning[at : at + dip_s] = rng.uniform(4.0, 6.0, dip_s)
        pause_s = 60 if rng.random() < 0.15 else 0
        at += int(rng.integers(6, 11)) + pause_s


def _pre_spikes(rng: np.random.Generator) -> tuple[tuple[int, Volts], ...]:
    """In a quarter of the effects one to three short spikes of 6 to 12 V before the onset."""
    if rng.random() >= 0.25:
        return ()
    slots = rng.permutation(np.arange(16, PRE_SPIKE_S, 6))[: rng.integers(1, 4)]
    return tuple(
        (int(before), rng.uniform(6.0, 12.0, rng.integers(1, 3)).astype(np.float32))
        for before in sorted(slots, reverse=True)
    )

"""Coloured noise that goes on seamlessly from one piece to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


class ShapedNoise:
    """White noise through a rational filter, several independent rows at once.

    Args:
        rows: number of independent noises.
        numerator: filter coefficients b.
        denominator: filter coefficients a, with a[0] = 1.
    """

    def __init__(self, rows: int, numerator: list[float], denominator: list[float]) -> None:
        self._rows = rows
        self._numerator = np.array(numerator, dtype=np.float32)
        self._denominator = np.array(denominator, dtype=np.float32)
        order = max(len(numerator), len(denominator)) - 1
        self._state = np.zeros((rows, order), dtype=np.float32)

    def draw(self, samples: int, rng: np.random.Generator) -> Floats:
        """The next samples, [rows, samples]."""
        white = rng.standard_normal((self._rows, samples), dtype=np.float32)
        shaped, self._state = lfilter(
            self._numerator, self._denominator, white, axis=1, zi=self._state
        )
        return np.asarray(shaped, dtype=np.float32)


def ornstein_uhlenbeck(rows: int, deviation: float, tau_s: float) -> ShapedNoise:
    """Mean-reverting noise with this standard deviation and correlation time [s], at 1 Hz."""
    keep = float(np.exp(-1.0 / tau_s))
    return ShapedNoise(rows, [deviation * float(np.sqrt(1.0 - keep * keep))], [1.0, -keep])


def pot_noise(rows: int) -> ShapedNoise:
    """Bubbles (white, 12 mV) plus metal waves (a resonance near 0.03 Hz, about 10 mV), in volts."""
    bubbles_v, waves_v = 0.012, 0.0012
    radius, angle = 0.97, 2.0 * np.pi * 0.03
    resonance = [1.0, float(-2.0 * radius * np.cos(angle)), radius * radius]
    numerator = [bubbles_v * coefficient for coefficient in resonance]
    numerator[0] += waves_v
    return ShapedNoise(rows, numerator, resonance)

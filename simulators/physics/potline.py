"""The potline: true voltage of every pot, line current and status, second by second.

    V = 1.65 + (V_set - 1.65 + dV_alumina + offsets) * I / I_set + noise

Value i of a block is true at second ``start + i``. The voltage of a burning effect, an outage or a pot out of
circuit replaces that formula. The plant is computed in pieces of ``CHUNK_S`` seconds, so the same seed and
settings give the same plant whatever block sizes are asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

from simulators.physics.alumina import AluminaBalance
from simulators.physics.influences import Influences
from simulators.physics.noise import ornstein_uhlenbeck, pot_noise
from simulators.physics.schedule import Effect, Schedule, plan
from simulators.physics.settings import (
    CHUNK_S,
    QUIET_CEILING_V,
    STATUS_IN_OPERATION,
    STATUS_OUT,
    STATUS_STARTING,
    ZERO_CURRENT_V,
    PotlineSettings,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LINE_POTS_AT_LEAST = 200
"""The rectifier feeds at least this many pots, even when fewer are simulated: limits current dips."""
MAX_DIP = 0.06
REGULATOR_TAU_S = 10.0
RETURN_RAMP_S = 120


@dataclass(frozen=True, slots=True)
class PotlineBlock:
    """What was true in some seconds.

    Attributes:
        start: the first second.
        voltage: [pots, seconds] [V].
        current_ka: [seconds] [kA].
        status: [pots, seconds], 0 out of circuit, 1 in operation, 2 starting up.
        ended: effects whose end lies in (start, start + seconds].
        taps: (second, pot) of tappings that ended in [start, start + seconds).
    """

    start: int
    voltage: Floats
    current_ka: Floats
    status: NDArray[np.int8]
    ended: tuple[Effect, ...]
    taps: tuple[tuple[int, int], ...]

    @property
    def seconds(self) -> int:
        """Length of the block [s]."""
        return len(self.current_ka)

    @property
    def end(self) -> int:
        """The first second after the block."""
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One computed piece."""

    voltage: Floats
    current_ka: Floats
    status: NDArray[np.int8]


class Potline:
    """A seeded line of pots that runs forward from second 0 to its horizon."""

    def __init__(self, settings: PotlineSettings, rng: np.random.Generator) -> None:
        self.settings = settings
        plan_rng, self._rng = rng.spawn(2)
        self.schedule: Schedule = plan(settings, plan_rng)
        self.now = 0
        self._influences = Influences(self.schedule)
        self._alumina = AluminaBalance(settings.pots, self.schedule.effects, self._rng)
        self._noise = pot_noise(settings.pots)
        self._current_noise = ornstein_uhlenbeck(1, 0.003, 60.0)
        self._regulator_state = np.zeros(1)
        self._noise_gain = self._rng.uniform(0.7, 1.6, (settings.pots, 1)).astype(np.float32)
        self._above_zero_current = np.array(self.schedule.setpoint_v, dtype=np.float32)[:, None]
        self._above_zero_current -= np.float32(ZERO_CURRENT_V + 0.06)
        self._chunk = self._empty_chunk()
        self._chunk_start = 0
        self._computed = 0
        self._by_end = sorted(self.schedule.effects, key=lambda one: (one.end, one.pot))
        self._ends = [effect.end for effect in self._by_end]
        self._taps = self._influences.tap_times()

    def advance(self, seconds: int) -> PotlineBlock:
        """Run on and return what was true.

        Raises:
            ValueError: fewer than one second, or past the planned horizon.
        """
        start, end = self.now, self.now + seconds
        if seconds < 1 or end > self.settings.horizon_s:
            raise ValueError(f"cannot run from second {start} to {end}")
        pieces = []
        while self.now < end:
            if self.now == self._computed:
                self._chunk, self._chunk_start = self._compute(), self._computed
                self._computed += CHUNK_S
            until = min(end, self._computed)
            pieces.append(self._cut(self.now - self._chunk_start, until - self._chunk_start))
            self.now = until
        return self._join(start, end, pieces)

    def open_effects(self) -> list[Effect]:
        """Effects burning at the present second."""
        return [one for one in self.schedule.effects if one.start < self.now < one.end]

    def _cut(self, first: int, last: int) -> _Chunk:
        chunk = self._chunk
        return _Chunk(
            chunk.voltage[:, first:last], chunk.current_ka[first:last], chunk.status[:, first:last]
        )

    def _join(self, start: int, end: int, pieces: list[_Chunk]) -> PotlineBlock:
        first, last = (bisect_left(self._ends, second + 1) for second in (start, end))
        tap_first, tap_last = (bisect_left(self._taps, (second, -1)) for second in (start, end))
        return PotlineBlock(
            start=start,
            voltage=np.concatenate([piece.voltage for piece in pieces], axis=1),
            current_ka=np.concatenate([piece.current_ka for piece in pieces]),
            status=np.concatenate([piece.status for piece in pieces], axis=1),
            ended=tuple(self._by_end[first:last]),
            taps=tuple(self._taps[tap_first:tap_last]),
        )

    def _empty_chunk(self) -> _Chunk:
        nothing = np.zeros((self.settings.pots, 0), dtype=np.float32)
        return _Chunk(nothing, nothing[0], nothing.astype(np.int8))

    def _compute(self) -> _Chunk:
        """The next piece of ``CHUNK_S`` seconds."""
        start = self._computed
        shape = (self.settings.pots, CHUNK_S)
        self._influences.move_to(start, start + CHUNK_S)
        offset = self._alumina.advance(start, CHUNK_S)
        noise = self._noise.draw(CHUNK_S, self._rng)
        noise *= self._noise_gain
        self._influences.disturb(offset, noise)
        burning = np.full(shape, np.nan, dtype=np.float32)
        extra_v = self._influences.burn(burning)
        current = self._line_current(start, extra_v)
        voltage = self._above_zero_current + offset
        voltage *= current / np.float32(self.settings.current_ka)
        voltage += noise
        voltage += np.float32(ZERO_CURRENT_V)
        np.clip(voltage, 2.5, QUIET_CEILING_V, out=voltage)
        self._outages_and_absences(start, voltage, noise)
        np.copyto(voltage, burning, where=~np.isnan(burning))
        return _Chunk(voltage, current, self._status(start))

    def _line_current(self, start: int, extra_v: NDArray[np.float64]) -> Floats:
        """Set-point with noise; an effect's volts dip it until the regulator has acted."""
        settings = self.settings
        ohmic_v = max(settings.pots, LINE_POTS_AT_LEAST) * 2.5
        keep = np.exp(-1.0 / REGULATOR_TAU_S)
        dip, self._regulator_state = lfilter(
            [1.0, -1.0], [1.0, -keep], extra_v / ohmic_v, zi=self._regulator_state
        )
        wander = self._current_noise.draw(CHUNK_S, self._rng)[0]
        current = settings.current_ka * (1.0 + wander - np.clip(dip, -MAX_DIP, MAX_DIP))
        for outage in self.schedule.outages:
            if outage.meets(start - RETURN_RAMP_S, start + CHUNK_S):
                seconds = np.arange(start, start + CHUNK_S)
                back = np.clip((seconds - outage.end + 1) / RETURN_RAMP_S, 0.0, 1.0)
                current = np.where(seconds >= outage.end, current * (0.4 + 0.6 * back), current)
                current[(seconds >= outage.start) & (seconds < outage.end)] = 0.0
        return np.asarray(current, dtype=np.float32)

    def _outages_and_absences(self, start: int, voltage: Floats, noise: Floats) -> None:
        """Back-EMF fading from 1.7 to 1.0 V without current; 0 to 0.6 V out of circuit."""
        for outage in self.schedule.outages:
            if outage.meets(start, start + CHUNK_S):
                where = slice(max(outage.start - start, 0), min(outage.end - start, CHUNK_S))
                age = np.arange(where.start, where.stop) + start - outage.start
                fading = (1.0 + 0.7 * np.exp(-age / 600.0)).astype(np.float32)
                voltage[:, where] = fading + 0.1 * noise[:, where]
        for pot, absences in enumerate(self.schedule.absences):
            for away in absences:
                if away.meets(start, start + CHUNK_S):
                    where = slice(max(away.start - start, 0), min(away.end - start, CHUNK_S))
                    voltage[pot, where] = np.clip(0.3 + noise[pot, where], 0.0, 0.6)

    def _status(self, start: int) -> NDArray[np.int8]:
        """Status of [pots, CHUNK_S]."""
        status = np.full((self.settings.pots, CHUNK_S), STATUS_IN_OPERATION, dtype=np.int8)
        for value, spans in (
            (STATUS_STARTING, self.schedule.start_ups),
            (STATUS_OUT, self.schedule.absences),
        ):
            for pot, of_pot in enumerate(spans):
                for span in of_pot:
                    first, last = max(span.start - start, 0), span.end - start
                    if last > 0:
                        status[pot, first:last] = value
        return status

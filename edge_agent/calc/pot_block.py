"""The samples of all pots of a line over a stretch of time, and which of them are frozen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Volts = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PotBlock:
    """Samples, one pot after the other: pot i's are those from ``bounds[i]`` to ``bounds[i+1]``.

    Times [ns] rise strictly within each pot; volts [V].
    """

    times: Times
    volts: Volts
    bounds: Times

    @classmethod
    def joined(cls, parts: Sequence[tuple[Times, Volts]]) -> "PotBlock":
        """One part a pot; parts may be empty."""
        bounds = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(times) for times, _ in parts], out=bounds[1:])
        return cls(
            np.concatenate([times for times, _ in parts]),
            np.concatenate([volts for _, volts in parts]),
            bounds,
        )

    @classmethod
    def even(cls, times: Times, volts: Volts) -> "PotBlock":
        """All pots at the same times: ``volts`` of shape [pots, n], ``times`` of [n]."""
        pots, count = volts.shape
        bounds = np.arange(pots + 1, dtype=np.int64) * count
        return cls(np.tile(times, pots), volts.reshape(-1), bounds)

    @property
    def filled(self) -> Times:
        """Places of the pots that have samples."""
        return np.flatnonzero(self.bounds[1:] > self.bounds[:-1])

    def keep(self, good: Flags) -> "PotBlock":
        """The block without the samples that are not good."""
        if good.all():
            return self
        kept = np.concatenate(([0], np.cumsum(good)))
        return PotBlock(self.times[good], self.volts[good], kept[self.bounds])


@dataclass(slots=True)
class StuckPots:
    """Since when [ns] each pot has shown exactly its last value."""

    values: Volts
    since_ns: Times

    @classmethod
    def none(cls, pots: int) -> "StuckPots":
        """No pot has shown anything."""
        return cls(np.full(pots, np.nan), np.zeros(pots, dtype=np.int64))

    def moving(self, block: PotBlock, limit_ns: int) -> Flags:
        """Which samples do not belong to a frozen signal; the runs so far are updated.

        A signal is frozen from ``limit_ns`` after the first of a run of exactly equal values on.
        """
        times, volts, bounds = block.times, block.volts, block.bounds
        filled = block.filled
        if not len(filled):
            return np.ones(0, dtype=np.bool_)
        begins = np.ones(len(volts), dtype=np.bool_)
        np.not_equal(volts[1:], volts[:-1], out=begins[1:])
        begins[bounds[filled]] = True
        starts = np.flatnonzero(begins)
        since = times[starts]
        first = np.searchsorted(starts, bounds[filled])
        goes_on = volts[bounds[filled]] == self.values[filled]
        since[first[goes_on]] = self.since_ns[filled[goes_on]]
        self.values[filled] = volts[bounds[filled + 1] - 1]
        self.since_ns[filled] = since[np.searchsorted(starts, bounds[filled + 1]) - 1]
        ends = np.append(starts[1:], len(volts))
        if not (times[ends - 1] - since >= limit_ns).any():
            return np.ones(len(volts), dtype=np.bool_)
        return np.asarray(times - np.repeat(since, ends - starts) < limit_ns, dtype=np.bool_)

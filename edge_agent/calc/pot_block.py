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

    Times [ns] rise strictly within each pot; volts [V]. ``row`` holds the times of one pot where
    all pots have the same: most work can then be done once for all.
    """

    times: Times
    volts: Volts
    bounds: Times
    row: Times | None = None

    @classmethod
    def joined(cls, parts: Sequence[tuple[Times, Volts]]) -> "PotBlock":
        """One part a pot; parts may be empty."""
        bounds = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(times) for times, _ in parts], out=bounds[1:])
        times = np.concatenate([times for times, _ in parts])
        volts = np.concatenate([volts for _, volts in parts])
        count = int(bounds[1])
        row: Times | None = times[:count]
        if count * len(parts) != len(times) or (times.reshape(len(parts), -1) != row).any():
            row = None
        return cls(times, volts, bounds, row)

    @classmethod
    def even(cls, times: Times, volts: Volts) -> "PotBlock":
        """All pots at the same times: ``volts`` of shape [pots, n], ``times`` of [n]."""
        pots, count = volts.shape
        bounds = np.arange(pots + 1, dtype=np.int64) * count
        return cls(np.tile(times, pots), volts.reshape(-1), bounds, times)

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
        times, volts, filled = block.times, block.volts, block.filled
        good = np.ones(len(volts), dtype=np.bool_)
        if not len(filled):
            return good
        first, last = block.bounds[filled], block.bounds[filled + 1] - 1
        goes_on = volts[first] == self.values[filled]
        since_first = np.where(goes_on, self.since_ns[filled], times[first])
        run_first, run_last = _runs(volts, first)
        pot = np.searchsorted(first, run_first, side="right") - 1
        since = np.where(run_first == first[pot], since_first[pot], times[run_first])

        since_last = np.where(first == last, since_first, times[last])
        to_last = run_last == last[pot]
        since_last[pot[to_last]] = since[to_last]
        self.values[filled], self.since_ns[filled] = volts[last], since_last

        good[first] = times[first] - since_first < limit_ns
        long = times[run_last] - since >= limit_ns
        runs = (run_first[long].tolist(), run_last[long].tolist(), since[long].tolist())
        for start, stop, since_ns in zip(*runs, strict=True):
            part = slice(start, stop + 1)
            good[part] = times[part] - since_ns < limit_ns
        return good


def _runs(volts: Volts, first: Times) -> tuple[Times, Times]:
    """First and last places of the runs of equal values; ``first`` are those of the pots."""
    repeats = volts[1:] == volts[:-1]
    repeats[first[1:] - 1] = False
    at = np.flatnonzero(repeats) + 1
    begins = np.diff(at, prepend=-1) > 1
    ends = np.diff(at, append=len(volts) + 1) > 1
    return at[begins] - 1, at[ends]

"""The samples of all pots of a line over a stretch of time, judged by vector operations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.rows import FULL_SHARE, Span
from edge_agent.readings import GOOD, UNCERTAIN_PARTIAL

Times = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PotBlock:
    """Samples, one pot after the other: pot i's are those from ``bounds[i]`` to ``bounds[i+1]``."""

    times: Times
    volts: Values
    bounds: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[tuple[Times, Values]]) -> "PotBlock":
        """One part a pot; parts may be empty."""
        bounds = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(times) for times, _ in parts], out=bounds[1:])
        return cls(
            np.concatenate([times for times, _ in parts]),
            np.concatenate([volts for _, volts in parts]),
            bounds,
        )

    def keep(self, good: NDArray[np.bool_]) -> "PotBlock":
        """The block without the samples that are not good."""
        if good.all():
            return self
        kept = np.concatenate(([0], np.cumsum(good)))
        return PotBlock(self.times[good], self.volts[good], kept[self.bounds])


@dataclass(slots=True)
class StuckPots:
    """Since when [ns] each pot has shown exactly its last value."""

    values: Values
    since_ns: Times

    @classmethod
    def none(cls, pots: int) -> "StuckPots":
        """No pot has shown anything."""
        return cls(np.full(pots, np.nan), np.zeros(pots, dtype=np.int64))

    def moving(self, block: PotBlock, limit_ns: int) -> NDArray[np.bool_]:
        """Which samples do not belong to a frozen signal; the runs so far are updated.

        A signal is frozen from ``limit_ns`` after the first of a run of exactly equal values on.
        """
        times, volts, bounds = block.times, block.volts, block.bounds
        filled = np.flatnonzero(bounds[1:] > bounds[:-1])
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
        lengths = np.diff(np.append(starts, len(volts)))
        return np.asarray(times - np.repeat(since, lengths) < limit_ns, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class MinuteMeans:
    """Means (to float32) of the minutes that hold samples, by pot and in order of time.

    ``rows[i]`` to ``rows[i + 1]`` are pot i's; a minute with less than nine tenths of its samples
    is uncertain (partial).
    """

    minutes: list[int]
    means: list[float]
    quality: list[int]
    rows: list[int]

    @classmethod
    def of(cls, block: PotBlock, span: Span, period_s: float) -> "MinuteMeans":
        """The minute means of a block that lies within a span."""
        pots, length = len(block.bounds) - 1, (span.end_ns - span.start_ns) // MINUTE_NS
        pot = np.repeat(np.arange(pots), np.diff(block.bounds))
        place = pot * length + (block.times - span.start_ns) // MINUTE_NS
        counts = np.bincount(place, minlength=pots * length)
        sums = np.bincount(place, weights=block.volts, minlength=pots * length)
        full = np.flatnonzero(counts)
        means = (sums[full] / counts[full]).astype(np.float32).astype(np.float64)
        enough = counts[full] * period_s >= FULL_SHARE * 60
        return cls(
            (span.start_ns + full % length * MINUTE_NS).tolist(),
            means.tolist(),
            np.where(enough, int(GOOD), int(UNCERTAIN_PARTIAL)).tolist(),
            np.searchsorted(full, np.arange(pots + 1) * length).tolist(),
        )

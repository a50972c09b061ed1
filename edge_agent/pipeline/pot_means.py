"""Minute means of all pots of a line, by vector operations."""

from dataclasses import dataclass

import numpy as np

from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.rows import FULL_SHARE, Span
from edge_agent.readings import GOOD, UNCERTAIN_PARTIAL


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

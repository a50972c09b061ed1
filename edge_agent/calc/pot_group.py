"""The detectors of a whole line, fed together: vector operations over all pots, exact results.

In almost every minute almost every pot is quiet: nothing reaches v_on, nothing falls below
v_out, no sample is missing, the current flows. A few operations over the samples of all pots
find the quiet ones, for which only time passes and the target is learnt; the rest go through
``PotDetector`` sample by sample. The result is the same, to the last bit, as feeding each
detector alone: a property test holds this.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.anode_effect import Flags, PotDetector, Quiet
from edge_agent.calc.detector_state import TARGET_MINUTES, UV_PER_V, DetectorSettings
from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.windows import MINUTE_NS

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
_LATEST = TARGET_MINUTES + 2
"""So many minutes of a stretch decide the target; earlier ones leave no trace."""
_KINDS = {None: 0, Quiet.NORMAL: 1, Quiet.DARK: 2, Quiet.AWAY: 3, Quiet.SHORTED: 4}


class PotGroup:
    """Detectors of a line's pots under common settings."""

    def __init__(self, detectors: Iterable[PotDetector], settings: DetectorSettings) -> None:
        self.detectors = list(detectors)
        self.settings = settings

    def feed(self, block: PotBlock, on: Flags, alone: Iterable[int] = ()) -> None:
        """Take the samples of all pots.

        Args:
            block: samples, in the order of ``detectors``, finite.
            on: whether the line current flowed at each sample.
            alone: places of pots that the caller feeds himself, because their status changes
                within the block.
        """
        bounds = block.bounds
        filled = block.filled
        if not len(filled):
            return
        skipped = set(alone)
        quiet = self._quiet(block, on, filled)
        learnt = _MinuteSums.of_block(block) if self.settings.v_target is None else None
        last = bounds[filled + 1] - 1
        ends = zip(
            filled.tolist(),
            quiet.tolist(),
            block.times[last].tolist(),
            block.volts[last].tolist(),
            strict=True,
        )
        for place, is_quiet, time_ns, volt in ends:
            if place in skipped:
                continue
            detector = self.detectors[place]
            if not is_quiet:
                part = slice(bounds[place], bounds[place + 1])
                detector.feed(block.times[part], block.volts[part], on[part])
                continue
            if learnt is not None and detector.quiet is Quiet.NORMAL:
                for minute, sum_uv, count in learnt.of(place):
                    detector.state.learn(minute, sum_uv, count)
            detector.pass_to(time_ns, volt)

    def _quiet(self, block: PotBlock, on: Flags, filled: Counts) -> Flags:
        """Which of the pots with samples have nothing to judge in this block."""
        states = [self.detectors[place].state for place in filled.tolist()]
        kinds = np.array([_KINDS[self.detectors[place].quiet] for place in filled.tolist()])
        known = np.array([state.status_known for state in states], dtype=np.bool_)
        before = np.array(
            [-1 if state.last_ns is None else state.sample_ns for state in states], dtype=np.int64
        )
        starts = block.bounds[filled]
        longest = _longest_silence(block, starts, before)
        highest, lowest = _extremes(block, starts)
        settings = self.settings
        if on.all():
            all_on = np.ones(len(filled), dtype=np.bool_)
            none_on = ~all_on
        else:
            all_on = np.logical_and.reduceat(on, starts)
            none_on = ~np.logical_or.reduceat(on, starts)
        normal = (highest < settings.v_on) & (lowest >= settings.v_out) & all_on
        if known.any():
            # A pot in circuit by status may show low voltages; they are judged one by one
            # only for the target voltage, which does not learn from them.
            unlearnt = settings.v_target is not None
            normal |= (highest < settings.v_on) & all_on & known & unlearnt
        by_kind = (np.zeros_like(normal), normal, none_on, ~np.zeros_like(normal))
        fits = np.choose(kinds, (*by_kind, highest < settings.v_out))
        return np.asarray(fits & (longest <= settings.max_hold_ns), dtype=np.bool_)


def _longest_silence(block: PotBlock, starts: Counts, before: Counts) -> Counts:
    """Longest time between two samples of each pot, the one since its last sample included."""
    if block.row is not None:
        inner = int(np.diff(block.row).max(initial=0))
        return np.asarray(np.maximum(block.row[0] - before, inner), dtype=np.int64)
    silence = np.empty(len(block.times), dtype=np.int64)
    np.subtract(block.times[1:], block.times[:-1], out=silence[1:])
    silence[starts] = block.times[starts] - before
    return np.maximum.reduceat(silence, starts)


def _extremes(block: PotBlock, starts: Counts) -> tuple[Floats, Floats]:
    """Highest and lowest voltage of each pot with samples."""
    if block.row is not None:
        rows = block.volts.reshape(len(starts), -1)
        return rows.max(axis=1), rows.min(axis=1)
    return np.maximum.reduceat(block.volts, starts), np.minimum.reduceat(block.volts, starts)


@dataclass(frozen=True, slots=True)
class _MinuteSums:
    """Minute, sum [uV] and count of every stretch; ``first[i]`` is pot i's first stretch."""

    minutes: list[int]
    sums: list[int]
    counts: list[int]
    first: list[int]

    @classmethod
    def of_block(cls, block: PotBlock) -> "_MinuteSums":
        """Exact sums of all pots' voltages by minute; of many minutes only the latest."""
        if block.row is not None:
            return cls._of_rows(block.row, block.volts.reshape(len(block.bounds) - 1, -1))
        minutes = block.times // MINUTE_NS
        begins = np.empty(len(minutes), dtype=np.bool_)
        begins[0] = True
        np.not_equal(minutes[1:], minutes[:-1], out=begins[1:])
        begins[block.bounds[:-1][block.bounds[:-1] < len(minutes)]] = True
        starts = np.flatnonzero(begins)
        sums = np.add.reduceat(np.rint(block.volts * UV_PER_V), starts).astype(np.int64)
        counts = np.diff(np.append(starts, len(minutes)))
        first = np.searchsorted(starts, block.bounds)
        return cls(minutes[starts].tolist(), sums.tolist(), counts.tolist(), first.tolist())

    @classmethod
    def _of_rows(cls, row: Counts, volts: Floats) -> "_MinuteSums":
        """The same where all pots have the same times."""
        minutes = row // MINUTE_NS
        starts = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 1))[-_LATEST:]
        cut = int(starts[0])
        sums = np.add.reduceat(np.rint(volts[:, cut:] * UV_PER_V), starts - cut, axis=1)
        counts = np.diff(np.append(starts, len(row)))
        pots = len(volts)
        return cls(
            minutes[starts].tolist() * pots,
            sums.astype(np.int64).reshape(-1).tolist(),
            counts.tolist() * pots,
            list(range(0, len(starts) * pots + 1, len(starts))),
        )

    def of(self, place: int) -> Iterable[tuple[int, int, int]]:
        """A pot's stretches; of many only the latest, which are all the target looks at."""
        stop = self.first[place + 1]
        start = max(self.first[place], stop - _LATEST)
        part = slice(start, stop)
        return zip(self.minutes[part], self.sums[part], self.counts[part], strict=True)

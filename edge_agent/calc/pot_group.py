"""The detectors of a whole line, fed together: vector operations over all pots, exact results.

In almost every minute almost every pot is quiet: nothing reaches v_on, nothing falls below
v_out, no sample is missing, the current flows. A few operations over the samples of all pots
find the quiet ones, for which only time passes and the target is learnt; the rest go through
``PotDetector`` sample by sample. The result is the same, to the last bit, as feeding each
detector alone: a property test holds this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.anode_effect import Flags, PotDetector, Quiet, Times, Volts
from edge_agent.calc.detector_state import TARGET_MINUTES, UV_PER_V, DetectorSettings
from edge_agent.calc.windows import MINUTE_NS

Counts = NDArray[np.int64]
_KINDS = {None: 0, Quiet.NORMAL: 1, Quiet.DARK: 2, Quiet.AWAY: 3, Quiet.SHORTED: 4}


@dataclass(frozen=True, slots=True)
class Block:
    """Samples of all pots of a line, one pot after the other.

    ``times`` [ns], ``volts`` [V] and ``on`` (line current flowed) are flat; the samples of pot i
    are those from ``bounds[i]`` to ``bounds[i + 1]``, in strictly rising order of time.
    """

    times: Times
    volts: Volts
    on: Flags
    bounds: Counts

    @classmethod
    def joined(cls, parts: Sequence[tuple[Times, Volts, Flags]]) -> "Block":
        """One part a pot; parts may be empty."""
        bounds = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(times) for times, _, _ in parts], out=bounds[1:])
        times, volts, on = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        return cls(times, volts, on, bounds)

    @classmethod
    def even(cls, times: Times, volts: Volts, on: Flags) -> "Block":
        """All pots at the same times: ``volts`` of shape [pots, n], ``times`` and ``on`` of [n]."""
        pots, count = volts.shape
        bounds = np.arange(pots + 1, dtype=np.int64) * count
        return cls(np.tile(times, pots), volts.reshape(-1), np.tile(on, pots), bounds)


class PotGroup:
    """Detectors of a line's pots under common settings."""

    def __init__(self, detectors: Iterable[PotDetector], settings: DetectorSettings) -> None:
        self.detectors = list(detectors)
        self.settings = settings

    def feed(self, block: Block, alone: Iterable[int] = ()) -> None:
        """Take the samples of all pots.

        Args:
            block: samples, in the order of ``detectors``.
            alone: places of pots that the caller feeds himself, because their status changes
                within the block.
        """
        bounds = block.bounds
        filled = np.flatnonzero(bounds[1:] > bounds[:-1])
        if not len(filled):
            return
        skipped = set(alone)
        quiet = self._quiet(block, filled)
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
                detector.feed(block.times[part], block.volts[part], block.on[part])
                continue
            if learnt is not None and detector.quiet is Quiet.NORMAL:
                for minute, sum_uv, count in learnt.of(place):
                    detector.state.learn(minute, sum_uv, count)
            detector.pass_to(time_ns, volt)

    def _quiet(self, block: Block, filled: Counts) -> Flags:
        """Which of the pots with samples have nothing to judge in this block."""
        states = [self.detectors[place].state for place in filled.tolist()]
        kinds = np.array([_KINDS[self.detectors[place].quiet] for place in filled.tolist()])
        known = np.array([state.status_known for state in states], dtype=np.bool_)
        before = np.array(
            [-1 if state.last_ns is None else state.sample_ns for state in states], dtype=np.int64
        )
        starts = block.bounds[filled]
        silence = np.diff(block.times, prepend=0)
        silence[starts] = block.times[starts] - before
        longest = np.maximum.reduceat(silence, starts)
        highest = np.maximum.reduceat(block.volts, starts)
        lowest = np.minimum.reduceat(block.volts, starts)
        settings = self.settings
        if block.on.all():
            all_on = np.ones(len(filled), dtype=np.bool_)
            none_on = ~all_on
        else:
            all_on = np.logical_and.reduceat(block.on, starts)
            none_on = ~np.logical_or.reduceat(block.on, starts)
        normal = (highest < settings.v_on) & (lowest >= settings.v_out) & all_on
        if known.any():
            # A pot in circuit by status may show low voltages; they are judged one by one
            # only for the target voltage, which does not learn from them.
            unlearnt = settings.v_target is not None
            normal |= (highest < settings.v_on) & all_on & known & unlearnt
        by_kind = (np.zeros_like(normal), normal, none_on, ~np.zeros_like(normal))
        fits = np.choose(kinds, (*by_kind, highest < settings.v_out))
        return np.asarray(fits & (longest <= settings.max_hold_ns), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class _MinuteSums:
    """Minute, sum [uV] and count of every stretch; ``first[i]`` is pot i's first stretch."""

    minutes: list[int]
    sums: list[int]
    counts: list[int]
    first: list[int]

    @classmethod
    def of_block(cls, block: Block) -> "_MinuteSums":
        """Exact sums of all pots' voltages by minute."""
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

    def of(self, place: int) -> Iterable[tuple[int, int, int]]:
        """A pot's stretches; of many only the latest, which are all the target looks at."""
        stop = self.first[place + 1]
        start = max(self.first[place], stop - TARGET_MINUTES - 2)
        part = slice(start, stop)
        return zip(self.minutes[part], self.sums[part], self.counts[part], strict=True)

"""Detect again from stored samples: the very code that streams on the agent, in bulk."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.detector_state import Gap
from edge_agent.calc.effect_windows import HourSums
from edge_agent.calc.line_detector import LineDetector, LineRules, StatusChange
from edge_agent.calc.pot_block import PotBlock
from edge_agent.readings import AnodeEffect


@dataclass(frozen=True, slots=True)
class Piece:
    """Stored samples of a stretch of time of all pots, complete before ``end_ns``."""

    volts: PotBlock
    current_times: NDArray[np.int64]
    current_ka: NDArray[np.float64]
    end_ns: int
    changes: Mapping[str, Sequence[StatusChange]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What one piece settled: effects and gaps; pot, start and sums of hours."""

    outputs: Sequence[AnodeEffect | Gap]
    hours: Sequence[tuple[str, int, HourSums]]


def recompute(
    pots: Sequence[str], rules: LineRules, pieces: Iterable[Piece]
) -> Iterator[Recomputed]:
    """Detect again from stored samples, in pieces of any size, in order of time.

    The last result closes the books: open hours are given, effects that go on come as ``open``.
    """
    line = LineDetector(pots, rules)
    end_ns: int | None = None
    for piece in pieces:
        line.add_current(piece.current_times, piece.current_ka)
        line.feed(piece.volts, piece.changes)
        outputs = line.settle(piece.end_ns)
        yield Recomputed(outputs, list(line.take_hours(piece.end_ns)))
        end_ns = piece.end_ns
    if end_ns is not None:
        yield Recomputed(line.finish(end_ns), list(line.take_rest()))

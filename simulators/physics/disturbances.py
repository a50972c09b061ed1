"""Things that move a pot's voltage without being an effect: tapping, anode change, beam raising."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, assert_never

import numpy as np

from simulators.physics.intervals import is_free

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulators.physics.intervals import Interval

HOUR_S = 3_600
DAY_S = 86_400


class Work(Enum):
    """Work done on a pot."""

    TAPPING = "tapping"
    ANODE_CHANGE = "anode_change"
    BEAM_RAISING = "beam_raising"


@dataclass(frozen=True, slots=True)
class Disturbance:
    """One piece of work on one pot.

    Attributes:
        pot: pot index.
        work: what is done.
        start: first second.
        end: second after the last.
        offset: voltage added, one value a second [V].
        noise_gain: factor on the pot's own noise while it lasts.
    """

    pot: int
    work: Work
    start: int
    end: int
    offset: NDArray[np.float32]
    noise_gain: float


def plan_work(
    pot: int, horizon_s: int, away: Sequence[Interval], rng: np.random.Generator
) -> list[Disturbance]:
    """All work on one pot in time order; none while it is out of circuit (``away``)."""
    planned = [
        *_repeat(pot, Work.TAPPING, (20 * HOUR_S, 30 * HOUR_S), horizon_s, rng),
        *_repeat(pot, Work.ANODE_CHANGE, (38 * HOUR_S, 42 * HOUR_S), horizon_s, rng),
        *_repeat(pot, Work.BEAM_RAISING, (16 * DAY_S, 18 * DAY_S), horizon_s, rng),
    ]
    allowed = [work for work in planned if is_free(work.start, work.end, away)]
    return sorted(allowed, key=lambda work: (work.start, work.work.value))


def _repeat(
    pot: int, work: Work, every_s: tuple[int, int], horizon_s: int, rng: np.random.Generator
) -> list[Disturbance]:
    """One kind of work, first at a random phase, then at random distances within ``every_s``."""
    planned = []
    at = int(rng.integers(0, every_s[0]))
    while at < horizon_s:
        planned.append(_draw(pot, work, at, rng))
        at += int(rng.integers(*every_s))
    return planned


def _draw(pot: int, work: Work, start: int, rng: np.random.Generator) -> Disturbance:
    """Shape of one piece of work."""
    match work:
        case Work.TAPPING:
            offset, gain = _tapping(rng), 1.0
        case Work.ANODE_CHANGE:
            offset, gain = _anode_change(rng), 3.0
        case Work.BEAM_RAISING:
            offset, gain = _beam_raising(rng), 1.5
        case _:
            assert_never(work)
    return Disturbance(pot, work, start, start + len(offset), offset.astype(np.float32), gain)


def _tapping(rng: np.random.Generator) -> NDArray[np.float64]:
    """Metal level falls: 0.1 to 0.5 V more for 5 to 15 min, with soft edges of a minute."""
    seconds = np.arange(rng.integers(300, 901))
    edge = np.minimum(np.minimum(seconds, seconds[::-1]) / 60.0, 1.0)
    shape: NDArray[np.float64] = edge * rng.uniform(0.1, 0.5)
    return shape


def _anode_change(rng: np.random.Generator) -> NDArray[np.float64]:
    """A step of -0.1 to 0.4 V that fades over 1 to 3 h."""
    length = int(rng.integers(HOUR_S, 3 * HOUR_S))
    fade: NDArray[np.float64] = rng.uniform(-0.1, 0.4) * np.linspace(1.0, 0.0, length)
    return fade


def _beam_raising(rng: np.random.Generator) -> NDArray[np.float64]:
    """10 to 20 min of +-0.2 V, with a few single samples up to 6.8 V."""
    length = int(rng.integers(600, 1_201))
    jumps = rng.uniform(-0.2, 0.2, length)
    jumps[rng.integers(0, length, 5)] = rng.uniform(0.8, 3.0, 5)
    return jumps

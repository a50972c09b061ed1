"""Faults of measuring and transmission: they change what is published, never what is true.

Faults that hide or falsify a value lie at least 60 s away from effects, outages, absences and start-ups, so
that nothing true becomes undecidable. Doubled and shuffled deliveries may fall anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

import numpy as np

from simulators.physics.effects import PRE_SPIKE_S
from simulators.physics.intervals import Interval, is_free
from simulators.physics.settings import SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from simulators.physics.potline import Potline, PotlineBlock
    from simulators.physics.schedule import Schedule

AWAY_S = 60
RETURN_S = 180
REPEAT_MAX_S = 300


class FaultKind(Enum):
    """What goes wrong."""

    SPIKE = "spike"
    BAD_STATUS = "bad_status"
    STUCK = "stuck"
    DROPOUT = "dropout"
    DUPLICATE = "duplicate"
    SHUFFLE = "shuffle"


HIDING: Final = frozenset({FaultKind.BAD_STATUS, FaultKind.DROPOUT})
DELIVERY: Final = frozenset({FaultKind.DUPLICATE, FaultKind.SHUFFLE})
PER_POT_DAY: Final = {
    FaultKind.SPIKE: 0.3,
    FaultKind.BAD_STATUS: 0.3,
    FaultKind.STUCK: 0.03,
    FaultKind.DROPOUT: 0.1,
    FaultKind.DUPLICATE: 0.2,
    FaultKind.SHUFFLE: 0.2,
}
LENGTH_S: Final = {FaultKind.STUCK: (360, 1_201), FaultKind.DROPOUT: (20, 301)}
SPIKE_VOLTS: Final = (0.0, 655.35)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one pot's measurement.

    Attributes:
        pot: pot index.
        kind: what goes wrong.
        start: first second concerned.
        end: second after the last.
        spike_v: what a spike shows [V].
        repeat_s: how many earlier seconds a doubled block brings again; 0 sends the whole last block.
    """

    pot: int
    kind: FaultKind
    start: int
    end: int
    spike_v: float
    repeat_s: int


@dataclass(frozen=True, slots=True)
class Published:
    """A block as it is measured.

    Attributes:
        start: its first second.
        voltage: [pots, seconds], NaN where nothing is measured [V].
        bad: [pots, seconds], where the server says the value is bad.
        deliveries: the doubled and shuffled deliveries that begin in this block.
    """

    start: int
    voltage: NDArray[np.float32]
    bad: NDArray[np.bool_]
    deliveries: tuple[Fault, ...]


class MeasuringFaults:
    """Applies planned faults to one block after another.

    Args:
        faults: the plan, see ``plan_faults``; empty for a plant that measures perfectly.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._waiting = sorted(faults, key=lambda fault: (fault.start, fault.pot), reverse=True)
        self._active: list[Fault] = []
        self._stuck_at: dict[Fault, np.float32] = {}
        self.begun: list[Fault] = []

    def apply(self, block: PotlineBlock) -> Published:
        """What is measured of this block; ``begun`` then lists the faults that begin in it."""
        self.begun = []
        while self._waiting and self._waiting[-1].start < block.end:
            self.begun.append(self._waiting.pop())
        self._active = [one for one in (*self._active, *self.begun) if one.end > block.start]
        voltage = block.voltage.copy()
        bad = np.zeros(voltage.shape, dtype=np.bool_)
        for fault in self._active:
            where = slice(max(fault.start - block.start, 0), fault.end - block.start)
            self._falsify(fault, voltage[fault.pot, where], bad[fault.pot, where])
        deliveries = tuple(fault for fault in self.begun if fault.kind in DELIVERY)
        return Published(block.start, voltage, bad, deliveries)

    def _falsify(self, fault: Fault, volts: NDArray[np.float32], bad: NDArray[np.bool_]) -> None:
        """Change the samples a fault concerns, in place."""
        match fault.kind:
            case FaultKind.SPIKE:
                volts[:] = fault.spike_v
            case FaultKind.STUCK:
                volts[:] = self._stuck_at.setdefault(fault, np.float32(volts[0]))
            case FaultKind.DROPOUT:
                volts[:] = np.nan
            case FaultKind.BAD_STATUS:
                volts[:] = np.nan
                bad[:] = True
            case FaultKind.DUPLICATE | FaultKind.SHUFFLE:
                pass


def plan_faults(potline: Potline, rng: np.random.Generator) -> list[Fault]:
    """Draw the faults of all pots for the horizon of the line."""
    horizon_s = potline.settings.horizon_s
    planned = []
    for pot in range(potline.settings.pots):
        taken = _busy(potline.schedule, pot)
        for kind, per_day in PER_POT_DAY.items():
            for _ in range(rng.poisson(per_day * horizon_s / SECONDS_PER_DAY)):
                fault = _draw(pot, kind, horizon_s, rng)
                if fault.end <= horizon_s and _fits(fault, taken):
                    planned.append(fault)
                    taken.append(Interval(fault.start, fault.end).widened(2, 2))
    return planned


def _fits(fault: Fault, taken: Sequence[Interval]) -> bool:
    return fault.kind in DELIVERY or is_free(fault.start, fault.end, taken)


def _draw(pot: int, kind: FaultKind, horizon_s: int, rng: np.random.Generator) -> Fault:
    start = int(rng.integers(AWAY_S, max(horizon_s, AWAY_S + 1)))
    length = int(rng.integers(*LENGTH_S[kind])) if kind in LENGTH_S else 1
    repeat_s = int(rng.integers(10, REPEAT_MAX_S)) if rng.random() < 0.5 else 0
    return Fault(
        pot=pot,
        kind=kind,
        start=start,
        end=start + length,
        spike_v=SPIKE_VOLTS[int(rng.integers(0, 2))],
        repeat_s=repeat_s,
    )


def _busy(schedule: Schedule, pot: int) -> list[Interval]:
    """Times when this pot is anything but in normal operation, with margins."""
    effects = [
        Interval(one.start - PRE_SPIKE_S, one.end) for one in schedule.effects if one.pot == pot
    ]
    outages = [one.widened(0, RETURN_S) for one in schedule.outages]
    spans = (*effects, *outages, *schedule.absences[pot], *schedule.start_ups[pot])
    return [one.widened(AWAY_S + 10, AWAY_S) for one in spans]

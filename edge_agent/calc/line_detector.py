"""All anode-effect detection of one potline: voltages and line current in, effects and sums out.

The agent feeds it minute by minute, ``recompute`` runs it over stored samples in pieces of any
size: the events and the hours' sums are the same. Samples come in order of time; what may still
be late, the caller has waited for. ``settle`` says up to when everything is in. Voltages out of
the instrument's range or frozen are missing, never zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.anode_effect import Flags, PotDetector, Times
from edge_agent.calc.detector_state import (
    NS_PER_S,
    DetectorSettings,
    DetectorState,
    Gap,
    Started,
)
from edge_agent.calc.effect_windows import HourSums
from edge_agent.calc.line_review import LineReview
from edge_agent.calc.pot_block import PotBlock, StuckPots
from edge_agent.calc.pot_group import PotGroup
from edge_agent.calc.quality import in_range
from edge_agent.readings import AnodeEffect

CURRENT_HOLD_NS = 60 * NS_PER_S
"""How long a reading of the line current stands; then it is unknown, which counts as flowing."""

END_OF_TIME_NS = 2**62


@dataclass(frozen=True, slots=True)
class LineRules:
    """What holds for a whole line: detector, limits of its instruments, hours of its zone.

    ``off_below_ka``: line current under which there is no electrolysis [kA]; the ranges [V] and
    [kA] are those of the instruments; a voltage that stays exactly equal for ``stuck_s`` is
    frozen; ``hour_offset_ns`` is the part of the zone's offset beyond whole hours.
    """

    detector: DetectorSettings
    off_below_ka: float = 0.0
    voltage_range: tuple[float, float] = (-5.0, 120.0)
    current_range_ka: tuple[float, float] = (-1.0, 1_000.0)
    stuck_s: float = 300.0
    hour_offset_ns: int = 0


@dataclass(frozen=True, slots=True)
class StatusChange:
    """The plant's own word on a pot from a time on: in circuit or not, being started or not."""

    time_ns: int
    in_circuit: bool
    starting: bool = False


@dataclass(slots=True)
class LineCurrent:
    """The last reading of the line current, and below which it counts as off [kA]."""

    off_below_ka: float
    times: Times = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, dtype=np.float64))

    def add(self, times: Times, values: NDArray[np.float64]) -> None:
        """Readings in order of time; all but the last before them are forgotten."""
        self.times = np.concatenate((self.times[-1:], times))
        self.values = np.concatenate((self.values[-1:], values))

    def flowing(self, at: Times) -> Flags:
        """Whether the current flowed at each time; unknown counts as flowing."""
        flows = self.values >= self.off_below_ka
        if flows.all():
            return np.ones(len(at), dtype=np.bool_)
        place = np.searchsorted(self.times, at, side="right") - 1
        known = np.maximum(place, 0)
        unknown = (place < 0) | (at - self.times[known] > CURRENT_HOLD_NS)
        return np.asarray(unknown | flows[known], dtype=np.bool_)


class LineDetector:
    """The pots of a line under one current: detectors, and the review of what they find."""

    def __init__(self, pots: Sequence[str], rules: LineRules) -> None:
        self.rules = rules
        self.settings = rules.detector
        self.current = LineCurrent(rules.off_below_ka)
        self.detectors = {pot: PotDetector(pot, self.settings) for pot in pots}
        for detector in self.detectors.values():
            detector.state.windows.offset_ns = rules.hour_offset_ns
        self._stuck = StuckPots.none(len(self.detectors))
        self._group = PotGroup(self.detectors.values(), self.settings)
        self._review = LineReview(len(self.detectors), self.settings)
        self._gaps: list[Gap] = []

    def add_current(self, times: Times, current_ka: NDArray[np.float64]) -> Flags:
        """Line current [kA] at rising times [ns], given before the voltages it belongs to.

        Gives which readings are within the instrument's range; the others count for nothing.
        """
        good = in_range(current_ka, *self.rules.current_range_ka)
        self.current.add(times[good], current_ka[good])
        self._review.add_current(times[good], current_ka[good])
        return good

    def feed(
        self, raw: PotBlock, changes: Mapping[str, Sequence[StatusChange]] | None = None
    ) -> PotBlock:
        """Take the samples of all pots; gives those that are usable.

        Args:
            raw: as measured, NaN for a bad sample.
            changes: status changes by pot, in order of time, within the time of the samples.
        """
        block = raw.keep(in_range(raw.volts, *self.rules.voltage_range))
        block = block.keep(self._stuck.moving(block, round(self.rules.stuck_s * NS_PER_S)))
        on = self.current.flowing(block.times)
        changed = {pot: some for pot, some in (changes or {}).items() if some}
        alone = [place for place, pot in enumerate(self.detectors) if pot in changed]
        self._group.feed(block, on, alone)
        for place in alone:
            detector = self._group.detectors[place]
            part = slice(block.bounds[place], block.bounds[place + 1])
            samples = (block.times[part], block.volts[part], on[part])
            _feed_with_changes(detector, *samples, changed[detector.pot])
        return block

    def settle(self, until_ns: int) -> list[AnodeEffect | Gap]:
        """All before ``until_ns`` was fed: decide, and give finished effects and gaps."""
        for detector in self.detectors.values():
            detector.settle(until_ns)
            for output in detector.outputs():
                if isinstance(output, Started):
                    self._review.started[output.start_ns, output.pot] = output
                elif isinstance(output, AnodeEffect):
                    self._review.finished.append(output)
                else:
                    self._gaps.append(output)
        for suspect in self._review.decide(until_ns):
            if self.settings.hold_suspects:
                self.detectors[suspect.pot].state.windows.hold(suspect.start_ns)
        gaps, self._gaps = self._gaps, []
        return [*gaps, *self._review.released()]

    def take_hours(self, until_ns: int) -> Iterator[tuple[str, int, HourSums]]:
        """Remove and give pot, start and sums of the hours that nothing can change any more."""
        before_ns = until_ns - self.settings.settle_ns
        for pot, detector in self.detectors.items():
            open_ns = detector.state.unsettled_ns
            settled_ns = before_ns if open_ns is None else min(before_ns, open_ns)
            for start, sums in detector.state.windows.take_hours(settled_ns):
                yield pot, start, sums

    def take_rest(self) -> Iterator[tuple[str, int, HourSums]]:
        """Remove and give all hours, settled or not."""
        for pot, detector in self.detectors.items():
            for start, sums in detector.state.windows.take_hours(END_OF_TIME_NS):
                yield pot, start, sums

    def take_minutes(self, until_ns: int) -> dict[int, int]:
        """Remove and give the counted effect time [ns] of all pots by minute, as far as settled.

        Time that is only known later, after a silence within an effect, comes with its minute
        then.
        """
        before_ns = until_ns - self.settings.settle_ns
        minutes: dict[int, int] = {}
        for detector in self.detectors.values():
            if detector.state.windows.records:
                for minute, net_ns in detector.state.windows.take_minutes(before_ns):
                    minutes[minute] = minutes.get(minute, 0) + net_ns
        return minutes

    def finish(self, end_ns: int) -> list[AnodeEffect | Gap]:
        """No sample will follow: the last hold ends at ``end_ns``; open effects come as open."""
        for detector in self.detectors.values():
            detector.advance(end_ns)
        outputs = self.settle(end_ns)
        for detector in self.detectors.values():
            still_open = detector.open_effect()
            if still_open is not None:
                self._review.finished.append(still_open)
        self._review.decide(end_ns + self.settings.settle_ns)
        return [*outputs, *self._review.released()]

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "current": [self.current.times.tolist()[-1:], self.current.values.tolist()[-1:]],
            "review": self._review.dump(),
            "pots": {
                pot: [detector.state.dump(), float(value), int(since_ns)]
                for (pot, detector), value, since_ns in zip(
                    self.detectors.items(), self._stuck.values, self._stuck.since_ns, strict=True
                )
            },
        }

    def restore(self, stored: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave; pots that are new start afresh."""
        times, values = stored["current"]
        self.current.times = np.array(times, dtype=np.int64)
        self.current.values = np.array(values, dtype=np.float64)
        self._review.restore(stored["review"])
        for place, (pot, detector) in enumerate(self.detectors.items()):
            if pot in stored["pots"]:
                state, value, since_ns = stored["pots"][pot]
                detector.state = DetectorState.load(state)
                self._stuck.values[place], self._stuck.since_ns[place] = value, since_ns


def _feed_with_changes(
    detector: PotDetector,
    times: Times,
    volts: NDArray[np.float64],
    on: Flags,
    changes: Sequence[StatusChange],
) -> None:
    """Feed one pot, with its status changes at their times."""
    start = 0
    for change in changes:
        stop = int(np.searchsorted(times, change.time_ns))
        if stop > start:
            detector.feed(times[start:stop], volts[start:stop], on[start:stop])
            start = stop
        detector.set_circuit(change.time_ns, in_circuit=change.in_circuit, starting=change.starting)
    detector.feed(times[start:], volts[start:], on[start:])

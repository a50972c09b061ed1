"""What will happen to the line and its pots, drawn before the first second is computed.

Rules kept here, on top of those of a single effect (see ``effects``):

1. Two effects of one pot are at most 830 s or at least 1000 s apart, end to start; nearer ones share a group.
2. No effect starts within 300 s after, or ends within 60 s before, an outage, an absence or a change of status,
   except the outage effects that are asked for: those start 25 s or more before and end with the current.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from simulators.physics.disturbances import Disturbance, plan_work
from simulators.physics.effects import Waveform, draw_waveform
from simulators.physics.intervals import Interval, is_free
from simulators.physics.settings import (
    FRESH_MIN_GAP_S,
    REGROUP_S,
    RESTRIKE_MAX_GAP_S,
    SECONDS_PER_DAY,
    PotlineSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HOUR_S = 3_600
RESTRIKE_SHARE = 0.125
START_UP_EFFECTS_PER_DAY = 3.0
BEFORE_BLOCK_S = 60
AFTER_BLOCK_S = 300


@dataclass(frozen=True, slots=True)
class Effect:
    """One true anode effect.

    Attributes:
        pot: pot index, from 0.
        start: first second with a sample over 8.5 V.
        end: first second after it.
        group: number shared by an effect and its re-strikes.
        restrike: whether it re-strikes within 15 min of the one before.
        starting: whether the pot was starting up.
        cut_by_outage: whether the current went away while it burned.
        waveform: its voltage.
    """

    pot: int
    start: int
    end: int
    group: int
    restrike: bool
    starting: bool
    cut_by_outage: bool
    waveform: Waveform

    def net_until(self, second: int) -> int:
        """Seconds at or above 8 V before this second of the plant."""
        return self.waveform.net_before(max(second - self.start, 0))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything planned for the horizon.

    Attributes:
        setpoint_v: resistance set-point of each pot as voltage [V].
        outages: rectifier outages.
        absences: per pot, when it is out of circuit.
        start_ups: per pot, when it is starting up.
        effects: all effects, ordered by start.
        work: all disturbances, ordered by start.
    """

    setpoint_v: tuple[float, ...]
    outages: tuple[Interval, ...]
    absences: tuple[tuple[Interval, ...], ...]
    start_ups: tuple[tuple[Interval, ...], ...]
    effects: tuple[Effect, ...]
    work: tuple[Disturbance, ...]


def plan(settings: PotlineSettings, rng: np.random.Generator) -> Schedule:
    """Draw the schedule; one stream of random numbers a pot, so that pots do not disturb each other."""
    line_rng, *pot_rngs = rng.spawn(1 + settings.pots)
    outages = _plan_outages(settings, line_rng)
    absences, start_ups = _plan_absences(settings, line_rng)
    always_in = [pot for pot in range(settings.pots) if not absences[pot]]
    pinned = _pin_outage_effects(settings.outage_effects, outages, always_in, line_rng)
    rates = line_rng.gamma(1.5, settings.effects_per_pot_day / 1.5, settings.pots)
    setpoints = np.clip(line_rng.normal(4.15, 0.05, settings.pots), 4.0, 4.3)
    effects: list[Effect] = []
    work: list[Disturbance] = []
    for pot, pot_rng in enumerate(pot_rngs):
        work.extend(plan_work(pot, settings.horizon_s, absences[pot], pot_rng))
        planner = _PotPlanner(
            pot=pot,
            setpoint_v=float(setpoints[pot]),
            blocked=_blocked(outages, absences[pot], start_ups[pot], pinned.get(pot)),
            start_ups=start_ups[pot],
            rng=pot_rng,
        )
        effects.extend(planner.effects(settings, float(rates[pot]), outages, pinned.get(pot)))
    return Schedule(
        setpoint_v=tuple(float(volts) for volts in setpoints),
        outages=outages,
        absences=absences,
        start_ups=start_ups,
        effects=_number_groups(effects),
        work=tuple(sorted(work, key=lambda one: (one.start, one.pot))),
    )


def _plan_outages(settings: PotlineSettings, rng: np.random.Generator) -> tuple[Interval, ...]:
    """One outage in each of as many equal parts of the period, 5 min to 3 h long."""
    outages = []
    part_s = settings.period_s / max(settings.outages, 1)
    for number in range(settings.outages):
        drawn = float(np.clip(1_200.0 * np.exp(0.8 * rng.standard_normal()), 300.0, 3 * HOUR_S))
        start = int((number + rng.uniform(0.2, 0.7)) * part_s)
        outages.append(Interval(start, start + max(1, int(min(drawn, 0.2 * part_s)))))
    return tuple(outages)


def _plan_absences(
    settings: PotlineSettings, rng: np.random.Generator
) -> tuple[tuple[tuple[Interval, ...], ...], tuple[tuple[Interval, ...], ...]]:
    """Out-of-circuit and start-up intervals of every pot."""
    absences: list[tuple[Interval, ...]] = [()] * settings.pots
    start_ups: list[tuple[Interval, ...]] = [()] * settings.pots
    chosen = rng.permutation(settings.pots)
    period = settings.period_s
    for pot in chosen[: settings.cutout_pots]:
        start = int(rng.uniform(0.1, 0.6) * period)
        length = int(min(rng.uniform(2, 24) * HOUR_S, 0.25 * period))
        absences[pot] = (Interval(start, start + length),)
    for pot in chosen[settings.cutout_pots :][: settings.starting_pots]:
        start = int(rng.uniform(0.02, 0.1) * period)
        length = int(min(rng.uniform(24, 72) * HOUR_S, 0.4 * period))
        absences[pot] = (Interval(0, start),)
        start_ups[pot] = (Interval(start, start + length),)
    return tuple(absences), tuple(start_ups)


def _pin_outage_effects(
    wanted: int, outages: Sequence[Interval], pots: Sequence[int], rng: np.random.Generator
) -> dict[int, Interval]:
    """Pot and burning time of the effects that an outage is to cut short; a pot gets one at most."""
    chosen = rng.permutation(np.array(pots, dtype=np.int64))
    return {
        int(pot): Interval(outage.start - int(rng.integers(25, 90)), outage.start)
        for pot, outage in zip(chosen, outages[:wanted], strict=False)
    }


def _blocked(
    outages: Sequence[Interval],
    absences: Sequence[Interval],
    start_ups: Sequence[Interval],
    pinned: Interval | None,
) -> tuple[Interval, ...]:
    """Where no free effect of the pot may be."""
    borders = [Interval(one.end, one.end + 1) for one in start_ups]
    blocks = [one.widened(BEFORE_BLOCK_S, AFTER_BLOCK_S) for one in (*outages, *absences, *borders)]
    if pinned:
        blocks.append(pinned.widened(FRESH_MIN_GAP_S + 60, FRESH_MIN_GAP_S + 60))
    return (Interval(-1, AFTER_BLOCK_S), *blocks)


@dataclass(slots=True)
class _PotPlanner:
    """Draws the effects of one pot."""

    pot: int
    setpoint_v: float
    blocked: tuple[Interval, ...]
    start_ups: tuple[Interval, ...]
    rng: np.random.Generator

    def effects(
        self,
        settings: PotlineSettings,
        per_day: float,
        outages: Sequence[Interval],
        pinned: Interval | None,
    ) -> Iterator[Effect]:
        """All effects of the pot; group numbers are still missing."""
        if pinned:
            yield self._cut_short(pinned)
        if settings.scheduled is not None:
            yield from self._scheduled([at for pot, at in settings.scheduled if pot == self.pot])
            return
        last_end = -FRESH_MIN_GAP_S
        for at in self._wanted(settings.horizon_s, per_day, outages):
            effect = self._try(at, restrike=False)
            while effect and effect.start - last_end >= (
                90 if effect.restrike else FRESH_MIN_GAP_S
            ):
                yield effect
                last_end = effect.end
                if self.rng.random() >= RESTRIKE_SHARE:
                    break
                gap = int(self.rng.integers(90, RESTRIKE_MAX_GAP_S + 1))
                effect = self._try(effect.end + gap, restrike=True)

    def _wanted(self, horizon_s: int, per_day: float, outages: Sequence[Interval]) -> list[int]:
        """Poisson times [s]: own rate, more while starting up, and a burst after outages."""
        own = self._poisson(Interval(0, horizon_s), per_day * (1.0 - RESTRIKE_SHARE))
        extra = [
            at for span in self.start_ups for at in self._poisson(span, START_UP_EFFECTS_PER_DAY)
        ]
        burst = [
            outage.end + int(self.rng.integers(600, 2 * HOUR_S))
            for outage in outages
            if self.rng.random() < min(0.5, per_day * 0.3)
        ]
        return sorted(at for at in (*own, *extra, *burst) if at < horizon_s)

    def _poisson(self, span: Interval, per_day: float) -> list[int]:
        """Uniform times in the span, their number Poisson distributed."""
        mean = per_day * (span.end - span.start) / SECONDS_PER_DAY
        return [int(at) for at in self.rng.integers(span.start, span.end, self.rng.poisson(mean))]

    def _try(self, start: int, *, restrike: bool) -> Effect | None:
        """An effect starting here, unless it would break rule 2."""
        waveform = draw_waveform(self.rng, self.setpoint_v)
        effect = self._effect(start, waveform, restrike=restrike)
        return effect if is_free(effect.start, effect.end, self.blocked) else None

    def _scheduled(self, starts: Sequence[int]) -> Iterator[Effect]:
        """Effects at given seconds.

        Raises:
            ValueError: a start breaks rule 1 or 2.
        """
        last_end = -FRESH_MIN_GAP_S
        for start in sorted(starts):
            gap = start - last_end
            effect = self._try(start, restrike=gap < REGROUP_S)
            if effect is None or gap < 90 or RESTRIKE_MAX_GAP_S < gap < FRESH_MIN_GAP_S:
                raise ValueError(f"pot {self.pot} cannot have an effect at second {start}")
            yield effect
            last_end = effect.end

    def _cut_short(self, burning: Interval) -> Effect:
        """An effect that burns from here until the current is gone."""
        waveform = draw_waveform(self.rng, self.setpoint_v)
        length = burning.end - burning.start
        volts = np.resize(np.maximum(waveform.burning, 12.0), length).astype(np.float32)
        effect = self._effect(burning.start, replace(waveform, burning=volts), restrike=False)
        return replace(effect, cut_by_outage=True)

    def _effect(self, start: int, waveform: Waveform, *, restrike: bool) -> Effect:
        starting = any(span.start <= start < span.end for span in self.start_ups)
        end = start + len(waveform.burning)
        return Effect(
            pot=self.pot,
            start=start,
            end=end,
            group=0,
            restrike=restrike,
            starting=starting,
            cut_by_outage=False,
            waveform=waveform,
        )


def _number_groups(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """Order by start and give each first effect a new group number, each re-strike that of its pot's last."""
    numbered: list[Effect] = []
    group_of_pot: dict[int, int] = {}
    count = 0
    for effect in sorted(effects, key=lambda one: (one.start, one.pot)):
        if not effect.restrike:
            count += 1
            group_of_pot[effect.pot] = count
        numbered.append(replace(effect, group=group_of_pot[effect.pot]))
    return tuple(numbered)

"""Brings the planned effects and disturbances into the arrays of the piece being computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulators.physics.disturbances import Disturbance, Work
from simulators.physics.effects import LEAD_MAX_S, PRE_SPIKE_S
from simulators.physics.schedule import Effect, Schedule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

AFTER_EFFECT_S = 3_600
NORMAL_V = 4.2
START_UP_V = (2.0, 0.9)
"""Extra volts of a pot at the beginning and at the end of its start-up [V]."""


class _Span(NamedTuple):
    """When an effect or a disturbance touches the voltage."""

    first: int
    last: int
    cause: Effect | Disturbance
    after_until: int


class Influences:
    """Keeps the causes at work in a window that only moves forward."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._waiting = sorted(_spans(schedule), key=lambda span: span.first, reverse=True)
        self._active: list[_Span] = []
        self._start = 0
        self._end = 0

    def tap_times(self) -> list[tuple[int, int]]:
        """(second, pot) of the end of every tapping, in order."""
        return sorted((one.end, one.pot) for one in self._schedule.work if one.work is Work.TAPPING)

    def move_to(self, start: int, end: int) -> None:
        """Look at seconds [start, end) from now on."""
        self._start, self._end = start, end
        while self._waiting and self._waiting[-1].first < end:
            self._active.append(self._waiting.pop())
        self._active = [span for span in self._active if span.last > start]

    def disturb(self, offset: Floats, noise: Floats) -> None:
        """Add disturbances, start-ups and the aftermath of effects to [pots, seconds] arrays [V]."""
        for span in self._active:
            if isinstance(span.cause, Disturbance):
                self._work(span.cause, offset, noise)
            else:
                self._aftermath(span.cause, span.after_until, offset)
        for pot, start_ups in enumerate(self._schedule.start_ups):
            for span_s in start_ups:
                first, last = self._clip(span_s.start, span_s.end)
                if first < last:
                    begin, finish = START_UP_V
                    age = (np.arange(first, last) - span_s.start) / (span_s.end - span_s.start)
                    offset[pot, first - self._start : last - self._start] += (
                        begin + (finish - begin) * age
                    ).astype(np.float32)

    def burn(self, burning: Floats) -> NDArray[np.float64]:
        """Write onset, pre-spike and effect samples [V]; return the volts added to the line [seconds]."""
        extra = np.zeros(burning.shape[1])
        for span in self._active:
            if isinstance(span.cause, Effect):
                effect, shape = span.cause, span.cause.waveform
                for before, volts in shape.pre_spikes:
                    self._write(burning[effect.pot], effect.start - before, volts)
                self._write(burning[effect.pot], effect.start - len(shape.approach), shape.approach)
                written = self._write(burning[effect.pot], effect.start, shape.burning)
                extra[written] += burning[effect.pot, written] - NORMAL_V
        return extra

    def _clip(self, first: int, last: int) -> tuple[int, int]:
        """The part of [first, last) inside the window."""
        return max(first, self._start), min(last, self._end)

    def _write(self, row: Floats, first: int, samples: Floats) -> slice:
        """Put samples starting at second ``first`` into the row, as far as they fall into the window."""
        begin, finish = self._clip(first, first + len(samples))
        if begin >= finish:
            return slice(0, 0)
        where = slice(begin - self._start, finish - self._start)
        row[where] = samples[begin - first : finish - first]
        return where

    def _work(self, work: Disturbance, offset: Floats, noise: Floats) -> None:
        first, last = self._clip(work.start, work.end)
        if first < last:
            where = slice(first - self._start, last - self._start)
            offset[work.pot, where] += work.offset[first - work.start : last - work.start]
            noise[work.pot, where] *= work.noise_gain

    def _aftermath(self, effect: Effect, until: int, offset: Floats) -> None:
        first, last = self._clip(effect.end, until)
        if first < last and not effect.cut_by_outage:
            where = slice(first - self._start, last - self._start)
            since_end = np.arange(first - effect.end, last - effect.end)
            offset[effect.pot, where] += effect.waveform.after(since_end)


def _spans(schedule: Schedule) -> list[_Span]:
    """Every cause with the seconds it touches; an aftermath ends with the pot's next effect."""
    spans = [_Span(work.start, work.end, work, work.end) for work in schedule.work]
    next_start: dict[int, int] = {}
    before_s = max(PRE_SPIKE_S, LEAD_MAX_S)
    for effect in reversed(schedule.effects):
        until = min(
            effect.end + AFTER_EFFECT_S, next_start.get(effect.pot, effect.end + AFTER_EFFECT_S)
        )
        spans.append(_Span(effect.start - before_s, until, effect, until))
        next_start[effect.pot] = effect.start
    return spans

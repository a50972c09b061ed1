"""Anode-effect detector of one pot: voltages in, ``AnodeEffect``s, gaps and hourly sums out.

A sample holds until the next one, at most ``max_hold_s``. Rules:

    A1  voltage at or above v_on for t_on_s between sample times confirms an effect; it starts
        at the first of these samples; what is not confirmed is a spike
    A2  voltage below v_off for t_off_s closes it; it ends at the first of these samples
    A3  silence beyond the hold inside an effect: still on afterwards -> the gap counts, as
        estimated time; normal afterwards, or silent for more than max_bridge_s -> it ended in
        the gap, at most gap_cap_s into it
    A4  silence beyond the hold otherwise is unobserved time: in no numerator, no denominator;
        an effect that is on at the first sample after it is flagged ``start_uncertain``
    A5  line current off closes an effect at once; no effect can start
    A6  voltage below v_out with current on for t_out_s, or a status that says so: out of
        circuit since the first such sample; no cell time, no effects
    A7  effects that start within reoccur_s of the end of the one before share its group
    A8  sums are split by time over hours; a count belongs to the hour of the start

Long stretches in which a phase has nothing to judge are skipped by vector operations; the result
does not depend on how the samples are cut into pieces. ``pot_group`` does so for a whole line.
"""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.detector_state import TARGET_MINUTES, UV_PER_V, Gap, Phase
from edge_agent.calc.effect_accounts import EffectAccounts
from edge_agent.calc.windows import MINUTE_NS

_SHORT = 8
"""Pieces below this length are stepped through: cheaper than vector set-up."""

Times = NDArray[np.int64]
Volts = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Quiet(Enum):
    """A phase in which most samples change nothing but time."""

    NORMAL = "below v_on, above v_out, current on"
    DARK = "no line current"
    AWAY = "out of circuit by status"
    SHORTED = "out of circuit by voltage"


class PotDetector(EffectAccounts):
    """Streaming detector of one pot over an explicit state."""

    def feed(self, times: Times, volts: Volts, on: Flags) -> None:
        """Take samples in strictly rising order of time.

        Args:
            times: ns since 1970 UTC, shape [n].
            volts: pot voltage [V], finite, shape [n].
            on: whether the line current flowed at each sample, shape [n].
        """
        count = len(times)
        if count <= _SHORT:
            for time_ns, volt, flowing in zip(
                times.tolist(), volts.tolist(), on.tolist(), strict=True
            ):
                self.step(time_ns, volt, flowing=flowing)
            return
        stops: dict[Quiet, NDArray[np.int64]] = {}
        gaps = self._gaps(times)
        at = 0
        while at < count:
            quiet = self.quiet
            if quiet is not None:
                if quiet not in stops:
                    stops[quiet] = np.flatnonzero(gaps | self._notable(quiet, volts, on))
                place = int(np.searchsorted(stops[quiet], at))
                stop = int(stops[quiet][place]) if place < len(stops[quiet]) else count
                if stop > at:
                    self._skip(times[at:stop], volts[at:stop])
                    at = stop
                    continue
            self.step(int(times[at]), float(volts[at]), flowing=bool(on[at]))
            at += 1

    def set_circuit(self, time_ns: int, *, in_circuit: bool, starting: bool = False) -> None:
        """Take note of the plant's own pot status from ``time_ns`` on (A6)."""
        state = self.state
        self._hold_until(time_ns, None, flowing=True)
        state.status_known = True
        state.starting = starting
        if in_circuit:
            if state.phase is Phase.OUT:
                state.phase = Phase.NORMAL
        elif state.phase is not Phase.OUT:
            self._abandon(time_ns, "out_of_circuit")
            state.phase = Phase.OUT
        if state.last_ns is not None:
            state.last_ns = max(state.last_ns, time_ns)

    def advance(self, time_ns: int) -> None:
        """Account for the last sample's hold up to ``time_ns``; no sample is taken."""
        state = self.state
        if state.last_ns is None or time_ns <= state.last_ns:
            return
        end = min(time_ns, state.sample_ns + self.settings.max_hold_ns)
        if end > state.last_ns:
            self._segment(state.last_ns, end, state.last_v)
            state.last_ns = end

    def settle(self, until_ns: int) -> None:
        """Account for what no sample from ``until_ns`` on can change any more.

        Unlike ``advance`` it leaves no trace of ``until_ns``, so it may be called at any time
        without changing a result.
        """
        state, settings = self.state, self.settings
        hold_end = state.sample_ns + settings.max_hold_ns
        if state.last_ns is None or until_ns < hold_end:
            return
        self.advance(hold_end)
        if until_ns - state.last_ns > settings.max_bridge_ns:
            self._give_up(state.last_ns, until_ns)
        if state.phase is Phase.OUT:
            state.windows.add_out(max(state.last_ns, state.out_until_ns), until_ns)
            state.out_until_ns = max(state.out_until_ns, until_ns)

    # -- one sample -------------------------------------------------------------------------

    def step(self, time_ns: int, volt: float, *, flowing: bool) -> None:
        """Take one sample: time [ns], voltage [V], whether the line current flows."""
        state = self.state
        self._hold_until(time_ns, volt, flowing=flowing)
        if state.phase is not Phase.OUT or not state.status_known:
            if not flowing:
                self._current_off(time_ns)
            else:
                self._judge(time_ns, volt)
        if self._learns and volt >= self.settings.v_out:
            state.learn(time_ns // MINUTE_NS, round(volt * UV_PER_V), 1)
        state.last_ns = state.sample_ns = time_ns
        state.last_v = volt

    def _judge(self, time_ns: int, volt: float) -> None:
        state, settings = self.state, self.settings
        if state.phase is Phase.NO_CURRENT:
            state.phase = Phase.NORMAL
        if state.phase is Phase.EFFECT:
            self._judge_effect(time_ns, volt)
            return
        if volt < settings.v_out and not state.status_known:
            self._judge_low(time_ns)
            return
        if state.phase in (Phase.LOW, Phase.OUT):
            self._return_to_circuit()
        if volt >= settings.v_on:
            self._judge_high(time_ns, volt)
        elif state.phase is Phase.CANDIDATE:
            self._drop_candidate()

    def _judge_high(self, time_ns: int, volt: float) -> None:
        """A1."""
        state = self.state
        if state.phase is Phase.NORMAL:
            state.phase, state.since_ns, state.pending = Phase.CANDIDATE, time_ns, []
            silence_ns = time_ns - state.sample_ns
            state.uncertain = state.last_ns is None or silence_ns > self.settings.max_hold_ns
        if time_ns - state.since_ns >= self.settings.t_on_ns:
            self._confirm(time_ns, volt)

    def _judge_effect(self, time_ns: int, volt: float) -> None:
        state, settings = self.state, self.settings
        effect = state.effect
        assert effect is not None  # noqa: S101  the phase says so
        if volt >= settings.v_off:
            self._commit_pending(effect)
            state.below_ns = None
            effect.peak_v = max(effect.peak_v, volt)
        elif state.below_ns is None:
            state.below_ns, state.pending = time_ns, []
        elif time_ns - state.below_ns >= settings.t_off_ns:
            self._close(state.below_ns, "normal")

    def _judge_low(self, time_ns: int) -> None:
        """A6 without a status: low voltage with the current on."""
        state = self.state
        if state.phase is Phase.CANDIDATE:
            self._drop_candidate()
        if state.phase is Phase.NORMAL:
            state.phase, state.since_ns, state.pending = Phase.LOW, time_ns, []
        elif state.phase is Phase.LOW and time_ns - state.since_ns >= self.settings.t_out_ns:
            state.phase = Phase.OUT
            for start_ns, end_ns, _ in state.pending:
                state.windows.add_out(start_ns, end_ns)
            state.pending = []

    def _current_off(self, time_ns: int) -> None:
        """A5."""
        self._abandon(time_ns, "current_off")
        if self.state.phase is not Phase.OUT:
            self.state.phase = Phase.NO_CURRENT

    # -- time between samples ---------------------------------------------------------------

    def _hold_until(self, time_ns: int, volt: float | None, *, flowing: bool) -> None:
        """Account for the time since the last sample, a gap included (A3, A4).

        ``volt`` is None when no sample but a status ends the stretch.
        """
        state = self.state
        if state.last_ns is None or time_ns <= state.last_ns:
            return
        end = min(time_ns, max(state.last_ns, state.sample_ns + self.settings.max_hold_ns))
        if end > state.last_ns:
            self._segment(state.last_ns, end, state.last_v)
        if time_ns > end:
            self._gap(end, time_ns, volt, flowing=flowing)
        state.last_ns = time_ns

    def _gap(self, start_ns: int, end_ns: int, volt: float | None, *, flowing: bool) -> None:
        state, settings = self.state, self.settings
        self._out.append(Gap(self.pot, start_ns, end_ns))
        if end_ns - start_ns > settings.max_bridge_ns:
            self._give_up(start_ns, end_ns)
        elif state.phase is Phase.EFFECT:
            on = flowing and volt is not None and volt >= settings.v_off
            self._gap_in_effect(start_ns, end_ns, on=on)
        elif state.phase is Phase.CANDIDATE:
            if flowing and volt is not None and volt >= settings.v_on:
                state.pending.append((start_ns, end_ns, state.last_v))
                state.bridged.append((start_ns, end_ns))
            else:
                self._drop_candidate()
        if state.phase is Phase.OUT:
            state.windows.add_out(max(start_ns, state.out_until_ns), end_ns)

    def _gap_in_effect(self, start_ns: int, end_ns: int, *, on: bool) -> None:
        below_ns = self.state.below_ns
        if below_ns is not None:
            if end_ns - below_ns >= self.settings.t_off_ns:
                self._close(below_ns, "normal")
        elif on:
            self._estimate(start_ns, end_ns)
        else:
            self._end_in_gap(start_ns, end_ns)

    def _end_in_gap(self, start_ns: int, end_ns: int) -> None:
        cut = min(end_ns, start_ns + self.settings.gap_cap_ns)
        self._estimate(start_ns, cut)
        self._close(cut, "ended_in_gap")

    def _give_up(self, start_ns: int, end_ns: int) -> None:
        """A silence too long to be bridged decides whatever was open when it began (A3)."""
        state = self.state
        if state.phase is Phase.EFFECT:
            if state.below_ns is not None:
                self._close(state.below_ns, "normal")
            else:
                self._end_in_gap(start_ns, end_ns)
        elif state.phase is Phase.CANDIDATE:
            self._drop_candidate()
        elif state.phase is Phase.LOW:
            self._return_to_circuit()

    # -- long quiet stretches ---------------------------------------------------------------

    @property
    def quiet(self) -> Quiet | None:
        """In which phase without much to judge the pot is."""
        match self.state.phase:
            case Phase.NORMAL:
                return Quiet.NORMAL
            case Phase.NO_CURRENT:
                return Quiet.DARK
            case Phase.OUT:
                return Quiet.AWAY if self.state.status_known else Quiet.SHORTED
        return None

    @property
    def _learns(self) -> bool:
        return self.settings.v_target is None and self.state.phase is Phase.NORMAL

    def _gaps(self, times: Times) -> Flags:
        """Samples before which there was silence, or nothing at all."""
        if self.state.last_ns is None:
            gaps = np.diff(times, prepend=times[0]) > self.settings.max_hold_ns
            gaps[0] = True
            return np.asarray(gaps, dtype=np.bool_)
        gaps = np.diff(times, prepend=self.state.sample_ns) > self.settings.max_hold_ns
        return np.asarray(gaps, dtype=np.bool_)

    def _notable(self, quiet: Quiet, volts: Volts, on: Flags) -> Flags:
        """Samples that the step rules must see in a phase, silence apart."""
        settings = self.settings
        match quiet:
            case Quiet.DARK:
                return on
            case Quiet.AWAY:
                return np.zeros(len(volts), dtype=np.bool_)
            case Quiet.SHORTED:
                return np.asarray(volts >= settings.v_out, dtype=np.bool_)
            case Quiet.NORMAL:
                notable = (volts >= settings.v_on) | ~on
                if not self.state.status_known:
                    notable |= volts < settings.v_out
                return np.asarray(notable, dtype=np.bool_)

    def _skip(self, times: Times, volts: Volts) -> None:
        """Samples of a quiet phase without anything to judge."""
        if self._learns:
            usable = volts >= self.settings.v_out
            if usable.all():
                self._learn_target(times, volts)
            elif usable.any():
                self._learn_target(times[usable], volts[usable])
        self.pass_to(int(times[-1]), float(volts[-1]))

    def pass_to(self, time_ns: int, volt: float) -> None:
        """Let time pass to the last sample of a quiet stretch without silence in it."""
        state = self.state
        assert state.last_ns is not None  # noqa: S101  the first sample is always stepped
        if time_ns > state.last_ns:
            self._segment(state.last_ns, time_ns, state.last_v)
        state.last_ns = state.sample_ns = time_ns
        state.last_v = volt

    def _learn_target(self, times: Times, volts: Volts) -> None:
        minutes = times // MINUTE_NS
        starts = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 1))
        sums = np.add.reduceat(np.rint(volts * UV_PER_V), starts)
        counts = np.diff(np.append(starts, len(times)))
        latest = slice(-TARGET_MINUTES - 2, None)
        for minute, sum_, count in zip(
            minutes[starts][latest].tolist(),
            sums[latest].tolist(),
            counts[latest].tolist(),
            strict=True,
        ):
            self.state.learn(minute, int(sum_), count)

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

from edge_agent.calc.detector_state import TARGET_MINUTES, UV_PER_V, Phase
from edge_agent.calc.effect_rules import EffectRules
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


class PotDetector(EffectRules):
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

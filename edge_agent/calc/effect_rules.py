"""The rules A1 to A6 of ``anode_effect``, one sample or one silence at a time."""

from edge_agent.calc.detector_state import UV_PER_V, Gap, Phase
from edge_agent.calc.effect_accounts import EffectAccounts
from edge_agent.calc.windows import MINUTE_NS


class EffectRules(EffectAccounts):
    """Judges samples, and the time between them."""

    def advance(self, time_ns: int) -> None:
        """Account for the last sample's hold up to ``time_ns``; no sample is taken."""
        state = self.state
        if state.last_ns is None or time_ns <= state.last_ns:
            return
        end = min(time_ns, state.sample_ns + self.settings.max_hold_ns)
        if end > state.last_ns:
            self._segment(state.last_ns, end, state.last_v)
            state.last_ns = end

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
        if self.state.phase is Phase.EFFECT and self.state.below_ns is None:
            self._end_in_gap(start_ns, end_ns)
        else:
            self._abandon(start_ns, "ended_in_gap")

    @property
    def _learns(self) -> bool:
        return self.settings.v_target is None and self.state.phase is Phase.NORMAL

"""What an anode-effect detector keeps account of.

Time in circuit, and effects from confirmed to closed. The rules' names (A1 to A8) are those of ``anode_effect``.
"""

from collections.abc import Sequence

from edge_agent.calc.detector_state import (
    NS_PER_S,
    DetectorSettings,
    DetectorState,
    Effect,
    Output,
    Phase,
    Started,
)
from edge_agent.calc.effect_windows import Segment
from edge_agent.readings import AnodeEffect

START_UP, START_UNCERTAIN = "start_up", "start_uncertain"


class EffectAccounts:
    """State, outputs and book-keeping of one pot's detector."""

    def __init__(
        self, pot: str, settings: DetectorSettings, state: DetectorState | None = None
    ) -> None:
        self.pot = pot
        self.settings = settings
        self.state = state or DetectorState()
        self._out: list[Output] = []

    def open_effect(self) -> AnodeEffect | None:
        """The effect that is going on, as far as it got."""
        state = self.state
        if state.effect is None:
            return None
        return self._finished(state.effect, state.last_ns or state.effect.start_ns, "open")

    def outputs(self) -> Sequence[Output]:
        """Started and ended effects and gaps since the last call."""
        out, self._out = self._out, []
        return out

    def _drop_candidate(self) -> None:
        state = self.state
        state.spikes += 1
        state.phase, state.pending, state.bridged = Phase.NORMAL, [], []

    def _return_to_circuit(self) -> None:
        state = self.state
        if state.phase is Phase.LOW:
            for start_ns, end_ns, _ in state.pending:
                state.windows.add_observed(start_ns, end_ns)
        state.phase, state.pending = Phase.NORMAL, []

    def _abandon(self, time_ns: int, reason: str) -> None:
        """End whatever is going on because the pot cannot have an effect any more."""
        state = self.state
        if state.phase is Phase.EFFECT:
            if state.below_ns is not None:
                self._close(state.below_ns, "normal")
            else:
                self._close(time_ns, reason)
        elif state.phase is Phase.CANDIDATE:
            self._drop_candidate()
        elif state.phase is Phase.LOW:
            self._return_to_circuit()

    def _confirm(self, confirmed_ns: int, volt: float) -> None:
        """A1 and A7: the candidate is an effect."""
        state = self.state
        start_ns = state.since_ns
        again = (
            state.last_end_ns is not None
            and start_ns - state.last_end_ns <= self.settings.reoccur_ns
        )
        state.group += not again
        counted = self.settings.count_start_up or not state.starting
        state.windows.begin(start_ns, new_group=not again, starting=state.starting, counted=counted)
        peak = max([volt, *(segment[2] for segment in state.pending)])
        target = state.target(self.settings.v_target)
        effect = Effect(start_ns, state.group, target, state.starting, peak)
        effect.uncertain = state.uncertain
        state.phase, state.effect, state.below_ns = Phase.EFFECT, effect, None
        self._commit_pending(effect)
        self._out.append(
            Started(self.pot, start_ns, state.group, again, confirmed_ns, peak, target)
        )

    def _estimate(self, start_ns: int, end_ns: int) -> None:
        """Effect time assumed, not observed (A3); it enters numerator and denominator."""
        state = self.state
        if state.effect is not None:
            state.effect.estimated_ns += end_ns - start_ns
            state.windows.add_observed(start_ns, end_ns)
            self._credit(state.effect, (start_ns, end_ns, state.last_v))

    def _segment(self, start_ns: int, end_ns: int, volt: float) -> None:
        """One stretch with a constant voltage, by phase."""
        state = self.state
        if state.phase is Phase.OUT:
            state.windows.add_out(start_ns, end_ns)
            return
        if state.phase is Phase.LOW:
            state.pending.append((start_ns, end_ns, volt))
            return
        if state.phase is Phase.NO_CURRENT and not self.settings.outage_in_service:
            state.windows.add_out(start_ns, end_ns)
            return
        state.windows.add_observed(start_ns, end_ns)
        if state.phase is Phase.CANDIDATE or state.below_ns is not None:
            state.pending.append((start_ns, end_ns, volt))
        elif state.phase is Phase.EFFECT and state.effect is not None:
            self._credit(state.effect, (start_ns, end_ns, volt))

    def _commit_pending(self, effect: Effect) -> None:
        state = self.state
        for segment in state.pending:
            self._credit(effect, segment)
        for start_ns, end_ns in state.bridged:
            state.windows.add_observed(start_ns, end_ns)
            effect.estimated_ns += end_ns - start_ns
        state.pending, state.bridged = [], []

    def _credit(self, effect: Effect, segment: Segment) -> None:
        start_ns, end_ns, volt = segment
        above = volt >= self.settings.v_on
        effect.add(end_ns - start_ns, volt, above=above)
        self.state.windows.add_effect(effect.start_ns, segment, effect.target_v, above=above)

    def _close(self, end_ns: int, reason: str) -> None:
        state = self.state
        effect = state.effect
        assert effect is not None  # noqa: S101  the phase says so
        self._out.append(self._finished(effect, end_ns, reason))
        state.windows.close(effect.start_ns)
        state.last_end_ns = end_ns
        state.phase, state.effect, state.below_ns, state.pending = Phase.NORMAL, None, None, []

    def _finished(self, effect: Effect, end_ns: int, reason: str) -> AnodeEffect:
        gross_ns = end_ns - effect.start_ns
        flags = ((START_UP, effect.starting), (START_UNCERTAIN, effect.uncertain))
        return AnodeEffect(
            pot=self.pot,
            start_ns=effect.start_ns,
            end_ns=end_ns,
            above_threshold_s=effect.net_ns / NS_PER_S,
            gross_s=gross_ns / NS_PER_S,
            estimated_s=effect.estimated_ns / NS_PER_S,
            peak_v=effect.peak_v,
            mean_v=effect.volt_seconds * NS_PER_S / gross_ns if gross_ns else effect.peak_v,
            overvoltage_v_s=effect.overvoltage_v_s,
            overvoltage_algebraic_v_s=effect.overvoltage_algebraic_v_s,
            group=effect.group,
            end_reason=reason,
            flags=tuple(name for name, is_set in flags if is_set),
        )

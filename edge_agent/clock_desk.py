"""What the agent's batches say of its clocks: both at any time, steps, synchronisation."""

from edge_agent.clock import NS_PER_S, Clock, ClockTable, StepWatch
from edge_agent.config import Time
from edge_agent.wire.batch import ClockState


class ClockDesk:
    """Watches both clocks; used by the worker thread."""

    def __init__(self, clock: Clock, settings: Time) -> None:
        self._clock = clock
        self._table = ClockTable()
        self._is_system = settings.source == "system"
        self._reference = settings.reference
        limit_ns = settings.max_clock_step_s * NS_PER_S
        self._watch = StepWatch(limit_ns if self._is_system else None)

    def step_ns(self, now_ns: int) -> int:
        """How far UTC stepped since the last look [ns], 0 for not."""
        return self._watch.step_ns(now_ns, self._clock.monotonic_ns())

    def note(self, now_ns: int) -> None:
        """Remember how both clocks stand now; what was before a step is sealed before this."""
        self._table.note(now_ns, self._clock.monotonic_ns())

    def begin(self, now_ns: int) -> None:
        """Note the first pair of this life, if there is none yet."""
        if not self._table.utc_ns:
            self.note(now_ns)

    def mono_at(self, utc_ns: int) -> int:
        """Monotonic time [ns] when UTC was this."""
        return self._table.mono_at(utc_ns)

    def state(self) -> ClockState:
        """For the next batch."""
        found = self._clock.synchronisation()
        return ClockState(
            src=self._reference if self._is_system else "none",
            sync=found.is_synchronised,
            off=found.offset_ns,
            err=found.error_ns,
            steps=self._watch.steps,
        )

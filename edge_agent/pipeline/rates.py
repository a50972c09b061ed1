"""Meters that give a rate: their hourly amounts, and the time that these cover."""

from typing import Any

from edge_agent.calc.quality import is_usable, judge
from edge_agent.calc.rate import RateIntegrator, amount_unit
from edge_agent.calc.rules import JudgeState, Rules, StuckState
from edge_agent.pipeline.buffers import SignalBuffer
from edge_agent.pipeline.judging import Flag
from edge_agent.pipeline.meters import FuelFactors
from edge_agent.pipeline.rows import Sink, Span
from edge_agent.pipeline.vectors import flags_at, given_quality, minute_means
from edge_agent.plants import Meter
from edge_agent.readings import Sample, Waveform

Reading = Sample | Waveform


class RateWorker:
    """One rate: ships minute means, and by hours its integral and the time that it covers."""

    def __init__(
        self,
        meter: Meter,
        unit: str,
        rules: Rules,
        period_s: float,
        settings: tuple[int, FuelFactors | None],
    ) -> None:
        offset_ns, self.fuel = settings
        self.meter_id = meter.id
        self.unit = amount_unit(unit)
        self.rules = rules
        self.maintenance: Flag | None = None
        self.state = JudgeState()
        self.period_s = period_s
        self.buffer = SignalBuffer()
        self.integrator = RateIntegrator(meter.max_gap_s, offset_ns)

    @property
    def done_ns(self) -> int:
        """The last moment accounted for [ns], -1 before the first."""
        return self.buffer.done_ns

    def first_ns(self) -> int | None:
        """Time of the earliest sample that waits [ns]."""
        return self.buffer.first_ns()

    def add(self, reading: Reading) -> None:
        """Take a reading."""
        self.buffer.add(reading)

    def process(self, span: Span, sink: Sink) -> None:
        """Account for the samples before the span's end; ship the hours that are complete."""
        times, values = self.buffer.take(span.end_ns)
        given = given_quality(times, values, self.buffer.taken_marks)
        flags = flags_at(self.maintenance, times)
        good = is_usable(judge(times, values, given, flags, self.rules, self.state))
        times, values = times[good], values[good]
        for minutes, means, quality in minute_means(times, values, span, self.period_s):
            sink.rows.extend(f"{self.meter_id}.rate", minutes, means, quality)
        self.integrator.feed(zip(times.tolist(), values.tolist(), strict=True))
        for start_ns, hour in self.integrator.closed(span.end_ns):
            sink.rows.add(f"{self.meter_id}.amount", start_ns, hour.amount)
            sink.rows.add(f"{self.meter_id}.covered_s", start_ns, hour.covered_s)
            if self.fuel is not None:
                co2_t = self.fuel.co2_t(hour.amount, self.unit)
                sink.rows.add(f"{self.meter_id}.co2_t", start_ns, co2_t)

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        state = self.state
        return {
            "buffer": self.buffer.dump(),
            "integrator": self.integrator.dump(),
            "stuck": [state.stuck.value, state.stuck.since_ns],
            "last": [state.last_ns, state.last_value],
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave."""
        if "integrator" in plain:
            self.buffer = SignalBuffer.load(plain["buffer"])
            self.integrator.restore(plain["integrator"])
            self.state = JudgeState(StuckState(*plain["stuck"]), *plain["last"])

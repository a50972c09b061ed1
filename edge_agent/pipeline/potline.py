"""One potline: pot voltages and line current to minute means, hourly pot sums and emissions."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc import pfc
from edge_agent.calc.aluminium import anode_co2, metal_per_cell_day
from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.detector_state import DetectorSettings, DetectorState, Gap, Output, Started
from edge_agent.calc.factors import FactorSet
from edge_agent.calc.quality import StuckState, in_range, moving
from edge_agent.calc.windows import MINUTE_NS
from edge_agent.config import Potline
from edge_agent.pipeline.buffers import CountBuffer, SignalBuffer
from edge_agent.pipeline.rows import Sink, Span, minute_means
from edge_agent.readings import AnodeEffect

NS_PER_S = 10**9
Times = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LineFactors:
    """Factors of a potline's live estimates."""

    slope: float
    c2f6_per_cf4: float
    net_consumption_t_per_t: float
    sulphur: float
    ash: float

    @classmethod
    def of(cls, factors: FactorSet, technology: str) -> "LineFactors":
        """The factors of a technology.

        Raises:
            CalculationError: the set lacks one.
        """
        return cls(
            factors.get(f"pfc.slope.{technology}").value,
            factors.get(f"pfc.c2f6_ratio.{technology}").value,
            factors.get("anode.net_consumption").value,
            factors.get("anode.sulphur").value,
            factors.get("anode.ash").value,
        )


@dataclass(slots=True)
class Pot:
    """Buffers, quality state and detector of one pot."""

    detector: PotDetector
    volts: SignalBuffer = field(default_factory=SignalBuffer)
    status: CountBuffer = field(default_factory=CountBuffer)
    stuck: StuckState = field(default_factory=StuckState)


@dataclass(slots=True)
class MinuteOfLine:
    """Mean current [kA] and pots with a voltage, until the minute's effects are settled."""

    current_ka: float | None = None
    pots: int = 0


class PotlineWorker:
    """All pots of a line, fed together under one line current."""

    def __init__(self, line: Potline, factors: LineFactors, hour_offset_ns: int) -> None:
        self.line = line
        self.factors = factors
        self.settings = DetectorSettings(**line.detector.model_dump())
        self.current = SignalBuffer()
        self.current_last: tuple[int, float] | None = None
        self.minutes: dict[int, MinuteOfLine] = {}
        self.effect_ns: dict[int, int] = {}
        self.pots = {line.pot_id(n): self._pot(line.pot_id(n)) for n in line.pots.numbers()}
        for pot in self.pots.values():
            pot.detector.state.windows.offset_ns = hour_offset_ns

    def _pot(self, pot_id: str) -> Pot:
        return Pot(PotDetector(pot_id, self.settings))

    @property
    def off_below_ka(self) -> float:
        """Line current under which there is no electrolysis [kA]."""
        return self.line.nominal_ka * self.line.current_off_share

    def process(self, span: Span, sink: Sink) -> None:
        """Account for everything before the span's end."""
        flow_times, flows = self._current(span, sink)
        for pot_id, pot in self.pots.items():
            self._process_pot(pot_id, pot, span, (flow_times, flows), sink)
        self._emit_minutes(span.end_ns - self.settings.settle_ns, sink)

    def _current(self, span: Span, sink: Sink) -> tuple[Times, NDArray[np.bool_]]:
        """Minute means of the line current; since when it flows and since when not."""
        times, values = self.current.take(span.end_ns)
        good = in_range(values, -1.0, 2 * self.line.nominal_ka)
        times, values = times[good], values[good]
        for minutes, means, quality in minute_means(times, values, span, self.line.sample_period_s):
            sink.rows.extend(f"{self.line.id}.current_ka", minutes, means, quality)
            for minute, mean in zip(minutes, means, strict=True):
                self._minute(minute).current_ka = mean
        if self.current_last is not None:
            times = np.concatenate(([self.current_last[0]], times))
            values = np.concatenate(([self.current_last[1]], values))
        if len(times):
            self.current_last = (int(times[-1]), float(values[-1]))
        return times, values >= self.off_below_ka

    def _process_pot(
        self,
        pot_id: str,
        pot: Pot,
        span: Span,
        flow: tuple[Times, NDArray[np.bool_]],
        sink: Sink,
    ) -> None:
        times, volts = pot.volts.take(span.end_ns)
        good = in_range(volts, *self.line.voltage_range)
        times, volts = times[good], volts[good]
        good = moving(times, volts, round(self.line.stuck_s * NS_PER_S), pot.stuck)
        times, volts = times[good], volts[good]
        self._feed(pot, times, volts, _flowing(times, flow), span)
        for minutes, means, quality in minute_means(times, volts, span, self.line.sample_period_s):
            sink.rows.extend(f"{self.line.id}.{pot_id}.v", minutes, means, quality)
            for minute, mean in zip(minutes, means, strict=True):
                self._minute(minute).pots += mean >= self.settings.v_out
        for output in pot.detector.outputs():
            self._tell(output, sink)
        self._emit_hours(pot_id, pot, span.end_ns - self.settings.settle_ns, sink)

    def _feed(
        self, pot: Pot, times: Times, volts: Values, on: NDArray[np.bool_], span: Span
    ) -> None:
        """Feed the detector, with the pot's status changes at their time."""
        start = 0
        for time_ns, status in pot.status.take(span.end_ns):
            stop = int(np.searchsorted(times, time_ns))
            pot.detector.feed(times[start:stop], volts[start:stop], on[start:stop])
            pot.detector.set_circuit(
                time_ns,
                in_circuit=status not in self.line.pots.status_out,
                starting=status in self.line.pots.status_starting,
            )
            start = max(start, stop)
        pot.detector.feed(times[start:], volts[start:], on[start:])
        pot.detector.advance(span.end_ns)

    def _emit_hours(self, pot_id: str, pot: Pot, before_ns: int, sink: Sink) -> None:
        windows = pot.detector.state.windows
        prefix = f"{self.line.id}.{pot_id}"
        for start, sums in windows.take_hours(before_ns):
            for name, value in (
                ("observed_s", sums.observed_ns / NS_PER_S),
                ("out_s", sums.out_ns / NS_PER_S),
                ("ae_s", sums.effect_ns / NS_PER_S),
                ("ae_count", sums.effects),
                ("ae_ov_vs", sums.overvoltage_v_s),
                ("ae_ova_vs", sums.overvoltage_algebraic_v_s),
            ):
                sink.rows.add(f"{prefix}.{name}", start, value)
        for minute, effect_ns in windows.take_minutes(before_ns):
            self.effect_ns[minute] = self.effect_ns.get(minute, 0) + effect_ns

    def _minute(self, minute: int) -> MinuteOfLine:
        return self.minutes.setdefault(minute, MinuteOfLine())

    def _emit_minutes(self, before_ns: int, sink: Sink) -> None:
        """Live emission estimates of the minutes whose effects are settled."""
        for minute in sorted(self.minutes):
            if minute + MINUTE_NS > before_ns:
                break
            self._emit_minute(minute, self.minutes.pop(minute), sink)

    def _emit_minute(self, minute: int, of_line: MinuteOfLine, sink: Sink) -> None:
        line, factors = self.line, self.factors
        effect_min = self.effect_ns.pop(minute, 0) / MINUTE_NS
        current = of_line.current_ka if of_line.current_ka is not None else line.nominal_ka
        current = max(current, 0.0)
        per_cell_day = metal_per_cell_day(current, line.current_efficiency_percent)
        cf4_kg = factors.slope * effect_min * per_cell_day
        metal_t = per_cell_day * of_line.pots / 1440
        if current > 0:
            pfc.check_bound(cf4_kg, current, effect_min)
        co2_t = anode_co2(metal_t, factors.net_consumption_t_per_t, factors.sulphur, factors.ash)
        for name, value in (
            ("ae_min", effect_min),
            ("metal_est_t", metal_t),
            ("cf4_kg", cf4_kg),
            ("c2f6_kg", cf4_kg * factors.c2f6_per_cf4),
            ("anode_co2_t", co2_t),
        ):
            sink.rows.add(f"{line.id}.{name}", minute, value)

    def _tell(self, output: Output, sink: Sink) -> None:
        if isinstance(output, AnodeEffect):
            effect_ended(self.line.id, output, sink)
        elif isinstance(output, Gap):
            span = {"from": output.start_ns, "to": output.end_ns}
            sink.event(output.end_ns, "gap", line=self.line.id, pot=output.pot, **span)

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "current": self.current.dump(),
            "current_last": list(self.current_last) if self.current_last else None,
            "minutes": [
                [minute, item.current_ka, item.pots] for minute, item in self.minutes.items()
            ],
            "effect_ns": [list(item) for item in self.effect_ns.items()],
            "pots": {
                pot_id: {
                    "volts": pot.volts.dump(),
                    "status": [pot.status.done_ns, *map(list, pot.status.readings.items())],
                    "stuck": [pot.stuck.value, pot.stuck.since_ns],
                    "detector": pot.detector.state.dump(),
                }
                for pot_id, pot in self.pots.items()
            },
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave; pots that are new start afresh."""
        self.current = SignalBuffer.load(plain["current"])
        last = plain["current_last"]
        self.current_last = (last[0], last[1]) if last else None
        self.minutes = {
            minute: MinuteOfLine(current, pots) for minute, current, pots in plain["minutes"]
        }
        self.effect_ns = dict(plain["effect_ns"])
        for pot_id, saved in plain["pots"].items():
            if pot_id not in self.pots:
                continue
            done_ns, *readings = saved["status"]
            state = DetectorState.load(saved["detector"])
            self.pots[pot_id] = Pot(
                PotDetector(pot_id, self.settings, state),
                SignalBuffer.load(saved["volts"]),
                CountBuffer(done_ns, dict(readings)),
                StuckState(*saved["stuck"]),
            )


def effect_ended(line_id: str, effect: AnodeEffect, sink: Sink) -> None:
    """The event that carries a finished effect."""
    sink.event(
        effect.end_ns or effect.start_ns,
        "effect_ended",
        line=line_id,
        pot=effect.pot,
        start=effect.start_ns,
        end=effect.end_ns,
        net_s=effect.above_threshold_s,
        gross_s=effect.gross_s,
        est_s=effect.estimated_s,
        peak_v=effect.peak_v,
        mean_v=effect.mean_v,
        ov_vs=effect.overvoltage_v_s,
        ova_vs=effect.overvoltage_algebraic_v_s,
        group=effect.group,
        reason=effect.end_reason,
    )


def effect_started(line_id: str, started: Started, sink: Sink) -> None:
    """The event that announces an effect as soon as it is confirmed; provisional."""
    sink.event(
        started.start_ns,
        "effect_started",
        line=line_id,
        pot=started.pot,
        restrike=started.restrike,
        provisional=True,
    )


def _flowing(times: Times, flow: tuple[Times, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Whether the line current flowed at each time; unknown counts as flowing."""
    flow_times, flows = flow
    if len(flow_times) == 0:
        return np.ones(len(times), dtype=np.bool_)
    place = np.searchsorted(flow_times, times, side="right") - 1
    return np.asarray(np.where(place < 0, True, flows[np.maximum(place, 0)]), dtype=np.bool_)

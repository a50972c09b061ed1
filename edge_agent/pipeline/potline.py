"""One potline: pot voltages and line current to minute means, hourly pot sums and emissions."""

from dataclasses import dataclass, field
from typing import Any

from edge_agent.calc import pfc
from edge_agent.calc.aluminium import anode_co2, metal_per_cell_day
from edge_agent.calc.detector_state import DetectorSettings, Gap, Started
from edge_agent.calc.factors import FactorSet
from edge_agent.calc.line_detector import LineDetector, LineRules, StatusChange
from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.windows import MINUTE_NS
from edge_agent.config import Potline
from edge_agent.pipeline.buffers import SignalBuffer
from edge_agent.pipeline.counts import SAMPLE_BYTES
from edge_agent.pipeline.pot_means import MinuteMeans
from edge_agent.pipeline.pot_status import StatusBuffer
from edge_agent.pipeline.rows import Sink, Span
from edge_agent.pipeline.vectors import minute_means
from edge_agent.readings import AnodeEffect

NS_PER_S = 10**9


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
    """Buffers of one pot."""

    volts: SignalBuffer = field(default_factory=SignalBuffer)
    status: StatusBuffer = field(default_factory=StatusBuffer)


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
        self.minutes: dict[int, MinuteOfLine] = {}
        self.effect_ns: dict[int, int] = {}
        self.minutes_done_ns = 0
        self.pots = {line.pot_id(n): Pot() for n in line.pots.numbers()}
        rules = LineRules(
            self.settings,
            off_below_ka=self.off_below_ka,
            voltage_range=line.voltage_range,
            current_range_ka=(-1.0, 2 * line.nominal_ka),
            stuck_s=line.stuck_s,
            hour_offset_ns=hour_offset_ns,
        )
        self.detector = LineDetector(tuple(self.pots), rules)

    @property
    def off_below_ka(self) -> float:
        """Line current under which there is no electrolysis [kA]."""
        return self.line.nominal_ka * self.line.current_off_share

    @property
    def flows(self) -> bool:
        """Whether the line current flows by its last accounted reading; unknown is flowing."""
        last = self.detector.current.values[-1:]
        return not len(last) or bool(last[0] >= self.off_below_ka)

    @property
    def done_ns(self) -> int:
        """The last moment accounted for [ns], -1 before the first."""
        return self.current.done_ns

    def first_ns(self) -> int | None:
        """Time of the earliest sample that waits [ns]; statuses do not count, they stand."""
        buffers = [self.current, *(pot.volts for pot in self.pots.values())]
        firsts = (buffer.first_ns() for buffer in buffers)
        return min((first for first in firsts if first is not None), default=None)

    def tags(self) -> list[str]:
        """Everything that is judged together."""
        line = self.line
        found = [line.current]
        for number in line.pots.numbers():
            found.append(line.pots.voltage.format(n=number))
            if line.pots.status:
                found.append(line.pots.status.format(n=number))
        return found

    def process(self, span: Span, sink: Sink) -> None:
        """Account for everything before the span's end."""
        self._take_current(span, sink)
        raw = PotBlock.joined([pot.volts.take(span.end_ns) for pot in self.pots.values()])
        usable = self.detector.feed(raw, self._status_changes(span))
        self._emit_means(MinuteMeans.of(usable, span, self.line.sample_period_s), sink)
        for output in self.detector.settle(span.end_ns):
            self._tell(output, sink)
        self._emit_hours(span, sink)
        self._emit_minutes(span, sink)

    def _take_current(self, span: Span, sink: Sink) -> None:
        """Line current to the detector; its minute means."""
        times, values = self.current.take(span.end_ns)
        good = self.detector.add_current(times, values)
        times, values = times[good], values[good]
        for minutes, means, quality in minute_means(times, values, span, self.line.sample_period_s):
            sink.rows.extend(f"{self.line.id}.current_ka", minutes, means, quality)
            for minute, mean in zip(minutes, means, strict=True):
                self._minute(minute).current_ka = mean

    def _status_changes(self, span: Span) -> dict[str, list[StatusChange]]:
        out, starting = self.line.pots.status_out, self.line.pots.status_starting
        changes: dict[str, list[StatusChange]] = {}
        for pot_id, pot in self.pots.items():
            taken = pot.status.take(span.end_ns)
            if taken:
                changes[pot_id] = [
                    StatusChange(time_ns, status not in out, status in starting)
                    for time_ns, status in taken
                ]
        return changes

    def _emit_means(self, means: MinuteMeans, sink: Sink) -> None:
        for place, pot_id in enumerate(self.pots):
            part = slice(means.rows[place], means.rows[place + 1])
            if part.start == part.stop:
                continue
            minutes, values = means.minutes[part], means.means[part]
            sink.rows.extend(f"{self.line.id}.{pot_id}.v", minutes, values, means.quality[part])
            for minute, mean in zip(minutes, values, strict=True):
                self._minute(minute).pots += mean >= self.settings.v_out

    def _emit_hours(self, span: Span, sink: Sink) -> None:
        for pot_id, start, sums in self.detector.take_hours(span.end_ns):
            prefix = f"{self.line.id}.{pot_id}"
            for name, value in (
                ("observed_s", sums.observed_ns / NS_PER_S),
                ("out_s", sums.out_ns / NS_PER_S),
                ("ae_s", sums.effect_ns / NS_PER_S),
                ("ae_count", sums.effects),
                ("ae_ov_vs", sums.overvoltage_v_s),
                ("ae_ova_vs", sums.overvoltage_algebraic_v_s),
            ):
                sink.rows.add(f"{prefix}.{name}", start, value)
            for name, apart in (
                ("ae_su_s", sums.start_up_ns / NS_PER_S),
                ("ae_su_count", sums.start_up_effects),
                ("ae_held_s", sums.held_ns / NS_PER_S),
                ("ae_held_count", sums.held_effects),
            ):
                if apart:
                    sink.rows.add(f"{prefix}.{name}", start, apart)

    def _minute(self, minute: int) -> MinuteOfLine:
        return self.minutes.setdefault(minute, MinuteOfLine())

    def _emit_minutes(self, span: Span, sink: Sink) -> None:
        """Live emission estimates of the minutes whose effects are settled.

        Effect time that becomes known after its minute goes to the first minute still open.
        """
        for minute, net_ns in self.detector.take_minutes(span.end_ns).items():
            open_minute = max(minute, self.minutes_done_ns)
            self._minute(open_minute)
            self.effect_ns[open_minute] = self.effect_ns.get(open_minute, 0) + net_ns
        before_ns = (span.end_ns - self.settings.settle_ns) // MINUTE_NS * MINUTE_NS
        for minute in sorted(self.minutes):
            if minute + MINUTE_NS > before_ns:
                break
            self._emit_minute(minute, self.minutes.pop(minute), sink)
        self.minutes_done_ns = max(self.minutes_done_ns, before_ns)

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

    def _tell(self, output: AnodeEffect | Gap, sink: Sink) -> None:
        if isinstance(output, AnodeEffect):
            effect_ended(self.line.id, output, sink)
        else:
            span = {"from": output.start_ns, "to": output.end_ns}
            sink.event(output.end_ns, "gap", line=self.line.id, pot=output.pot, **span)

    def held_bytes(self) -> int:
        """Memory that the pending status readings take [bytes]; voltages have their buffers."""
        return SAMPLE_BYTES * sum(len(pot.status.readings) for pot in self.pots.values())

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "current": self.current.dump(),
            "minutes": [
                [minute, item.current_ka, item.pots] for minute, item in self.minutes.items()
            ],
            "effect_ns": [list(item) for item in self.effect_ns.items()],
            "minutes_done_ns": self.minutes_done_ns,
            "detector": self.detector.dump(),
            "pots": {
                pot_id: {
                    "volts": pot.volts.dump(),
                    "status": pot.status.dump(),
                }
                for pot_id, pot in self.pots.items()
            },
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave; pots that are new start afresh."""
        self.current = SignalBuffer.load(plain["current"])
        self.minutes = {
            minute: MinuteOfLine(current, pots) for minute, current, pots in plain["minutes"]
        }
        self.effect_ns = dict(plain["effect_ns"])
        self.minutes_done_ns = plain["minutes_done_ns"]
        self.detector.restore(plain["detector"])
        for pot_id, saved in plain["pots"].items():
            if pot_id in self.pots:
                status = StatusBuffer.load(saved["status"])
                self.pots[pot_id] = Pot(SignalBuffer.load(saved["volts"]), status)


def effect_ended(line_id: str, effect: AnodeEffect, sink: Sink) -> None:
    """The event that carries a finished effect, and why a person should look at it."""
    more = {
        "flags": list(effect.flags) or None,
        "i_before_ka": effect.current_before_ka,
        "i_onset_ka": effect.current_onset_ka,
    }
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
        **{name: value for name, value in more.items() if value is not None},
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

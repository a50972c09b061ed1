"""Meters: totaliser readings and what they imply, and the minute means of other tags."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_agent.calc.combustion import co2_by_heating_value
from edge_agent.calc.factors import FactorSet
from edge_agent.calc.integration import TotaliserRule, step
from edge_agent.calc.quality import in_range
from edge_agent.calc.rate import RateIntegrator
from edge_agent.calc.rounding import exact
from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.buffers import CountBuffer, SignalBuffer, Times, Values
from edge_agent.pipeline.rows import Sink, Span, minute_means
from edge_agent.plants import Meter
from edge_agent.readings import Sample, Waveform

Reading = Sample | Waveform
NM3_PER_UNIT = 10_000
"""The accounting unit of gases is 10^4 Nm3."""


@dataclass(frozen=True, slots=True)
class FuelFactors:
    """Default heating value, carbon content and oxidation of a fuel, and its volume unit."""

    ncv_gj: float
    carbon_t_per_gj: float
    oxidation: float

    @classmethod
    def of(cls, factors: FactorSet, fuel: str) -> "FuelFactors | None":
        """A fuel's default factors; None when the set has none (then nothing is shown live)."""
        names = ("ncv", "carbon", "oxidation")
        if not all(f"fuel.{fuel}.{name}" in factors for name in names):
            return None
        return cls(
            factors.get(f"fuel.{fuel}.ncv").value,
            factors.get(f"fuel.{fuel}.carbon").value,
            factors.get(f"fuel.{fuel}.oxidation").value,
        )

    def co2_t(self, amount: float, unit: str) -> float:
        """CO2 [t] of an amount in ``Nm3`` or ``t``."""
        accounting = amount / NM3_PER_UNIT if unit == "Nm3" else amount
        return co2_by_heating_value(accounting, self.ncv_gj, self.carbon_t_per_gj, self.oxidation)


_ENERGY_RATES = {"kW": "kWh", "MW": "MWh"}


def is_rate(unit: str) -> bool:
    """Whether a unit is a rate, whose integral over hours is an amount."""
    return unit.endswith("/h") or unit in _ENERGY_RATES


def amount_unit(unit: str) -> str:
    """The unit of a rate's integral over hours."""
    return _ENERGY_RATES.get(unit) or unit.removesuffix("/h")


class MeterWorker:
    """One totaliser: ships the last reading of each minute, names roll-overs and resets."""

    def __init__(
        self, meter_id: str, unit: str, scale: str, rule: TotaliserRule, fuel: FuelFactors | None
    ) -> None:
        self.meter_id = meter_id
        self.unit = unit
        self.scale = exact(scale)
        self.rule = rule
        self.fuel = fuel
        self.buffer = CountBuffer()
        self.last: tuple[int, int] | None = None

    def add(self, reading: Sample) -> None:
        """Take a reading."""
        self.buffer.add(reading)

    def process(self, span: Span, sink: Sink) -> None:
        """Account for the readings before the span's end."""
        readings = self.buffer.take(span.end_ns)
        for place, (time_ns, count) in enumerate(readings):
            following = readings[place + 1][0] if place + 1 < len(readings) else span.end_ns
            if following // MINUTE_NS > time_ns // MINUTE_NS:
                self._ship(time_ns, count, sink)

    def _ship(self, time_ns: int, count: int, sink: Sink) -> None:
        sink.rows.add(f"{self.meter_id}.count", time_ns, count)
        if self.last is not None:
            last_ns, last_count = self.last
            change = step(last_count, count, self.rule, time_ns - last_ns)
            if change.kind:
                sink.event(
                    time_ns,
                    f"totaliser_{change.kind}",
                    meter=self.meter_id,
                    before=last_count,
                    after=count,
                )
            if self.fuel is not None:
                amount = float(exact(change.increment) * self.scale)
                minute = time_ns // MINUTE_NS * MINUTE_NS
                sink.rows.add(f"{self.meter_id}.co2_t", minute, self.fuel.co2_t(amount, self.unit))
        self.last = (time_ns, count)

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "done_ns": self.buffer.done_ns,
            "readings": [list(item) for item in self.buffer.readings.items()],
            "last": list(self.last) if self.last else None,
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave."""
        if "integrator" in plain:
            return
        self.buffer = CountBuffer(plain["done_ns"], dict(plain["readings"]))
        self.last = tuple(plain["last"]) if plain["last"] else None


class RateWorker:
    """One rate: ships minute means, and by hours its integral and the time that it covers."""

    def __init__(
        self,
        meter: Meter,
        unit: str,
        range_: tuple[float, float] | None,
        period_s: float,
        settings: tuple[int, FuelFactors | None],
    ) -> None:
        offset_ns, self.fuel = settings
        self.meter_id = meter.id
        self.unit = amount_unit(unit)
        self.signal = SignalWorker(f"{meter.id}.rate", range_, period_s)
        self.integrator = RateIntegrator(meter.max_gap_s, offset_ns)

    @property
    def buffer(self) -> SignalBuffer:
        """The samples that wait."""
        return self.signal.buffer

    def add(self, reading: Reading) -> None:
        """Take a reading."""
        self.signal.buffer.add(reading)

    def process(self, span: Span, sink: Sink) -> None:
        """Account for the samples before the span's end; ship the hours that are complete."""
        times, values = self.signal.ship(span, sink)
        self.integrator.feed(zip(times.tolist(), values.tolist(), strict=True))
        for start_ns, hour in self.integrator.closed(span.end_ns):
            sink.rows.add(f"{self.meter_id}.amount", start_ns, hour.amount)
            sink.rows.add(f"{self.meter_id}.covered_s", start_ns, hour.covered_s)
            if self.fuel is not None:
                co2_t = self.fuel.co2_t(hour.amount, self.unit)
                sink.rows.add(f"{self.meter_id}.co2_t", start_ns, co2_t)

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {"buffer": self.signal.buffer.dump(), "integrator": self.integrator.dump()}

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave."""
        if "integrator" in plain:
            self.signal.buffer = SignalBuffer.load(plain["buffer"])
            self.integrator.restore(plain["integrator"])


class SignalWorker:
    """Minute means of a measured tag that belongs to no potline."""

    def __init__(self, tag_id: str, range_: tuple[float, float] | None, period_s: float) -> None:
        self.tag_id = tag_id
        self.range = range_ or (-np.inf, np.inf)
        self.period_s = period_s
        self.buffer = SignalBuffer()

    def process(self, span: Span, sink: Sink) -> None:
        """Account for the samples before the span's end."""
        self.ship(span, sink)

    def ship(self, span: Span, sink: Sink) -> tuple[Times, Values]:
        """The same; gives the good samples."""
        times, values = self.buffer.take(span.end_ns)
        good = in_range(values, *self.range) & np.isfinite(values)
        times, values = times[good], values[good]
        for minutes, means, quality in minute_means(times, values, span, self.period_s):
            sink.rows.extend(self.tag_id, minutes, means, quality)
        return times, values

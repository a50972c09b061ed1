"""Meters: totaliser readings and what they imply.

A count is never left out for its instrument's sake (what a meter counted during maintenance is in
its next reading anyway); it is marked: UNCERTAIN with reason MAINTENANCE or CALIBRATION.
"""

from dataclasses import dataclass
from typing import Any

from edge_agent.calc.combustion import co2_by_heating_value
from edge_agent.calc.factors import FactorSet
from edge_agent.calc.integration import TotaliserRule, step
from edge_agent.calc.rounding import exact
from edge_agent.calc.rules import UNCERTAIN_CALIBRATION, UNCERTAIN_MAINTENANCE
from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.counts import CountBuffer
from edge_agent.pipeline.judging import Flag, Teller
from edge_agent.pipeline.rows import Sink, Span
from edge_agent.readings import GOOD, Quality, Sample

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
        self.maintenance: Flag | None = None
        self.lapses_ns: int | None = None
        self.teller = Teller(meter_id)

    @property
    def done_ns(self) -> int:
        """The last moment accounted for [ns], -1 before the first."""
        return self.buffer.done_ns

    def first_ns(self) -> int | None:
        """Time of the earliest reading that waits [ns]."""
        return min(self.buffer.readings, default=None)

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
        self.buffer.forget_marks(span.end_ns)

    def _ship(self, time_ns: int, count: int, sink: Sink) -> None:
        quality = self._quality(time_ns)
        self.teller.tell(time_ns, int(quality), 1, sink)
        sink.rows.add(f"{self.meter_id}.count", time_ns, count, quality)
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
                co2_t = self.fuel.co2_t(amount, self.unit)
                sink.rows.add(f"{self.meter_id}.co2_t", minute, co2_t, quality)
        self.last = (time_ns, count)

    def _quality(self, time_ns: int) -> Quality:
        """The device's own word first, then maintenance, then a lapsed calibration."""
        given = self.buffer.marks.pop(time_ns, GOOD)
        if given != GOOD:
            return Quality(given)
        if self.maintenance is not None and self.maintenance.at(time_ns):
            return UNCERTAIN_MAINTENANCE
        if self.lapses_ns is not None and time_ns >= self.lapses_ns:
            return UNCERTAIN_CALIBRATION
        return GOOD

    def dump(self) -> dict[str, Any]:
        """Plain value for storage."""
        return {
            "done_ns": self.buffer.done_ns,
            "readings": [list(item) for item in self.buffer.readings.items()],
            "marks": [list(item) for item in self.buffer.marks.items()],
            "last": list(self.last) if self.last else None,
            "told": self.teller.told,
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """Take up the state that ``dump`` gave."""
        if "integrator" in plain:
            return
        marks = dict(plain.get("marks", ()))
        readings = dict(plain["readings"])
        self.buffer = CountBuffer(plain["done_ns"], readings, marks, warm=False)
        self.teller.told = plain.get("told", int(GOOD))
        self.last = tuple(plain["last"]) if plain["last"] else None

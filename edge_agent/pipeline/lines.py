"""Potlines as the pipeline sees them: their workers, and the live lane that announces effects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_agent.calc.anode_effect import PotDetector
from edge_agent.calc.detector_state import Started
from edge_agent.calc.factors import FactorSet
from edge_agent.config import Potline
from edge_agent.pipeline.potline import LineFactors, PotlineWorker, effect_started
from edge_agent.pipeline.rows import Sink
from edge_agent.readings import Sample, Severity


@dataclass(slots=True)
class Live:
    """The live lane of one pot."""

    line: PotlineWorker
    detector: PotDetector
    last_ns: int = -1

    def watch(self, sample: Sample, sink: Sink) -> None:
        """Judge a sample as it arrives, and announce an effect that it confirms."""
        value = sample.value
        low, high = self.line.line.voltage_range
        if (
            value is None
            or sample.quality.severity is Severity.BAD
            or not low <= value <= high
            or sample.time_ns <= self.last_ns
        ):
            return
        self.last_ns = sample.time_ns
        self.detector.step(sample.time_ns, float(value), flowing=self.line.flows)
        for output in self.detector.outputs():
            if isinstance(output, Started):
                effect_started(self.line.line.id, output, sink)


def worker_of(line: Potline, factors: FactorSet, hour_offset_ns: int) -> PotlineWorker:
    """The worker of a line."""
    return PotlineWorker(line, LineFactors.of(factors, line.technology), hour_offset_ns)


def live_lanes(worker: PotlineWorker) -> dict[str, Live]:
    """The live lanes of a line's pots by the tags of their voltages."""
    line = worker.line
    return {
        line.pots.voltage.format(n=number): Live(
            worker, PotDetector(line.pot_id(number), worker.settings)
        )
        for number in line.pots.numbers()
    }


def routes(worker: PotlineWorker) -> dict[str, Callable[[Any], None]]:
    """Who takes the readings of a line's tags (other objects after a restore)."""
    line = worker.line
    found: dict[str, Callable[[Any], None]] = {line.current: worker.current.add}
    for number in line.pots.numbers():
        pot = worker.pots[line.pot_id(number)]
        found[line.pots.voltage.format(n=number)] = pot.volts.add
        if line.pots.status:
            found[line.pots.status.format(n=number)] = pot.status.add
    return found

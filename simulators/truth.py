"""Writes down what was true: ``effects.jsonl`` and ``truth.json``.

- ``effects.jsonl`` holds one line for each finished effect that began in the accounted period; effects that
  began after it go to ``effects_after.jsonl``, so that counting lines is safe.
- ``truth.json`` is replaced atomically. Its totals stop at exactly ``end_ns``, also when the plant runs on.
- ``above_8v_s`` counts seconds at or above 8.0 V inside effects; those of pre-spikes, which are no effects, are
  counted apart as ``pre_spike_8v_s``. ``in_circuit_s`` counts status 1 and 2, outages included; how much of it
  was without current stands in ``no_current_s``. ``effects`` counts by start.
- Measuring faults are listed, and never change a total.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from simulators.physics.settings import COUNTED_ABOVE_V, STATUS_OUT, STATUS_STARTING

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.physics.meter import PlantMeters
    from simulators.physics.potline import Potline, PotlineBlock
    from simulators.physics.schedule import Effect

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Period:
    """The accounted period.

    Attributes:
        seed: seed of the plant.
        start_ns: its beginning, second 0 of the plant [ns since 1970 UTC].
        seconds: its length [s].
    """

    seed: int
    start_ns: int
    seconds: int

    @property
    def end_ns(self) -> int:
        """The first nanosecond after it."""
        return self.at(self.seconds)

    def at(self, second: int) -> int:
        """A plant second as time [ns since 1970 UTC]."""
        return self.start_ns + second * NS


class TruthWriter:
    """Keeps the totals of the period and writes them to a folder.

    Args:
        directory: where the files go; made if missing, old files are replaced.
        period: the accounted period.
        potline: the line, for its plan.
        meters: the plant's meters, before the first second.
    """

    def __init__(
        self, directory: Path, period: Period, potline: Potline, meters: PlantMeters
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "truth.json"
        self._effects = (directory / "effects.jsonl").open("w", encoding="utf-8")
        self._effects_after = (directory / "effects_after.jsonl").open("w", encoding="utf-8")
        self._period = period
        self._potline = potline
        self._meters = meters
        pots = potline.settings.pots
        self._in_circuit_s = np.zeros(pots, dtype=np.int64)
        self._starting_s = np.zeros(pots, dtype=np.int64)
        self._no_current_s = np.zeros(pots, dtype=np.int64)
        self._above_s = np.zeros(pots, dtype=np.int64)
        self._current_sum_ka = 0.0
        self._seconds = 0
        self._faults: list[dict[str, Any]] = []
        self._meter_truth = self._read_meters()
        self._tapped_kg = 0

    def advance(self, block: PotlineBlock) -> None:
        """Take up a block that the line and the meters have just run through.

        Raises:
            ValueError: the block reaches over the end of the period.
        """
        for effect in block.ended:
            inside = effect.start < self._period.seconds
            self._write_effect(effect, self._effects if inside else self._effects_after)
        if block.start >= self._period.seconds:
            return
        if block.end > self._period.seconds:
            raise ValueError("a block may not reach over the end of the period")
        in_circuit = block.status != STATUS_OUT
        self._in_circuit_s += in_circuit.sum(axis=1)
        self._starting_s += (block.status == STATUS_STARTING).sum(axis=1)
        self._no_current_s += in_circuit[:, block.current_ka == 0.0].sum(axis=1)
        self._above_s += (block.voltage >= np.float32(COUNTED_ABOVE_V)).sum(axis=1)
        self._current_sum_ka += float(block.current_ka.sum(dtype=np.float64))
        self._seconds = block.end
        self._meter_truth = self._read_meters()
        self._tapped_kg = self._meters.tapped_kg

    def add_fault(self, pot: int, kind: str, start: int, end: int) -> None:
        """Note a measuring fault of a pot (index; -1 for the line) in plant seconds [start, end)."""
        self._faults.append(
            {
                "pot": pot + 1,
                "kind": kind,
                "start_ns": self._period.at(start),
                "end_ns": self._period.at(end),
            }
        )

    def write(self) -> None:
        """Replace ``truth.json``."""
        for stream in (self._effects, self._effects_after):
            stream.flush()
        fresh = self._path.with_suffix(".json.new")
        fresh.write_text(json.dumps(self._summary()), encoding="utf-8")
        os.replace(fresh, self._path)  # noqa: PTH105 - says "atomic" better than Path.replace

    def close(self) -> None:
        """Write for the last time."""
        self.write()
        self._effects.close()
        self._effects_after.close()

    def _write_effect(self, effect: Effect, stream: IO[str]) -> None:
        line = {
            "pot": effect.pot + 1,
            "start_ns": self._period.at(effect.start),
            "end_ns": self._period.at(effect.end),
            "net_s": effect.waveform.net_s,
            "peak_v": round(effect.waveform.peak_v, 4),
            "group": effect.group,
            "restrike": effect.restrike,
            "starting": effect.starting,
            "end_reason": "current_off" if effect.cut_by_outage else "normal",
        }
        stream.write(json.dumps(line) + "\n")

    def _summary(self) -> dict[str, Any]:
        period, now = self._period, self._potline.now
        return {
            "seed": period.seed,
            "start_ns": period.start_ns,
            "now_ns": period.at(now),
            "end_ns": period.end_ns,
            "accounted_s": self._seconds,
            "finished": self._seconds >= period.seconds,
            "pots": self._pots(),
            "meters": self._meter_truth,
            "tapped_kg": self._tapped_kg,
            "mean_current_ka": self._current_sum_ka / max(self._seconds, 1),
            "outages": [
                [period.at(one.start), period.at(one.end)]
                for one in self._potline.schedule.outages
                if one.start < self._seconds
            ],
            "faults": self._faults,
            "open_effects": [
                {"pot": one.pot + 1, "start_ns": period.at(one.start), "group": one.group}
                for one in self._potline.open_effects()
            ],
        }

    def _pots(self) -> dict[str, dict[str, int]]:
        """Totals by pot number, from 1."""
        begun = [0] * len(self._above_s)
        inside_s = [0] * len(self._above_s)
        for effect in self._potline.schedule.effects:
            if effect.start < self._seconds:
                begun[effect.pot] += 1
                inside_s[effect.pot] += effect.net_until(self._seconds)
        return {
            str(pot + 1): {
                "in_circuit_s": int(self._in_circuit_s[pot]),
                "starting_s": int(self._starting_s[pot]),
                "no_current_s": int(self._no_current_s[pot]),
                "above_8v_s": inside_s[pot],
                "pre_spike_8v_s": int(self._above_s[pot]) - inside_s[pot],
                "effects": begun[pot],
            }
            for pot in range(len(begun))
        }

    def _read_meters(self) -> dict[str, dict[str, float]]:
        return {
            name: {
                "first_count": counter.first_count,
                "count": counter.count,
                "unit_scale": counter.unit_scale,
                "modulus": counter.modulus,
            }
            for name, counter in self._meters.counters.items()
        }

"""The simulated plant as one process: potline, OPC UA server, Modbus meters and the truth.

python -m simulators.plant --pots 24 --mode blocks --truth DIR --ready FILE
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simulators.measuring_faults import DELIVERY, MeasuringFaults, plan_faults
from simulators.modbus_server import MeterServer
from simulators.opcua_server import PotlineServer
from simulators.physics.meter import PlantMeters
from simulators.physics.potline import Potline, PotlineBlock
from simulators.physics.settings import PotlineSettings
from simulators.publishing import BlockPublisher, Publisher, ScalarPublisher
from simulators.registers import plant_registers
from simulators.truth import NS, Period, TruthWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_START = "2026-01-01T00:00:00+08:00"
FIRST_READ_TIMEOUT_S = 60.0
TRUTH_EVERY_S = 0.5
LINGER_S = 1.0
"""How long the servers stay up at the end, so that subscribers get the last values [s]."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the plant runs.

    Attributes:
        blocks: publish arrays, paced by the readers; else single samples, paced by the clock.
        speed: simulated seconds per wall second, for single samples.
        block_s: length of a block [s].
        min_s: least wall time from one block to the next [s].
        max_s: longest wait for the Modbus units to be read [s].
        wall_clock: the plant's time is the wall clock; else it starts when the servers are up.
    """

    blocks: bool
    speed: float
    block_s: int
    min_s: float
    max_s: float
    wall_clock: bool


class Plant:
    """Runs the physics and publishes it.

    Args:
        potline: the line.
        meters: its meters.
        faults: its measuring faults.
        truth: where the truth goes.
        period: the accounted period.
    """

    def __init__(
        self,
        potline: Potline,
        meters: PlantMeters,
        faults: MeasuringFaults,
        truth: TruthWriter,
        period: Period,
    ) -> None:
        self.potline = potline
        self.truth = truth
        self.period = period
        self.pots = potline.settings.pots
        self._meters = meters
        self._faults = faults

    def show_meters(self, modbus: MeterServer) -> None:
        """Set all registers to the present second."""
        now_ns = self.period.at(self.potline.now)
        modbus.update(plant_registers(now_ns, self._meters))

    async def run(self, opcua: PotlineServer, modbus: MeterServer, pace: Pace) -> None:
        """Run to the horizon."""
        kind = BlockPublisher if pace.blocks else ScalarPublisher
        publisher: Publisher = kind(opcua, self.period, self.truth)
        if pace.blocks:
            await self._run_blocks(publisher, modbus, pace)
        else:
            await self._run_scalars(publisher, modbus, pace)

    async def _run_blocks(self, publisher: Publisher, modbus: MeterServer, pace: Pace) -> None:
        """Publish a block, then wait until every Modbus unit was read."""
        await modbus.wait_all_read(FIRST_READ_TIMEOUT_S)
        while (seconds := self._next_block_s(pace.block_s)) > 0:
            await self._step(publisher, seconds)
            self.show_meters(modbus)
            published = time.monotonic()
            await asyncio.sleep(pace.min_s)
            left_s = max(pace.max_s - (time.monotonic() - published), 0.0)
            await modbus.wait_all_read(left_s)

    async def _run_scalars(self, publisher: Publisher, modbus: MeterServer, pace: Pace) -> None:
        """Publish each second when it is due; the registers then show that very second."""
        horizon_s, speed = self.potline.settings.horizon_s, pace.speed
        ahead_s = (self.period.start_ns - time.time_ns()) / NS if pace.wall_clock else 0.0
        begin = time.monotonic() + ahead_s
        while self.potline.now < horizon_s:
            await asyncio.sleep(max(begin + self.potline.now / speed - time.monotonic(), 0.0))
            self.show_meters(modbus)
            await self._step(publisher, 1)
        await asyncio.sleep(max(begin + horizon_s / speed - time.monotonic(), 0.0))
        self.show_meters(modbus)

    def _next_block_s(self, block_s: int) -> int:
        """Length of the next block: blocks end at the end of the period and at the horizon [s]."""
        now, horizon_s = self.potline.now, self.potline.settings.horizon_s
        limit = self.period.seconds if now < self.period.seconds else horizon_s
        return min(block_s, limit - now)

    async def _step(self, publisher: Publisher, seconds: int) -> PotlineBlock:
        """Compute and publish some seconds, and note the truth."""
        block = self.potline.advance(seconds)
        self._meters.advance(block)
        measured = self._faults.apply(block)
        for fault in self._faults.begun:
            if fault.kind not in DELIVERY:
                self.truth.add_fault(fault.pot, fault.kind.value, fault.start, fault.end)
        await publisher.publish(block, measured)
        self.truth.advance(block)
        return block

    def progress(self) -> dict[str, object]:
        """How far the plant is."""
        now, horizon_s = self.potline.now, self.potline.settings.horizon_s
        return {
            "now": datetime.fromtimestamp(self.period.at(now) / NS, UTC).isoformat(),
            "now_s": now,
            "finished": now >= self.period.seconds,
            "done": now >= horizon_s,
            "open_effects": len(self.potline.open_effects()),
        }


async def _report(plant: Plant) -> None:
    """Rewrite the truth twice a second and print progress once a second, until cancelled."""
    ticks = 0
    while True:
        await asyncio.sleep(TRUTH_EVERY_S)
        plant.truth.write()
        ticks += 1
        if ticks % 2 == 0:
            print(json.dumps(plant.progress()), flush=True)


async def _serve(plant: Plant, pace: Pace, options: argparse.Namespace) -> None:
    """Run the plant between its servers until it is done or told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        PotlineServer(plant.pots, options.opcua_port) as opcua,
        MeterServer(options.modbus_port) as modbus,
    ):
        plant.show_meters(modbus)
        if options.ready:
            ready = {"opcua": opcua.url, "modbus": modbus.port, "pid": os.getpid()}
            _write_atomically(options.ready, json.dumps(ready))
        running = asyncio.create_task(plant.run(opcua, modbus, pace), name="plant")
        report = asyncio.create_task(_report(plant), name="report")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({running, stopping, report}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                plant.truth.write()
                linger_s = None if options.hold else LINGER_S
                await asyncio.wait({stopping}, timeout=linger_s)
        finally:
            for task in (running, report, stopping):
                task.cancel()
            for task in (report, stopping, running):
                with suppress(asyncio.CancelledError):
                    await task


def _write_atomically(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators.plant", description=__doc__)
    add = parser.add_argument
    add("--pots", type=int, default=24, help="number of pots")
    add("--seed", type=int, default=1, help="same seed and options: same plant")
    add(
        "--start", help=f"ISO time with offset; default wall clock at speed 1, else {DEFAULT_START}"
    )
    add("--seconds", type=int, default=31 * 86_400, help="length of the accounted period [s]")
    add("--extra", type=int, default=7_200, help="how long the plant runs on past it [s]")
    add("--mode", choices=("scalars", "blocks"), default="scalars", help="samples or arrays")
    add("--speed", type=float, default=1.0, help="scalars: simulated seconds per wall second")
    add("--block-s", type=int, default=1_800, help="blocks: length of an array [s]")
    add("--pace-min-s", type=float, default=0.0, help="blocks: least wall time a block [s]")
    add("--pace-max-s", type=float, default=5.0, help="blocks: longest wait for readers [s]")
    add("--opcua-port", type=int, default=0, help="0 takes a free port")
    add("--modbus-port", type=int, default=0, help="0 takes a free port")
    add("--truth", type=Path, required=True, help="folder for truth.json and effects.jsonl")
    add("--aef", type=float, default=0.1, help="mean anode effects per pot-day")
    add("--outages", type=int, default=0, help="rectifier outages in the period")
    add("--outage-effects", type=int, default=0, help="outages that cut a burning effect short")
    add("--cutout-pots", type=int, default=0, help="pots taken out of circuit for hours")
    add("--starting-pots", type=int, default=0, help="pots that are started up")
    add("--faults", choices=("on", "off"), default="off", help="measuring faults")
    add("--ready", type=Path, help="file written once both servers listen")
    add("--hold", action="store_true", help="stay up when done, until SIGTERM")
    return parser


def _is_wall_clock(options: argparse.Namespace) -> bool:
    """Whether the plant's time is to be the time of day."""
    return options.start is None and options.mode == "scalars" and options.speed == 1.0


def _start_ns(options: argparse.Namespace) -> int:
    """First instant of the plant, a full second [ns since 1970 UTC]."""
    if _is_wall_clock(options):
        servers_up_s = 3 + int(options.pots) // 80
        return int(time.time_ns() // NS + servers_up_s) * NS
    start = datetime.fromisoformat(options.start or DEFAULT_START)
    if start.tzinfo is None:
        start = start.replace(tzinfo=UTC)
    return int(start.timestamp()) * NS


def _build(options: argparse.Namespace) -> Plant:
    """The plant from the command line; the one place where random numbers begin."""
    settings = PotlineSettings(
        pots=options.pots,
        period_s=options.seconds,
        horizon_s=options.seconds + options.extra,
        effects_per_pot_day=options.aef,
        outages=options.outages,
        outage_effects=options.outage_effects,
        cutout_pots=options.cutout_pots,
        starting_pots=options.starting_pots,
    )
    line_rng, meter_rng, fault_rng = np.random.default_rng(options.seed).spawn(3)
    potline = Potline(settings, line_rng)
    meters = PlantMeters(settings, meter_rng)
    faults = MeasuringFaults(plan_faults(potline, fault_rng) if options.faults == "on" else ())
    period = Period(options.seed, _start_ns(options), options.seconds)
    truth = TruthWriter(options.truth, period, potline, meters)
    return Plant(potline, meters, faults, truth, period)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the plant; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    plant = _build(options)
    pace = Pace(
        blocks=options.mode == "blocks",
        speed=options.speed,
        block_s=options.block_s,
        min_s=options.pace_min_s,
        max_s=options.pace_max_s,
        wall_clock=_is_wall_clock(options),
    )
    try:
        asyncio.run(_serve(plant, pace, options))
    finally:
        plant.truth.close()
        print(json.dumps(plant.progress()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

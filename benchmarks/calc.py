"""How fast anode effects are found: streaming as the agent does it, and over a month in bulk.

Streaming: 400 pots at 1 Hz, minute by minute, 60 samples a pot, with settling, hours and minutes
taken each time. Bulk: one potline-month at 1 Hz, 1.04 billion samples, recomputed in half-hour
pieces; the making of the samples is timed apart. Named baselines of the same run: a plain Python
state machine that keeps the least of these books, and numpy counting the samples above 8 V and nothing
else. Speeds are samples per second of processor time, so other work on the machine does not count.
Effects are planted and must all be found. Exit code 1 when a goal is missed.

    python benchmarks/calc.py [--pots 400] [--minutes 120] [--days 30]
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cbor2
import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.detector_state import DetectorSettings
from edge_agent.calc.line_detector import LineDetector, LineRules, StatusChange
from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.recompute import Piece, recompute
from edge_agent.readings import AnodeEffect

NS_PER_S = 10**9
T0_NS = 1_790_784_000 * NS_PER_S
DAY_S = 86_400
PIECE_S = 1_800
EFFECTS_A_POT_DAY = 0.2
STREAM_GOAL, BULK_GOAL = 2e6, 20e6
MEMORY_GOAL_MB = 1_000
GROWTH_TOLERANCE = 1.3
RULES = LineRules(DetectorSettings(), off_below_ka=30.0)
OUTAGE_S = (2 * 3_600, 3 * 3_600)
"""Start and end of a power cut on the first day [s]: back-EMF under 2 V, no current."""


@dataclass
class Plant:
    """Seeded voltages of a line, in pieces; knows how many effects it has planted.

    One pot in a hundred is out of circuit, by status and at 0.3 V.
    """

    pots: int
    seed: int = 1
    planted: int = 0
    made_s: float = 0.0
    rng: np.random.Generator = field(init=False)
    level: NDArray[np.float64] = field(init=False)
    away: int = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.level = 4.2 + 0.05 * self.rng.standard_normal((self.pots, 1))
        self.away = self.pots // 100

    @property
    def names(self) -> list[str]:
        """The pots' names."""
        return [f"pot{number + 1:03d}" for number in range(self.pots)]

    def pieces(self, seconds: int, length_s: int) -> Iterator[Piece]:
        """Pieces of all pots over some seconds; making them is timed."""
        for start_s in range(0, seconds, length_s):
            begun = time.process_time()
            piece = self._piece(start_s, min(length_s, seconds - start_s))
            self.made_s += time.process_time() - begun
            yield piece

    def _piece(self, start_s: int, length_s: int) -> Piece:
        seconds = np.arange(start_s, start_s + length_s, dtype=np.int64)
        times = T0_NS + seconds * NS_PER_S
        volts = self.rng.standard_normal((self.pots, length_s))
        volts *= 0.02
        volts += self.level
        current = 300.0 + self.rng.standard_normal(length_s)
        dark = (seconds >= OUTAGE_S[0]) & (seconds < OUTAGE_S[1])
        if dark.any():
            current[dark] = 0.0
            volts[:, dark] -= 2.6
        else:
            self._plant(volts, length_s)
        volts[: self.away] *= 0.07
        changes = {}
        if start_s == 0:
            changes = {
                name: [StatusChange(T0_NS, in_circuit=False)] for name in self.names[: self.away]
            }
        end_ns = T0_NS + (start_s + length_s) * NS_PER_S
        return Piece(PotBlock.even(times, volts), times, current, end_ns, changes)

    def _plant(self, volts: NDArray[np.float64], length_s: int) -> None:
        """Effects of 20 to 180 s that begin and end within a piece, none on pots out of circuit."""
        if length_s < 400:
            return
        share = EFFECTS_A_POT_DAY * length_s / DAY_S
        for pot in np.flatnonzero(self.rng.random(self.pots) < share).tolist():
            if pot < self.away:
                continue
            start, lasts = (
                int(self.rng.integers(0, length_s - 200)),
                int(self.rng.integers(20, 180)),
            )
            volts[pot, start : start + lasts] += 24.0
            self.planted += 1


@dataclass
class PlainMachine:
    """The baseline: what a first version in plain Python would do, one sample after the other.

    Time observed by hour, target voltage by minute, effects from three seconds above 8 V to ten
    seconds below 7 V with net time and overvoltage. No status, no re-strikes, no silence within
    effects, no power cuts.
    """

    observed_ns: dict[int, int] = field(default_factory=dict)
    effects: list[tuple[int, int, float]] = field(default_factory=list)

    def run(self, times: Sequence[int], volts: Sequence[float]) -> None:
        """Take all samples of a pot."""
        since = below = last_ns = -1
        last_v = total = target = 4.2
        count, net_ns, over, on = 1, 0, 0.0, False
        for time_ns, volt in zip(times, volts, strict=True):
            lasted = min(time_ns - last_ns, 5 * NS_PER_S) if last_ns >= 0 else 0
            hour = time_ns // (3_600 * NS_PER_S)
            self.observed_ns[hour] = self.observed_ns.get(hour, 0) + lasted
            if on:
                over += (last_v - target) * lasted
                net_ns += lasted if last_v >= 8.0 else 0
                below = -1 if volt >= 7.0 else time_ns if below < 0 else below
                if below >= 0 and time_ns - below >= 10 * NS_PER_S:
                    self.effects.append((since, net_ns, over / NS_PER_S))
                    on, since = False, -1
            elif volt >= 8.0:
                since = time_ns if since < 0 else since
                if time_ns - since >= 2 * NS_PER_S:
                    on, below, net_ns, over, target = True, -1, 0, 0.0, total / count
            else:
                since = -1
                total, count = total + volt, count + 1
            last_ns, last_v = time_ns, volt


def speed_of(count: int, work: Callable[[], object]) -> float:
    """Samples per second of processor time."""
    begun = time.process_time()
    work()
    return count / (time.process_time() - begun)


def baselines(pots: int) -> tuple[float, float]:
    """Speeds of the plain Python machine and of numpy's threshold count."""
    (piece,) = Plant(pots).pieces(PIECE_S, PIECE_S)
    volts, row = piece.volts.volts, piece.current_times
    some = [volts[pot * PIECE_S : (pot + 1) * PIECE_S].tolist() for pot in range(min(pots, 200))]
    moments = row.tolist()

    def one_by_one() -> None:
        for of_pot in some:
            PlainMachine().run(moments, of_pot)

    plain = speed_of(len(some) * PIECE_S, one_by_one)
    repeats = 20

    def count_all() -> None:
        for _ in range(repeats):
            np.count_nonzero(volts >= 8.0)

    return plain, speed_of(repeats * len(volts), count_all)


def streaming(pots: int, minutes: int, *, stored: bool) -> float:
    """Speed of the agent's accounting, minute by minute; with the state stored each minute."""
    plant = Plant(pots)
    whole = list(plant.pieces(60 * minutes, 60))
    line = LineDetector(plant.names, RULES)

    def run() -> None:
        for piece in whole:
            line.add_current(piece.current_times, piece.current_ka)
            line.feed(piece.volts, piece.changes)
            line.settle(piece.end_ns)
            list(line.take_hours(piece.end_ns))
            line.take_minutes(piece.end_ns)
            if stored:
                cbor2.dumps(line.dump())

    return speed_of(pots * 60 * minutes, run)


@dataclass(frozen=True)
class Bulk:
    """One recomputation: processor seconds, samples, effects planted and found."""

    spent_s: float
    made_s: float
    samples: int
    planted: int
    found: int

    @property
    def speed(self) -> float:
        """Samples per second."""
        return self.samples / self.spent_s


def bulk(pots: int, seconds: int) -> Bulk:
    """Recompute some seconds of all pots; what is found is counted, not kept."""
    plant = Plant(pots)
    begun = time.process_time()
    found = 0
    for result in recompute(plant.names, RULES, plant.pieces(seconds, PIECE_S)):
        found += sum(isinstance(item, AnodeEffect) for item in result.outputs)
    spent = time.process_time() - begun - plant.made_s
    return Bulk(spent, plant.made_s, pots * seconds, plant.planted, found)


def peak_mb() -> float:
    """Most memory this process ever had [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pots", type=int, default=400)
    parser.add_argument("--minutes", type=int, default=120, help="streamed")
    parser.add_argument("--days", type=float, default=30.0, help="recomputed in bulk")
    args = parser.parse_args(argv)
    plain, count = baselines(args.pots)
    print(f"baseline plain Python, every sample   {plain / 1e6:8.2f} M samples/s")
    print(f"baseline numpy, threshold count only  {count / 1e6:8.2f} M samples/s")
    missed = []
    for stored in (False, True):
        speed = streaming(args.pots, args.minutes, stored=stored)
        name = "streaming, state stored a minute" if stored else "streaming, 60 samples a pot"
        show(name, speed, plain, count)
        if speed < STREAM_GOAL:
            missed.append(f"{name}: under {STREAM_GOAL / 1e6:g} M samples/s")
    missed += in_bulk(args.pots, args.days, plain, count)
    print(f"peak memory {peak_mb():.0f} MB")
    if peak_mb() >= MEMORY_GOAL_MB:
        missed.append(f"memory not under {MEMORY_GOAL_MB} MB")
    for text in missed:
        print(f"MISSED {text}")
    return 1 if missed else 0


def in_bulk(pots: int, days: float, plain: float, count: float) -> list[str]:
    """A quarter, a half and the whole of the days; gives the goals missed."""
    missed, unit = [], 0.0
    for parts in (1, 2, 4):
        seconds = round(days * DAY_S * parts / 4) // PIECE_S * PIECE_S
        run = bulk(pots, seconds)
        name = f"bulk {parts}x, {run.samples / 1e6:.0f} M samples"
        show(name, run.speed, plain, count)
        unit = unit or run.spent_s / run.samples
        growth = run.spent_s / run.samples / unit
        print(
            f"    {run.spent_s:.1f} s, made in {run.made_s:.1f} s, {growth:.2f} x the time a sample"
            f" of 1x, {run.found} of {run.planted} effects"
        )
        if run.found != run.planted:
            missed.append(f"{name}: {run.found} effects of {run.planted}")
        if run.speed < BULK_GOAL:
            missed.append(f"{name}: under {BULK_GOAL / 1e6:g} M samples/s")
        if growth > GROWTH_TOLERANCE:
            missed.append(f"{name}: grows faster than linear")
    return missed


def show(name: str, speed: float, plain: float, count: float) -> None:
    """One line: speed, and its ratios to the two baselines."""
    print(
        f"{name:37s} {speed / 1e6:8.2f} M samples/s"
        f"   {speed / plain:6.1f} x plain Python   {speed / count:6.3f} x numpy count"
    )


if __name__ == "__main__":
    sys.exit(main())

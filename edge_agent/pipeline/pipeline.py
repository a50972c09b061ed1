"""Samples in, records and events out.

Two lanes see the pot voltages. The *live* lane judges each sample as it arrives and announces a
confirmed effect at once. The *accounting* lane waits for stragglers, each tag for as long as its
own lateness says (``lateness``), puts samples in order, and produces everything that is counted.
Time is the samples' own; the accounting lane advances by whole minutes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import cbor2

from edge_agent.calc.factors import FactorSet
from edge_agent.calc.integration import TotaliserRule
from edge_agent.calc.rate import amount_unit, is_rate
from edge_agent.calc.rules import Rules
from edge_agent.calc.windows import MINUTE_NS, hour_offset_ns
from edge_agent.config import AgentConfig, totaliser_of
from edge_agent.later import Later
from edge_agent.pipeline.counts import SAMPLE_BYTES, CountBuffer, Holder
from edge_agent.pipeline.judging import Flag, lapses_ns, rules_of
from edge_agent.pipeline.lateness import Lateness, Reach
from edge_agent.pipeline.lived import TOLERANCE_NS, Lived
from edge_agent.pipeline.meters import FuelFactors, MeterWorker
from edge_agent.pipeline.rows import Sink
from edge_agent.pipeline.scans import ScanBuffer
from edge_agent.pipeline.signals import SignalWorker
from edge_agent.plants import Meter
from edge_agent.readings import Columns, Event, Sample, Scan, Waveform

if TYPE_CHECKING:
    from edge_agent.pipeline.buffers import SignalBuffer
    from edge_agent.pipeline.lines import Live
    from edge_agent.pipeline.potline import PotlineWorker
    from edge_agent.pipeline.rates import RateWorker

NS_PER_S = 10**9
FUTURE_NS = TOLERANCE_NS
Reading = Sample | Waveform | Scan
_NEVER_NS = 2**63 - 1
_Worker: TypeAlias = "PotlineWorker | SignalWorker | MeterWorker | RateWorker"
_Waiting: TypeAlias = "_Worker | ScanBuffer"
_LINES = "edge_agent.pipeline.lines"
_LINE_WORKER, _LIVE_LANES = Later(_LINES, "worker_of"), Later(_LINES, "live_lanes")
_LINE_ROUTES = Later(_LINES, "routes")
_RATE_WORKER = Later("edge_agent.pipeline.rates", "RateWorker")


@dataclass(frozen=True, slots=True)
class Produce:
    """What one step of the pipeline gives: pieces of rows, and events."""

    pieces: Sequence[Columns]
    events: Sequence[Event]


@dataclass(slots=True)
class _Memory:
    """What the pipeline itself remembers."""

    newest_ns: int = -1
    done_ns: int = -1
    future: int = 0
    held_bytes: int = 0
    flowing: dict[str, bool] = field(default_factory=dict)
    lived: Lived = field(default_factory=Lived)


class Pipeline:
    """Owns the calculation state; knows no device, disk, network or clock."""

    def __init__(self, config: AgentConfig, factors: FactorSet) -> None:
        self._made_of = (config, factors)
        self._lateness = Lateness(config)
        self.device_time = config.time.source == "device"
        self._max_rows = config.outbox.max_rows
        self.memory = _Memory()
        self._routes: dict[str, Callable[[Any], None]] = {}
        self._live: dict[str, Live] = {}
        offset_ns = hour_offset_ns(config.zone, 0)
        self._lines: dict[str, PotlineWorker] = {}
        self._meters: dict[str, MeterWorker | RateWorker] = {}
        self._signals: dict[str, SignalWorker] = {}
        self._scans = ScanBuffer()
        for line in config.potlines:
            worker: PotlineWorker = _LINE_WORKER(line, factors, offset_ns)
            self._lines[line.id] = worker
            self._live.update(_LIVE_LANES(worker))
            self._routes.update(_LINE_ROUTES(worker))
        self._line_tags = {key: tuple(worker.tags()) for key, worker in self._lines.items()}
        self._meter_tags = {meter.id: meter.tag for meter in config.meters}
        for meter in config.meters:
            self._meters[meter.id] = _meter_worker(config, meter, factors, offset_ns)
            self._routes[meter.tag] = self._meters[meter.id].add
        self._route_rest(config)
        self._hang_flags(config)

    def _route_rest(self, config: AgentConfig) -> None:
        known: dict[Rules, Rules] = {}  # most tags have the same
        for device in config.devices:
            for tag in device.tags:
                if tag.id not in self._routes:
                    rules = rules_of(tag, config.zone)
                    rules = known.setdefault(rules, rules)
                    self._signals[tag.id] = SignalWorker(
                        tag.id, rules, device.spacing_s(tag), tag.deadband
                    )

    def _hang_flags(self, config: AgentConfig) -> None:
        """Give workers the maintenance flags that their tags name."""
        flags: dict[str, Flag] = {}
        meter_of = {meter.tag: self._meters[meter.id] for meter in config.meters}
        for tag in (tag for device in config.devices for tag in device.tags):
            worker = meter_of.get(tag.id) or self._signals.get(tag.id)
            if tag.maintenance is not None and worker is not None:
                flag = flags.setdefault(tag.maintenance, Flag())
                self._signals[tag.maintenance].own_flag = flag
                worker.maintenance = flag
                flag.users.append(worker)
        # flags are known before what they judge is judged
        ordered = sorted(self._signals.items(), key=lambda item: item[1].own_flag is None)
        self._signals = dict(ordered)

    def feed(self, readings: Sequence[Reading], now_ns: int) -> Sequence[Event]:
        """Take readings; gives the events of the live lane, which are urgent.

        Args:
            readings: from the drivers, in any order.
            now_ns: the agent's UTC; with system time, readings beyond it are refused.
        """
        sink = Sink()
        limit = _NEVER_NS if self.device_time else now_ns + FUTURE_NS
        for reading in readings:
            end_ns = reading.time_ns
            if isinstance(reading, Waveform):
                end_ns += (len(reading) - 1) * reading.period_ns
            if end_ns > limit:
                self.memory.future += 1
            elif isinstance(reading, Scan):
                self.memory.newest_ns = max(self.memory.newest_ns, end_ns)
                self.memory.held_bytes += 8 * (1 + len(reading))
                self._scans.take(reading, self._signals, lambda one: self._take_one(one, sink))
            elif reading.tag in self._routes or reading.tag in self._signals:
                self.memory.newest_ns = max(self.memory.newest_ns, end_ns)
                self._take_one(reading, sink)
        return sink.events

    def _take_one(self, reading: Sample | Waveform, sink: Sink) -> None:
        """Give a reading to whom it belongs, and to the live lane of its pot."""
        signal = self._signals.get(reading.tag)
        route = self._routes.get(reading.tag) if signal is None else signal.add
        if route is not None:
            self.memory.held_bytes += (
                16 * len(reading) if isinstance(reading, Waveform) else SAMPLE_BYTES
            )
            route(reading)
            live = self._live.get(reading.tag)
            if live is not None and isinstance(reading, Sample):
                live.watch(reading, sink)

    def anew(self, start_ns: int) -> "Pipeline":
        """A pipeline without a state that accounts from this minute on [ns]; it knows what was."""
        fresh = Pipeline(*self._made_of)
        fresh.finish(start_ns)
        fresh.memory.newest_ns = start_ns
        fresh.memory.lived = self.memory.lived
        return fresh

    @property
    def held_bytes(self) -> int:
        """About how much memory the readings take that wait for their minute [bytes]."""
        return self.memory.held_bytes

    def _count_held(self) -> None:
        """Count anew what waits: after some of it was accounted for, or restored."""
        holders: list[Holder] = [self._scans, *self._lines.values()]
        holders += self._buffers().values()
        self.memory.held_bytes = sum(holder.held_bytes() for holder in holders)

    def due_ns(self, now_ns: int, settled_ns: int | None = None) -> int | None:
        """The whole minute up to which can be accounted now, if that is news.

        Args:
            now_ns: the agent's UTC [ns].
            settled_ns: a device is still telling what happened after this time [ns].
        """
        newest = self.memory.newest_ns if self.device_time else now_ns
        if self.memory.newest_ns < 0:
            return None
        limit = newest - self._lateness.usual_ns
        limit = limit if settled_ns is None else min(limit, settled_ns)
        boundary = limit // MINUTE_NS * MINUTE_NS
        island_ns = self.memory.lived.next_ns()
        boundary = boundary if island_ns is None else min(boundary, island_ns)
        return boundary if boundary > max(self.memory.done_ns, 0) else None

    def advance(self, until_ns: int, settled_ns: int | None = None) -> Produce:
        """Account for everything before a whole minute [ns].

        Who waits longer than ``time.lateness_s`` is accounted so much less far, who waits shorter
        so much farther, but not beyond ``settled_ns`` nor into time that was accounted before.
        """
        bounds = [at for at in (settled_ns, self.memory.lived.next_ns()) if at is not None]
        reach = Reach(until_ns, self._lateness.usual_ns, min(bounds, default=None))
        return self._account(reach, self._lateness.of)

    def finish(self, until_ns: int) -> Produce:
        """Account for everything before a whole minute [ns], whoever would have waited longer."""
        usual_ns = self._lateness.usual_ns
        return self._account(Reach(until_ns, usual_ns), lambda _tag: usual_ns)

    def _account(self, reach: Reach, wait_of: Callable[[str], int]) -> Produce:
        sink = Sink()
        workers = (*self._lines.values(), *self._signals.values(), *self._meters.values())
        start_ns = _start_ns(self.memory.done_ns, reach.until_ns, (self._scans, *workers))

        def account(worker: _Worker, tags: Iterable[str]) -> None:
            wait_ns = max(map(wait_of, tags), default=reach.usual_ns)
            span = reach.span(wait_ns, worker.done_ns, worker.first_ns())
            if span is not None:
                worker.process(span, sink)

        done = self._scans.advance(lambda tag: reach.end_ns(wait_of(tag)), self._signals, sink)
        for line in self._lines.values():
            account(line, self._line_tags[line.line.id])
        for tag, signal in self._signals.items():
            if tag not in done:
                account(signal, [tag])
        for meter_id, meter in self._meters.items():
            account(meter, [self._meter_tags[meter_id]])
        _tell_late(self._buffers(), self.memory, sink)
        self.memory.lived.reach(start_ns, reach.until_ns)
        self.memory.done_ns = reach.until_ns
        for live in self._live.values():
            live.detector.state.windows.clear()
        self._count_held()
        sink.events.sort(key=lambda event: int(event["t"]))
        return Produce(sink.rows.pieces(self._max_rows), _merge_gaps(sink.events))

    def _buffers(self) -> "dict[str, SignalBuffer | CountBuffer]":
        buffers: dict[str, SignalBuffer | CountBuffer] = {
            tag: worker.judged.buffer for tag, worker in self._signals.items() if worker.judged
        }
        for meter in self._meters.values():
            buffers[meter.meter_id] = meter.buffer
        for line in self._lines.values():
            buffers[f"{line.line.id}.current"] = line.current
            for pot_id, pot in line.pots.items():
                buffers[f"{line.line.id}.{pot_id}"] = pot.volts
        return buffers

    def dump(self) -> bytes:
        """The calculation state, to be stored in one transaction with the batches it led to."""
        memory = self.memory
        return cbor2.dumps(
            {
                "v": 1,
                "newest_ns": memory.newest_ns,
                "done_ns": memory.done_ns,
                "lived": memory.lived.dump(),
                "lines": {key: line.dump() for key, line in self._lines.items()},
                "meters": {key: meter.dump() for key, meter in self._meters.items()},
                "scans": self._scans.dump(),
                "signals": {key: item.dump() for key, item in self._signals.items()},
            }
        )

    def restore(self, state: bytes) -> None:
        """Go on from a stored state; lines and meters that are new start afresh."""
        plain = cbor2.loads(state)
        self.memory.newest_ns = plain["newest_ns"]
        self.memory.done_ns = plain["done_ns"]
        self.memory.lived = Lived.load(plain.get("lived"))
        self._scans.restore(plain.get("scans", []), self._signals)
        for key, saved in plain["lines"].items():
            if key in self._lines:
                self._lines[key].restore(saved)
                self._routes.update(_LINE_ROUTES(self._lines[key]))
        for key, saved in plain["meters"].items():
            if key in self._meters:
                self._meters[key].restore(saved)
        for key, saved in plain["signals"].items():
            if key in self._signals:
                self._signals[key].restore(saved)
        self._count_held()


def _meter_worker(
    config: AgentConfig, meter: Meter, factors: FactorSet, offset_ns: int
) -> "MeterWorker | RateWorker":
    """The worker of a meter: a totaliser's or a rate's."""
    tag = totaliser_of(config, meter.tag)
    told = amount_unit(tag.unit) in ("Nm3", "t")  # other units are brought to these by the month
    fuel = FuelFactors.of(factors, meter.fuel) if meter.fuel and told else None
    if is_rate(tag.unit):
        (device,) = [item for item in config.devices if tag in item.tags]
        rules, period_s = rules_of(tag, config.zone), device.spacing_s(tag)
        rated: RateWorker = _RATE_WORKER(meter, tag.unit, rules, period_s, (offset_ns, fuel))
        return rated
    rule = tag.totaliser
    limits = TotaliserRule(rule.modulus, rule.max_rate_per_h) if rule else TotaliserRule()
    worker = MeterWorker(meter.id, tag.unit, tag.scale, limits, fuel)
    until = meter.calibrated_until
    if until is None and tag.instrument is not None:
        until = tag.instrument.calibrated_until
    worker.lapses_ns = lapses_ns(until, config.zone)
    return worker


def _start_ns(done_ns: int, until_ns: int, waiting: Iterable[_Waiting]) -> int:
    """Where the time that is accounted now begins [ns]; the first one with the first reading."""
    if done_ns >= 0:
        return done_ns
    firsts = [at for one in waiting if (at := one.first_ns()) is not None]
    return min([*firsts, until_ns]) // MINUTE_NS * MINUTE_NS


def _tell_late(
    buffers: "Mapping[str, SignalBuffer | CountBuffer]", memory: _Memory, sink: Sink
) -> None:
    for tag, buffer in buffers.items():
        late = buffer.late
        if late.count:
            sink.event(late.first_ns, "late_samples", tag=tag, count=late.count, to=late.last_ns)
            late.count = 0
    if memory.future:
        told = {"tag": "*", "count": memory.future, "reason": "future"}
        sink.event(memory.newest_ns, "late_samples", **told)
        memory.future = 0


def _merge_gaps(events: list[Event]) -> list[Event]:
    """Equal gaps of several pots as one event that lists them."""
    merged: list[Event] = []
    open_gaps: dict[tuple[int, int, str], Event] = {}
    for event in events:
        if event["type"] != "gap":
            merged.append(event)
            continue
        key = (event["from"], event["to"], event["line"])
        if key in open_gaps:
            open_gaps[key]["pots"].append(event["pot"])
        else:
            pot = event.pop("pot")
            open_gaps[key] = {**event, "pots": [pot]}
            merged.append(open_gaps[key])
    return merged

"""One unit, polled block by block; rules 4 and 5 of the package."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Self

from edge_agent.clock import Clock
from edge_agent.drivers.base import (
    UNCERTAIN_CLOCK,
    Lines,
    Poll,
    Scaler,
    Tag,
    Value,
    is_plausible_time,
)
from edge_agent.drivers.blocks import Block, Cut, Item, plan, split
from edge_agent.drivers.decode import Words
from edge_agent.drivers.modbus import planning, values
from edge_agent.drivers.modbus.config import BIT_TABLES, ModbusConfig, check_same_line
from edge_agent.drivers.modbus.frames import Question
from edge_agent.drivers.modbus.line import Answer, Line, LineStats
from edge_agent.drivers.modbus.planning import CLOCK
from edge_agent.drivers.modbus.scans import BlockReader, prepare
from edge_agent.errors import DeviceError, Refused
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD, Quality, Sample, Scan

_NS = {"ns": 1, "ms": 1_000_000, "s": 1_000_000_000}
_ILLEGAL = (2, 3)  # exceptions that may be the merged request's fault: address, quantity
_log = logging.getLogger(__name__)
_MOST_PLANS = 64  # plans kept, one for each set of tags that was due together


class ModbusDriver:
    """One unit, polled block by block."""

    def __init__(self, config: ModbusConfig, clock: Clock) -> None:
        """Plan the requests; nothing is opened yet. Raises ConfigError for an impossible plan."""
        self._config = config
        self._clock = clock
        self._line = Line(config, clock)
        self._items = planning.items(config)
        self._limits = planning.limits(config)
        self._cuts: set[Cut] = set()
        self._plans: dict[frozenset[str] | None, tuple[Block, ...]] = {}
        self._lost: set[Item] = set()
        self._refused: set[Item] = set()
        self._bits: dict[str, Callable[[bytes, int], Value]] = {}
        self._words: dict[str, Callable[[Words, int], Value]] = {}
        self._tags = {tag.id: tag for tag in config.tags}
        self._scanners: dict[int, tuple[Block, BlockReader | None]] = {}
        planning.check_device(config)

    @property
    def stats(self) -> LineStats:
        """What happened on the line, to all its units together."""
        return self._line.stats

    def share(self, lines: Lines) -> None:
        """Use the line that all units of this host and port, or serial port, use.

        Raises ConfigError when another device sets that line differently.
        """
        self._line = lines.line(self._config.line_key, lambda: self._line)
        check_same_line(self._line.config, self._config)

    async def __aenter__(self) -> Self:
        """Join the line; it connects with the first question."""
        self._line.join()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Leave the line. What was learnt about the device's holes stays."""
        self._line.leave()

    def requests(self, due: Collection[str] | None = None) -> tuple[Block, ...]:
        """The requests that read the tags in ``due`` (None: all), as far as known holes allow."""
        key = None if due is None else frozenset(due)
        if key not in self._plans:
            wanted = [
                item for item in self._items if key is None or item.key in key or not item.key
            ]
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan(wanted, self._limits, self._cuts)
        return self._plans[key]

    async def read(self, due: Collection[str] | None = None) -> Sequence[Sample]:
        """One poll of the tags in ``due`` (None: all).

        Tags of a refused block come with None and BAD_DEVICE; when the unit falls silent
        half-way, the rest come with None and BAD_COMMS, and go last in the next poll. Raises
        DeviceError when nothing was answered.
        """
        return self._stamped(await self._poll(due, scanning=False))

    async def scan(self, due: Collection[str] | None = None) -> Sequence[Poll]:
        """The same poll; values of blocks of plain numbers come as scans."""
        scanning = self._config.clock_register is None
        poll = await self._poll(due, scanning=scanning)
        return [*poll.scans, *self._stamped(poll)]

    async def _poll(self, due: Collection[str] | None, *, scanning: bool) -> "_Poll":
        poll = _Poll(is_scanning=scanning)
        blocks = self.requests(due)
        if self._lost:
            blocks = tuple(sorted(blocks, key=lambda block: not self._lost.isdisjoint(block.items)))
        for block in blocks:
            await self._ask(block, poll, may_split=True)
        if poll.lost is not None and not poll.is_answered:
            raise poll.lost
        return poll

    async def _ask(self, block: Block, poll: "_Poll", *, may_split: bool) -> None:
        if poll.lost is not None:
            self._add_bad(block, BAD_COMMS, poll)
            return
        config = self._config
        try:
            answer = await self._line.ask(config, Question.of(config.unit, block))
            self._add_values(block, answer, poll)
            if self._lost or self._refused:
                self._lost.difference_update(block.items)
                self._refused.difference_update(block.items)
        except Refused as refusal:
            poll.is_answered = True
            parts = self._cut(block, refusal)
            if may_split and parts:
                for part in parts:
                    await self._ask(part, poll, may_split=False)
            else:
                self._add_bad(block, BAD_DEVICE, poll)
        except DeviceError as error:
            poll.lost = error
            if not self._lost.issuperset(block.items):
                self._warn("block_unanswered", block, error)
            self._lost = set(block.items)
            self._add_bad(block, BAD_COMMS, poll)

    def _cut(self, block: Block, refusal: Refused) -> tuple[Block, ...]:
        """The parts to ask for instead of a refused block; remembered, and said once."""
        cut = split(block) if refusal.code in _ILLEGAL else None
        if cut is None:
            if not self._refused.issuperset(block.items):
                self._warn("block_refused", block, refusal)
            self._refused.update(block.items)
            return ()
        self._cuts.add(cut)
        self._plans.clear()
        return plan(block.items, self._limits, (cut,))

    def _warn(self, event: str, block: Block, error: DeviceError) -> None:
        span = f"{block.table} {block.address} to {block.address + block.count - 1}"
        fields = {"device": self._config.id, "registers": span, "why": str(error)}
        _log.warning("%s %s", event, fields)

    def _add_values(self, block: Block, answer: Answer, poll: "_Poll") -> None:
        poll.is_answered = True
        if poll.is_scanning and (scan := self._scanned(block, answer)) is not None:
            poll.scans.append(scan)
            return
        words = None if block.table in BIT_TABLES else Words(answer.values)
        for item in block.items:
            offset = item.address - block.address
            if words is None:
                value = self._bit_reader(item.key)(answer.values, offset)
            else:
                value = self._word_reader(item.key)(words, offset)
            if item.key == CLOCK:
                poll.device_clock = value
            else:
                quality = BAD_DEVICE if value is None else GOOD
                poll.found.append((item.key, answer.received_ns, value, quality))

    def _bit_reader(self, key: str) -> Callable[[bytes, int], Value]:
        """How one tag is read; made when it is first read alone: most are read in scans."""
        if key not in self._bits:
            self._bits[key] = values.bit_reader(self._tags[key])
        return self._bits[key]

    def _word_reader(self, key: str) -> Callable[[Words, int], Value]:
        if key not in self._words:
            self._words[key] = (
                _clock_reader(self._config)
                if key == CLOCK
                else values.reader(self._tags[key], self._config.order)
            )
        return self._words[key]

    def _scanned(self, block: Block, answer: Answer) -> Scan | None:
        known, reader = self._scanners.get(id(block), (None, None))  # its hash costs as a scan does
        if known is not block:
            if len(self._scanners) >= _MOST_PLANS:
                self._scanners.clear()
            reader = prepare(block, self._tags, self._config.order)
            self._scanners[id(block)] = block, reader
        values_ = reader.read(answer.values) if reader is not None else None
        return Scan(reader.tags, answer.received_ns, values_) if reader and values_ else None

    def _add_bad(self, block: Block, quality: Quality, poll: "_Poll") -> None:
        now_ns = self._clock.utc_ns()
        poll.found += [
            (item.key, now_ns, None, quality) for item in block.items if item.key != CLOCK
        ]

    def _stamped(self, poll: "_Poll") -> list[Sample]:
        register = self._config.clock_register
        if register is None:
            return [Sample(*found) for found in poll.found]
        count = poll.device_clock
        device_ns = count * _NS[register.unit] if isinstance(count, int) else 0
        if is_plausible_time(device_ns):
            return [Sample(tag, device_ns, value, q) for tag, _, value, q in poll.found]
        return [
            Sample(tag, received_ns, value, UNCERTAIN_CLOCK if quality == GOOD else quality)
            for tag, received_ns, value, quality in poll.found
        ]


@dataclass(slots=True)
class _Poll:
    """What one poll has brought so far."""

    found: list[tuple[str, int, Value, Quality]] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    is_scanning: bool = False
    device_clock: Value = None
    lost: DeviceError | None = None
    is_answered: bool = False


def _clock_reader(config: ModbusConfig) -> Callable[[Words, int], Value]:
    register = config.clock_register
    assert register is not None  # noqa: S101  it was asked for
    kind, order, plain = register.type, register.order or config.order, Scaler(Tag(id="clock"))
    return lambda words, offset: plain(words.number(offset, kind, order))

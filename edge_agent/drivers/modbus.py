"""Modbus TCP, polled: configuration, the shared line, the driver.

1. One line (host and port) carries one request at a time, whatever units share it.
2. An answer counts only with the transaction id, unit, function and length of its question.
3. After a time-out, a cancelled question or an answer that does not match, the connection is
   dropped, and transaction ids go on where they were: a late answer, even one that a serial
   gateway sends into the new connection, is never taken for the next question's.
4. An exception answer costs the block it answers, nothing else; a merged block that the device
   calls illegal is read in halves from the next poll on.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from edge_agent.clock import Clock
from edge_agent.drivers.base import (
    UNCERTAIN_CLOCK,
    DeviceConfig,
    Lines,
    Scaler,
    Seconds,
    Tag,
    Value,
    is_plausible_time,
)
from edge_agent.drivers.blocks import Block, Item, Limits, halves, plan
from edge_agent.drivers.decode import Kind, Order, Words, width
from edge_agent.errors import BadAnswer, DeviceError, NoAnswer, Refused
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD, Quality, Sample

Table = Literal["holding", "input", "coil", "discrete"]
_BIT_TABLES = ("coil", "discrete")
_BITS_A_REGISTER = 16
_NS = {"ns": 1, "ms": 1_000_000, "s": 1_000_000_000}
_ILLEGAL = (2, 3)  # exceptions that may be the merged request's fault: address, quantity
_UNIT_IS_SILENT = (10, 11)  # a gateway's word for a unit behind it that does not answer
_REQUESTS: dict[str, type[ModbusPDU]] = {
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
}
_CLOCK = ""  # key of the clock register in the plan; no tag id is empty

Address = Annotated[int, Field(ge=0, le=65535)]


class ModbusTag(Tag):
    """One value in one table; ``order`` overrides the device's."""

    table: Table = "holding"
    address: Address
    type: Kind
    order: Order | None = None

    @property
    def width(self) -> int:
        """Number of addresses the value takes."""
        return width(self.type)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.table in _BIT_TABLES and self.type != "bool":
            raise ValueError(f"a {self.table} has type bool, not {self.type}")
        if self.address + self.width > 65536:
            raise ValueError(f"{self.type} at {self.address} reaches beyond address 65535")
        if self.totaliser is not None and self.type.startswith(("float", "bool")):
            raise ValueError(f"a totaliser counts in an integer type, not {self.type}")
        return self


class ClockRegister(BaseModel):
    """Where a device keeps its own UTC, as an int64 count of ``unit`` since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[int, Field(ge=0, le=65532)]
    type: Literal["int64"] = "int64"
    unit: Literal["ns", "ms", "s"] = "ns"
    table: Literal["holding", "input"] = "holding"
    order: Order | None = None


class ModbusConfig(DeviceConfig):
    """One unit on a Modbus TCP line.

    Args:
        interval_s: time from one poll to the next [s].
        max_registers: most registers a request may ask for (16 times as many coils).
        max_gap: most unwanted registers a request may read along (16 times as many coils).
        clock_register: when set, its time stamps all samples of a poll.
    """

    driver: Literal["modbus"]
    host: str = Field(min_length=1)
    port: int = Field(default=502, ge=1, le=65535)
    unit: int = Field(ge=1, le=247)
    interval_s: Seconds
    order: Order = "ABCD"
    max_registers: int = Field(default=125, ge=4, le=125)
    max_gap: int = Field(default=8, ge=0, le=121)
    clock_register: ClockRegister | None = None
    tags: tuple[ModbusTag, ...]


class Line:
    """The one owner of a TCP connection: connects when needed, one request at a time."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        """Take the address; nothing is opened before the first question."""
        self._host, self._port = host, port
        self._clock = clock
        self._lock = asyncio.Lock()
        self._client: AsyncModbusTcpClient | None = None
        self._users = 0
        self._failed_ns = -1
        self._last_id = 0

    def join(self) -> None:
        """Count one more user."""
        self._users += 1

    def leave(self) -> None:
        """Count one user less; the last one closes the connection."""
        self._users -= 1
        if not self._users:
            self._drop()

    async def ask(self, unit: int, block: Block, timeout_s: float) -> tuple[ModbusPDU, int]:
        """The answer to one request, checked against it, and the UTC it arrived at [ns].

        Raises NoAnswer, BadAnswer or Refused.
        """
        asked_ns = self._clock.monotonic_ns()
        async with self._lock:
            client = await self._connected(asked_ns, timeout_s)
            request = _REQUESTS[block.table](address=block.address, count=block.count, dev_id=unit)
            try:
                answer = await self._execute(client, request, timeout_s)
                received_ns = self._clock.utc_ns()
                _check_match(request, answer)
            except BaseException:
                self._drop()  # rule 3
                raise
        _check_accepted(answer, unit)
        return answer, received_ns

    async def _execute(
        self, client: AsyncModbusTcpClient, request: ModbusPDU, timeout_s: float
    ) -> ModbusPDU:
        try:
            async with asyncio.timeout(timeout_s):
                answer: ModbusPDU = await client.execute(
                    no_response_expected=False, request=request
                )
        except TimeoutError as error:
            raise NoAnswer(f"unit {request.dev_id}: no answer in {timeout_s:g} s") from error
        except (ModbusException, OSError) as error:
            raise NoAnswer(f"unit {request.dev_id}: {error}") from error
        return answer

    async def _connected(self, asked_ns: int, timeout_s: float) -> AsyncModbusTcpClient:
        if self._client is not None and self._client.connected:
            return self._client
        if self._failed_ns >= asked_ns:  # failed while this question waited: no second time-out
            raise NoAnswer(f"{self._host}:{self._port} cannot be connected")
        self._drop()
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            name=f"{self._host}:{self._port}",
            reconnect_delay=0,
            retries=0,
            timeout=2 * timeout_s + 60,  # the limit that counts is asyncio.timeout's
            trace_connect=self._connection_changed,
        )
        try:
            async with asyncio.timeout(timeout_s):
                is_connected = await client.connect()
        except TimeoutError:
            is_connected = False
        if not is_connected:
            client.close()
            self._failed_ns = self._clock.monotonic_ns()
            raise NoAnswer(f"{self._host}:{self._port} cannot be connected")
        client.ctx.next_tid = self._last_id  # the library begins at 0 with every connection
        self._client = client
        return client

    def _connection_changed(self, connected: bool) -> None:  # noqa: FBT001 (pymodbus's signature)
        if connected or self._client is None:
            return
        waiting = self._client.ctx.response_future
        if not waiting.done():  # else the question would wait for its whole time-out
            waiting.set_exception(ConnectionResetError("connection closed by the peer"))
            waiting.exception()  # seen, should nobody be waiting

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._last_id = client.ctx.next_tid
            client.close()


class ModbusDriver:
    """One unit, polled block by block."""

    def __init__(self, config: ModbusConfig, clock: Clock) -> None:
        """Plan the requests; nothing is opened yet. Raises ConfigError for an impossible plan."""
        self._config = config
        self._clock = clock
        self._line = Line(config.host, config.port, clock)
        self._decoding = _decoding(config)
        self._plan = _plan(config)
        self._blocks = self._plan

    def share(self, lines: Lines) -> None:
        """Use the line that all units of this host and port use."""
        config = self._config
        key = ("modbus", config.host.lower(), config.port)
        self._line = lines.line(key, lambda: self._line)

    async def __aenter__(self) -> Self:
        """Join the line; it connects with the first question."""
        self._line.join()
        self._blocks = self._plan
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Leave the line."""
        self._line.leave()

    async def read(self, due: Collection[str] | None = None) -> Sequence[Sample]:
        """One poll of the tags in ``due`` (None: of all), in the plan's order.

        Blocks that hold no due tag are left alone; the clock register is read with every poll.

        Tags of a refused block come with None and BAD_DEVICE; when the unit falls silent
        half-way, the rest come with None and BAD_COMMS. Raises DeviceError when nothing was
        answered.
        """
        poll = _Poll()
        for block in self._blocks:
            if not _is_wanted(block, due):
                poll.blocks.append(block)
            elif poll.lost is None:
                await self._ask(block, poll)
            else:
                poll.blocks.append(block)
                self._add_bad(block, BAD_COMMS, poll)
        self._blocks = tuple(poll.blocks)
        if poll.lost is not None and not poll.is_answered:
            raise poll.lost
        samples = self._stamped(poll)
        return samples if due is None else [item for item in samples if item.tag in due]

    async def _ask(self, block: Block, poll: "_Poll") -> None:
        config = self._config
        parts: tuple[Block, ...] = (block,)
        try:
            answer, received_ns = await self._line.ask(config.unit, block, config.timeout_s)
            self._add_values(block, answer, received_ns, poll)
            poll.is_answered = True
        except Refused as refusal:
            poll.is_answered = True
            parts = halves(block) if refusal.code in _ILLEGAL else parts  # rule 4
            self._add_bad(block, BAD_DEVICE, poll)
        except DeviceError as error:
            poll.lost = error
            self._add_bad(block, BAD_COMMS, poll)
        poll.blocks += parts

    def _add_values(self, block: Block, answer: ModbusPDU, received_ns: int, poll: "_Poll") -> None:
        words = None if block.table in _BIT_TABLES else Words(answer.registers)
        for item in block.items:
            offset = item.address - block.address
            kind, order, scaler = self._decoding[item.key]
            raw = int(answer.bits[offset]) if words is None else words.number(offset, kind, order)
            value = scaler(raw)
            if item.key == _CLOCK:
                poll.device_clock = value
            else:
                quality = BAD_DEVICE if value is None else GOOD
                poll.found.append((item.key, received_ns, value, quality))

    def _add_bad(self, block: Block, quality: Quality, poll: "_Poll") -> None:
        now_ns = self._clock.utc_ns()
        poll.found += [
            (item.key, now_ns, None, quality) for item in block.items if item.key != _CLOCK
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
    """What one poll has brought so far, and the blocks for the next."""

    found: list[tuple[str, int, Value, Quality]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    device_clock: Value = None
    lost: DeviceError | None = None
    is_answered: bool = False


def _plan(config: ModbusConfig) -> tuple[Block, ...]:
    items = [Item(tag.id, tag.table, tag.address, tag.width) for tag in config.tags]
    if (register := config.clock_register) is not None:
        items.append(Item(_CLOCK, register.table, register.address, width(register.type)))
    words = Limits(config.max_registers, config.max_gap)
    bits = Limits(words.max_span * _BITS_A_REGISTER, words.max_gap * _BITS_A_REGISTER)
    return plan(items, {table: bits if table in _BIT_TABLES else words for table in _REQUESTS})


def _decoding(config: ModbusConfig) -> dict[str, tuple[Kind, Order, Scaler]]:
    table: dict[str, tuple[Kind, Order, Scaler]] = {
        tag.id: (tag.type, tag.order or config.order, Scaler(tag)) for tag in config.tags
    }
    if (register := config.clock_register) is not None:
        plain = Scaler(Tag(id="clock"))
        table[_CLOCK] = (register.type, register.order or config.order, plain)
    return table


def _is_wanted(block: Block, due: Collection[str] | None) -> bool:
    return due is None or any(item.key in due or item.key == _CLOCK for item in block.items)


def _check_match(request: ModbusPDU, answer: ModbusPDU) -> None:
    """Rule 2; raises BadAnswer."""
    for what, asked, given in (
        ("transaction id", request.transaction_id, answer.transaction_id),
        ("unit", request.dev_id, answer.dev_id),
        ("function", request.function_code, answer.function_code & 0x7F),
    ):
        if asked != given:
            raise BadAnswer(f"{what} {given} answers {what} {asked}")
    if answer.isError():
        return
    is_bits = isinstance(request, ReadCoilsRequest)
    wanted = -(-request.count // 8) * 8 if is_bits else request.count
    given = len(answer.bits) if is_bits else len(answer.registers)
    if given != wanted:
        raise BadAnswer(f"{given} values answer a question for {request.count}")


def _check_accepted(answer: ModbusPDU, unit: int) -> None:
    """Raise Refused for an exception answer, NoAnswer when a gateway speaks for a silent unit."""
    if not answer.isError():
        return
    code = answer.exception_code
    if code in _UNIT_IS_SILENT:
        raise NoAnswer(f"unit {unit}: the gateway cannot reach it (exception {code})")
    raise Refused(f"unit {unit}: exception {code}", code=code)

"""One DL/T 645 line: a serial port or a transparent TCP gateway, one question at a time.

1. One owner a line, whatever meters share it; the serial port is opened exclusively.
2. An answer counts only with the address, the function and the data id of its question. The
   protocol has no transaction id, so
3. after a time-out the line is listened to until it has been silent for ``settle_s``, the longest
   time a meter may take to begin its answer, before anybody may ask again; a TCP connection is
   dropped as well. A late answer is heard then and thrown away.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import serial

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.dlt645_frames import (
    ANSWER,
    FAILED,
    MORE,
    READ,
    READ_ADDRESS,
    READ_MORE,
    WAKE,
    WILDCARD,
    Deframer,
    Frame,
    data_id_bytes,
    encode,
    error_text,
)
from edge_agent.errors import BadAnswer, ConfigError, NoAnswer, Refused

_MAX_PARTS = 16  # follow-up frames of one answer
_READ_SIZE = 4096
Parity = Literal["none", "even", "odd"]


@dataclass(frozen=True, slots=True)
class Serial:
    """A serial port and how its bytes look."""

    path: str
    baud: int
    parity: Parity

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Tcp:
    """A transparent gateway (DTU)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Wire(Protocol):
    """An open connection."""

    reader: asyncio.StreamReader

    def write(self, raw: bytes) -> None:
        """Send; raises OSError."""
        ...

    def close(self) -> None:
        """Close; raises nothing."""
        ...


class Line:
    """The owner of one line."""

    def __init__(self, end: Serial | Tcp, clock: Clock, *, gap_s: float, settle_s: float) -> None:
        """Take the end to open; nothing is opened before the first question."""
        self.end = end
        self._clock = clock
        self._gap_s, self._settle_s = gap_s, settle_s
        self._lock = asyncio.Lock()
        self._wire: Wire | None = None
        self._addresses: list[str] = []
        self._users = 0
        self._failed_ns = -1
        self._is_suspect = False

    def add(self, address: str, end: Serial | Tcp, device: str) -> None:
        """Note a meter of this line.

        Raises ConfigError: two meters disagree about the port, or one of several has a wildcard.
        """
        self._addresses.append(address)
        if end != self.end:
            raise ConfigError(
                f"device {device!r} opens {end} otherwise than the device before it",
                right="one baud and one parity for all meters of a port",
            )
        if len(self._addresses) > 1 and WILDCARD in self._addresses:
            raise ConfigError(
                f"device {device!r}: every meter of {end} would answer to {WILDCARD}",
                right="the twelve digits on each meter, as there are several",
            )

    def slow_down(self, gap_s: float, settle_s: float) -> None:
        """Be at least this patient: the slowest meter sets the pace of a line."""
        self._gap_s = max(self._gap_s, gap_s)
        self._settle_s = max(self._settle_s, settle_s)

    def join(self) -> None:
        """Count one more user."""
        self._users += 1

    def leave(self) -> None:
        """Count one user less; the last one closes the line."""
        self._users -= 1
        if not self._users:
            self._drop()

    async def read(self, address: str, data_id: int, timeout_s: float) -> tuple[bytes, int]:
        """The data behind a data id, follow-up frames joined, and when they had arrived [ns UTC].

        Raises NoAnswer, BadAnswer or Refused.
        """
        asked_ns = self._clock.monotonic_ns()
        name = data_id_bytes(data_id)
        async with self._question(asked_ns, timeout_s) as wire:
            answer = await self._ask(wire, Frame(address, READ, name), timeout_s)
            data, part = answer.data[4:], 0
            while answer.control & MORE:
                part += 1
                if part > _MAX_PARTS:
                    raise BadAnswer(f"meter {address}: more than {_MAX_PARTS} follow-up frames")
                question = Frame(address, READ_MORE, name + bytes((part,)))
                answer = await self._ask(wire, question, timeout_s)
                data += answer.data[4:-1]
            return data, self._clock.utc_ns()

    async def read_address(self, timeout_s: float) -> str:
        """The address of the only meter on the line. Raises NoAnswer, BadAnswer or Refused."""
        asked_ns = self._clock.monotonic_ns()
        async with self._question(asked_ns, timeout_s) as wire:
            answer = await self._ask(wire, Frame(WILDCARD, READ_ADDRESS), timeout_s)
        address = answer.data[::-1].hex()
        if len(address) != 12 or not address.isdecimal() or address != answer.address:
            raise BadAnswer(f"meter {answer.address} says that its address is {address!r}")
        return address

    @contextlib.asynccontextmanager
    async def _question(self, asked_ns: int, timeout_s: float) -> AsyncIterator[Wire]:
        async with self._lock:
            wire = await self._connected(asked_ns, timeout_s)
            is_clean = False
            try:
                await self._settle(wire)
                yield wire
                is_clean = True
            except Refused:
                is_clean = True
                raise
            except OSError as error:
                self._drop()
                raise NoAnswer(f"{self.end}: {error}") from error
            finally:
                if not is_clean:  # a cancelled question may be answered late, too
                    self._is_suspect = True
                    if isinstance(self.end, Tcp):
                        self._drop()
                await self._clock.sleep(self._gap_s)

    async def _ask(self, wire: Wire, question: Frame, timeout_s: float) -> Frame:
        """Send, and wait for the frame that answers; frames of anybody else are passed over."""
        frames = Deframer()
        heard = 0
        try:
            wire.write(WAKE + encode(question))
            async with asyncio.timeout(timeout_s):
                while piece := await wire.reader.read(_READ_SIZE):
                    for frame in frames.feed(piece):
                        heard += 1
                        if _answers(question, frame):
                            return _accepted(question, frame)
        except TimeoutError:
            others = f" ({heard} frames were not its answer)" if heard else ""
            message = f"meter {question.address}: no answer in {timeout_s:g} s{others}"
            raise NoAnswer(message) from None
        self._drop()
        raise NoAnswer(f"{self.end}: connection closed")

    async def _settle(self, wire: Wire) -> None:
        """Rule 3; and what arrived unasked is thrown away."""
        wait_s = self._settle_s if self._is_suspect else 0.0
        limit_ns = self._clock.monotonic_ns() + round(10 * self._settle_s * NS_PER_S)
        while True:
            try:
                async with asyncio.timeout(max(wait_s, 0.001)):
                    if not await wire.reader.read(_READ_SIZE):
                        self._drop()
                        raise NoAnswer(f"{self.end}: connection closed")
            except TimeoutError:
                break
            if self._clock.monotonic_ns() > limit_ns:
                raise NoAnswer(f"{self.end}: somebody is talking without end")
        self._is_suspect = False

    async def _connected(self, asked_ns: int, timeout_s: float) -> Wire:
        if self._wire is not None and not self._wire.reader.at_eof():
            return self._wire
        if self._failed_ns >= asked_ns:  # failed while this question waited: no second time-out
            raise NoAnswer(f"{self.end} cannot be opened")
        self._drop()
        try:
            async with asyncio.timeout(timeout_s):
                self._wire = await _open(self.end)
        except (OSError, TimeoutError) as error:
            self._failed_ns = self._clock.monotonic_ns()
            raise NoAnswer(f"{self.end} cannot be opened: {error!r}") from error
        return self._wire

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def _answers(question: Frame, frame: Frame) -> bool:
    """Rule 2: address, function and, where there is one, data id and part number."""
    if question.address not in (frame.address, WILDCARD):
        return False
    if frame.control & ~(FAILED | MORE) != question.control | ANSWER:
        return False
    if frame.control & FAILED or question.control == READ_ADDRESS:
        return True
    if frame.data[:4] != question.data[:4]:
        return False
    is_part = question.control == READ_MORE
    return not is_part or (len(frame.data) > 4 and frame.data[-1] == question.data[4])


def _accepted(question: Frame, frame: Frame) -> Frame:
    if frame.control & FAILED:
        text = error_text(frame.data)
        raise Refused(f"meter {question.address}: {text}", code=frame.data[0])
    return frame


async def _open(end: Serial | Tcp) -> Wire:
    if isinstance(end, Tcp):
        return _TcpWire(*await asyncio.open_connection(end.host, end.port))
    return _SerialWire(end)


class _TcpWire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    def write(self, raw: bytes) -> None:
        self._writer.write(raw)  # a question is shorter than any buffer on its way

    def close(self) -> None:
        self._writer.transport.abort()


class _SerialWire:
    """A serial port driven by the event loop."""

    def __init__(self, end: Serial) -> None:
        """Open it. Raises OSError (pyserial's errors are such)."""
        names = {"none": serial.PARITY_NONE, "even": serial.PARITY_EVEN, "odd": serial.PARITY_ODD}
        self._port = serial.Serial(
            end.path, end.baud, parity=names[end.parity], timeout=0, exclusive=True
        )
        self._fd: int = self._port.fileno()
        self.reader = asyncio.StreamReader()
        asyncio.get_running_loop().add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        _feed(self.reader, lambda: os.read(self._fd, _READ_SIZE), self._unplugged)

    def _unplugged(self) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)

    def write(self, raw: bytes) -> None:
        if os.write(self._fd, raw) != len(raw):
            raise OSError("the port takes no more bytes")

    def close(self) -> None:
        if self._port.is_open:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._port.close()


def _feed(
    reader: asyncio.StreamReader, read: Callable[[], bytes], ended: Callable[[], None]
) -> None:
    try:
        piece = read()
    except BlockingIOError:
        return
    except OSError as error:  # EIO: the adapter was pulled out
        ended()
        reader.set_exception(error)
        return
    if piece:
        reader.feed_data(piece)
    else:
        ended()
        reader.feed_eof()

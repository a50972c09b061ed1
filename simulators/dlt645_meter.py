"""DL/T 645-2007 meters on one line, over TCP or a serial port, with the faults of real lines.

    line = MeterLine({"000000000061": {0x00010000: bytes.fromhex("56341200")}})
    async with line.tcp(0): ...          # line.port
    async with line.serial("/dev/ttyX"): ...

The values are the bytes as they travel (lowest first), without the 0x33. An answer longer than
``max_answer`` goes out in follow-up frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

HOST = "127.0.0.1"
_SHIFT = 0x33


def pack(address: str, control: int, data: bytes) -> bytes:
    """A frame with checksum."""
    low_first = bytes(int(address[place : place + 2], 16) for place in (10, 8, 6, 4, 2, 0))
    frame = b"\x68" + low_first + b"\x68" + bytes([control, len(data)])
    frame += bytes((byte + _SHIFT) % 256 for byte in data)
    return frame + bytes([sum(frame) % 256]) + b"\x16"


def unpack(line: bytes) -> tuple[str, int, bytes, int] | None:
    """First whole frame in the bytes: address, control, data, and where it ends."""
    for start, byte in enumerate(line):
        frame = line[start:]
        if byte != 0x68 or len(frame) < 12 or frame[7] != 0x68:
            continue
        end = 12 + frame[9]
        if (
            len(frame) < end
            or frame[end - 1] != 0x16
            or sum(frame[: end - 2]) % 256 != frame[end - 2]
        ):
            continue
        address = "".join(f"{part:02X}" for part in reversed(frame[1:7]))
        data = bytes((part - _SHIFT) % 256 for part in frame[10 : end - 2])
        return address, frame[8], data, start + end
    return None


class MeterLine:
    """Some meters that hear everything on their line.

    Attributes:
        meters: by address, what each knows by data id.
        silent: addresses that do not answer.
        delay_s: how long an answer takes, by address [s].
        mangle: changes each frame before it goes out; None sends nothing.
        asked: the questions heard, as address, control and data.
        clash: set when a question came before the answer to the last was out.
    """

    def __init__(self, meters: Mapping[str, Mapping[int, bytes]], *, max_answer: int = 180) -> None:
        self.meters = {address: dict(values) for address, values in meters.items()}
        self.max_answer = max_answer
        self.silent: set[str] = set()
        self.delay_s: dict[str, float] = {}
        self.mangle: Callable[[bytes], bytes | None] = lambda frame: frame
        self.asked: list[tuple[str, int, bytes]] = []
        self.clash = False
        self.port = 0
        self._answering = 0

    @contextlib.asynccontextmanager
    async def tcp(self, port: int = 0) -> AsyncIterator[None]:
        """Be a transparent TCP gateway; a slow answer goes to whoever is connected then."""
        writers: list[asyncio.StreamWriter] = []

        def send(frame: bytes) -> None:
            writers[-1].write(frame)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            heard = b""
            try:
                while piece := await reader.read(4096):
                    heard = self._hear(heard + piece, send)
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, HOST, port)
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            yield
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()

    @contextlib.asynccontextmanager
    async def serial(self, path: str) -> AsyncIterator[None]:
        """Sit at a serial port (or one end of a pty pair)."""
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(fd)
        heard = b""

        def readable() -> None:
            nonlocal heard
            heard = self._hear(heard + os.read(fd, 4096), lambda frame: os.write(fd, frame))

        loop = asyncio.get_running_loop()
        loop.add_reader(fd, readable)
        try:
            yield
        finally:
            loop.remove_reader(fd)
            os.close(fd)

    def _hear(self, heard: bytes, send: Callable[[bytes], object]) -> bytes:
        while (question := unpack(heard)) is not None:
            address, control, data, end = question
            heard = heard[end:]
            self.asked.append((address, control, data))
            for meter in self.meters:
                if meter in self.silent or address not in (meter, "AAAAAAAAAAAA"):
                    continue
                self.clash = self.clash or self._answering > 0
                self._answering += 1
                asyncio.get_running_loop().call_later(
                    self.delay_s.get(meter, 0.0),
                    self._send,
                    send,
                    self._answer(meter, control, data),
                )
        return heard[-300:]

    def _send(self, send: Callable[[bytes], object], frame: bytes) -> None:
        self._answering -= 1
        changed = self.mangle(frame)
        if changed is not None:
            with contextlib.suppress(OSError):
                send(changed)

    def _answer(self, meter: str, control: int, data: bytes) -> bytes:
        if control == 0x13:
            return pack(meter, 0x93, bytes.fromhex(meter)[::-1])
        known = self.meters[meter].get(int.from_bytes(data[:4], "little"))
        if known is None:
            return pack(meter, control | 0xC0, b"\x02")
        part = data[4] if control == 0x12 else 0
        piece = known[part * self.max_answer : (part + 1) * self.max_answer]
        more = 0x20 if len(known) > (part + 1) * self.max_answer else 0
        number = bytes([part]) if control == 0x12 else b""
        return pack(meter, control | 0x80 | more, data[:4] + piece + number)

"""Many Modbus TCP lines from one process, fast enough not to be what a benchmark measures.

Every line is a port behind which units 1..n are heard; silent units take requests and say nothing.
Only holding registers. Register ``a`` of unit ``u`` on line ``l`` holds (l * 7919 + u * 257 + a)
modulo 65536, and with ``--moving`` that plus the whole seconds since the start. Prints one line of
JSON with the ports when it listens, and ends with its standard input or by a signal.

    python -m simulators.fast_modbus --lines 10 --units 20 --silent 5
"""

import argparse
import asyncio
import json
import struct
import sys
import time
from collections.abc import Sequence

_REQUEST = struct.Struct(">HHHBBHH")
_HEAD = struct.Struct(">HHHBBB")
_READ_HOLDING = 3
_MOST = 125


class Line(asyncio.Protocol):
    """One connection of one line."""

    def __init__(self, number: int, silent_from: int, counter: "Counter") -> None:
        self._number = number
        self._silent_from = silent_from
        self._counter = counter
        self._buffer = b""
        self._bodies: dict[tuple[int, int, int, int], bytes] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a TCP server's transport
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        data = self._buffer + data
        answers = []
        while len(data) >= _REQUEST.size:
            answers.append(self._answer(*_REQUEST.unpack_from(data)))
            data = data[_REQUEST.size :]
        self._buffer = data
        if self._transport is not None:
            self._transport.write(b"".join(answers))

    def _answer(self, *request: int) -> bytes:
        transaction, _, _, unit, function, address, count = request
        self._counter.requests += 1
        if unit >= self._silent_from:
            return b""
        if function != _READ_HOLDING or not 1 <= count <= _MOST:
            return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, 1)
        self._counter.registers += count
        key = (unit, address, count, self._counter.shift())
        body = self._bodies.get(key)
        if body is None:
            self._bodies = {
                known: kept for known, kept in self._bodies.items() if known[3] == key[3]
            }
            first = self._number * 7919 + unit * 257 + address + key[3]
            values = [(first + place) & 0xFFFF for place in range(count)]
            body = self._bodies[key] = struct.pack(f">{count}H", *values)
        return _HEAD.pack(transaction, 0, 3 + 2 * count, unit, function, 2 * count) + body


class Counter:
    """What was asked so far."""

    def __init__(self, *, moving: bool) -> None:
        self._start = time.monotonic()
        self._moving = moving
        self.requests = self.registers = 0

    def shift(self) -> int:
        """What is added to every register now."""
        return int(time.monotonic() - self._start) if self._moving else 0


async def serve(args: argparse.Namespace) -> None:
    """Listen until standard input ends; answers each line of it with what was asked so far."""
    loop = asyncio.get_running_loop()
    counter = Counter(moving=args.moving)
    ports = []
    for number in range(args.lines):

        def line(number: int = number) -> Line:
            return Line(number, 1 + args.units - args.silent, counter)

        server = await loop.create_server(
            line, "127.0.0.1", args.first_port and args.first_port + number
        )
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps({"ports": ports}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        told = {"requests": counter.requests, "registers": counter.registers}
        print(json.dumps(told), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1)
    parser.add_argument("--units", type=int, default=1, help="units on each line")
    parser.add_argument("--silent", type=int, default=0, help="how many of them never answer")
    parser.add_argument("--first-port", type=int, default=0, help="0: any free ports")
    parser.add_argument("--moving", action="store_true", help="values rise by one each second")
    asyncio.run(serve(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

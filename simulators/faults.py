"""A TCP link that can be cut, slowed and silenced, to stand between a client and a server in tests.

async with FaultyLink(0, ("127.0.0.1", 502)) as link:
    connect_to(link.port)
    link.cut()
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self

HOST = "127.0.0.1"
PIECE_BYTES = 65_536
TRICKLE_BYTES = 16


class FaultyLink:
    """TCP proxy on 127.0.0.1 with faults that can be switched while it runs.

    Args:
        listen_port: where it listens; 0 takes a free port, see ``port``.
        target: host and port it forwards to.

    Attributes:
        port: where it listens.
        delay_s: every piece of data waits this long in either direction [s].
        bytes_per_s: slows each direction to this rate [B/s]; None for full speed.
        swallow: half-open: connections stay, but all data vanishes and nothing is closed.
    """

    def __init__(self, listen_port: int, target: tuple[str, int]) -> None:
        self.port = listen_port
        self.target = target
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.swallow = False
        self._is_cut = False
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the port and all connections."""
        if self._server is not None:
            self._server.close()
        open_now = list(self._connections)
        self._drop_all()
        await asyncio.gather(*open_now, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    def cut(self) -> None:
        """Break all connections; new ones are broken at once until ``restore``."""
        self._is_cut = True
        self._drop_all()

    def restore(self) -> None:
        """End every fault; connections made from now on work."""
        self._is_cut = False
        self.swallow = False
        self.delay_s = 0.0
        self.bytes_per_s = None

    def _drop_all(self) -> None:
        for connection in self._connections:
            connection.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection as a task that ``cut`` can cancel."""
        if self._is_cut:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._forward(reader, writer), name="faulty-link")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        with suppress(asyncio.CancelledError, OSError):
            await task

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward both directions until one side closes."""
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            there = asyncio.create_task(self._pump(reader, far_writer))
            back = asyncio.create_task(self._pump(far_reader, writer))
            try:
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            writer.transport.abort()
            if far_writer is not None:
                far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one direction; a close is passed on once everything before it has arrived."""
        while piece := await reader.read(PIECE_BYTES):
            if self.delay_s > 0.0:
                await asyncio.sleep(self.delay_s)
            if not self.swallow:
                await self._send(piece, writer)
        if self.swallow:
            await asyncio.Event().wait()
        writer.close()
        await writer.wait_closed()

    async def _send(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        """Send, slowly if asked to."""
        while piece:
            size = len(piece) if self.bytes_per_s is None else TRICKLE_BYTES
            writer.write(piece[:size])
            await writer.drain()
            if self.bytes_per_s is not None:
                await asyncio.sleep(min(size, len(piece)) / self.bytes_per_s)
            piece = piece[size:]

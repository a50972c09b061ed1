"""A TCP proxy that does to MQTT what networks do: cut, slow, half-open, stall, reorder, repeat.

Every connection is taken apart into MQTT packets in both directions, so that a fault begins and
ends between two packets or, where it shall, in the middle of one.

    cut        connections end in the middle of a packet; new ones end at once
    slow       so many bytes a second in each direction
    half_open  connections are accepted and swallow everything, are never answered and never
               closed; such a connection stays dead after the fault, as behind a forgotten NAT entry
    stall      everything waits and then arrives at once
    shuffle    PUBLISH packets overtake each other
    double     PUBLISH packets come twice, the second time as MQTT marks it, or unmarked
"""

import asyncio
import contextlib
from dataclasses import dataclass, field

FAULTS = ("cut", "slow", "half_open", "stall", "shuffle", "double")
PASS = "pass"
PUBLISH, DUP = 3, 0x08
SLOW_BYTES_A_S = 20_000
HELD_PACKETS = 8
HELD_S = 0.2


async def read_packet(reader):
    """One whole MQTT packet.

    Raises:
        asyncio.IncompleteReadError: the stream ended.
    """
    head = await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            return head + await reader.readexactly(length)


def is_publish(packet):
    return packet[0] >> 4 == PUBLISH


@dataclass(eq=False)
class Connection:
    """One client's way to the broker; dead once a half-open fault has eaten of it."""

    writers: list = field(default_factory=list)
    dead: bool = False

    def abort(self):
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    """Stands on a port of its own in front of the broker; ``fault`` is what it does now."""

    def __init__(self, broker_port, rng, port=0):
        self.port = port
        self.hits = dict.fromkeys(FAULTS, 0)
        self._broker_port = broker_port
        self._rng = rng
        self._fault = PASS
        self._flows = asyncio.Event()
        self._flows.set()
        self._connections = set()
        self._tasks = set()

    @contextlib.asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    def set(self, fault):
        """From now on do this to all connections."""
        before, self._fault = self._fault, fault
        if fault == "stall":
            self._flows.clear()
        else:
            self._flows.set()
        if fault == "cut":
            for connection in tuple(self._connections):
                self.hits["cut"] += 1
                if before != "slow":  # a slow packet is torn already
                    self._tear(connection)
                connection.abort()

    def _tear(self, connection):
        """The beginning of a packet that never goes on."""
        for writer in connection.writers:
            if self._rng.random() < 0.5:
                with contextlib.suppress(OSError, RuntimeError):
                    writer.write(b"\x32\xff\x01torn")  # a PUBLISH that says it is longer

    async def _accept(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        connection = Connection([writer])
        self._connections.add(connection)
        try:
            if self._fault == "cut":
                self.hits["cut"] += 1
                return
            if self._fault == "half_open":
                connection.dead = True
                await self._swallow(reader)
                return
            await self._carry(connection, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _carry(self, connection, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        connection.writers.append(far_writer)
        ways = [
            asyncio.ensure_future(self._pump(connection, reader, far_writer)),
            asyncio.ensure_future(self._pump(connection, far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        if connection.dead:  # whoever waits on a dead connection must find out by himself
            await self._swallow(reader)

    async def _swallow(self, reader):
        while await reader.read(65_536):
            self.hits["half_open"] += 1

    async def _pump(self, connection, reader, writer):
        held = []
        while True:
            reading = asyncio.ensure_future(read_packet(reader))
            try:
                done, _ = await asyncio.wait([reading], timeout=HELD_S if held else None)
                if not done:
                    await self._flush(held, writer)
                packet = await reading
            finally:
                reading.cancel()
            if not self._flows.is_set():
                self.hits["stall"] += 1
                await self._flows.wait()
            if connection.dead or self._fault == "half_open":
                connection.dead = True
                return
            await self._pass(packet, held, writer)

    async def _pass(self, packet, held, writer):
        """Hand one packet on, as the fault wants it."""
        fault = self._fault
        if fault == "shuffle" and is_publish(packet):
            held.append(packet)
            if len(held) < HELD_PACKETS:
                return
            await self._flush(held, writer)
            return
        await self._flush(held, writer)
        if fault == "slow":
            self.hits["slow"] += 1
            for place in range(0, len(packet), 1_000):
                piece = packet[place : place + 1_000]
                writer.write(piece)
                await asyncio.sleep(len(piece) / SLOW_BYTES_A_S)
            return
        writer.write(packet)
        if fault == "double" and is_publish(packet):
            self.hits["double"] += 1
            flag = self._rng.choice((0, DUP))
            writer.write(bytes([packet[0] | flag]) + packet[1:])
        await writer.drain()

    async def _flush(self, held, writer):
        """Hand on what was held back, in another order than it came in."""
        if len(held) > 1:
            self.hits["shuffle"] += 1
            self._rng.shuffle(held)
        for packet in held:
            writer.write(packet)
        held.clear()
        await writer.drain()

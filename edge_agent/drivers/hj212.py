"""HJ 212 listener: CEMS data loggers (数采仪) connect and report.

1. Only a packet with a configured MN and its password is heard; anything else ends the connection.
2. A packet is acknowledged when its readings are durable in the agent's outbox, not when they
   arrived: while the agent is busy or stopped the logger keeps them and sends them again.
3. A packet that comes again (same MN, QN, CN and part, same bytes) is acknowledged and not delivered
   twice, also after a restart.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Self

from edge_agent.clock import Clock
from edge_agent.drivers.base import MARK_BYTES, REMEMBERED, Reading
from edge_agent.drivers.hj212_packets import (
    DATA_ANSWER,
    EXECUTED,
    NOTICE_ANSWER,
    REQUEST_ANSWER,
    Damaged,
    Packet,
    Splitter,
    answer,
    encode,
)
from edge_agent.drivers.hj212_values import Hj212Config, Reader
from edge_agent.errors import BadAnswer, ConfigError, NoAnswer

QUEUE_LIMIT = 1_000  # packets
_READ_SIZE = 4_096
_DAMAGED_LIMIT = 100  # damaged packets of one connection
_ANSWERS = (REQUEST_ANSWER, EXECUTED, NOTICE_ANSWER, DATA_ANSWER)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Delivery:
    """Readings on their way, and whom to answer when they are durable."""

    readings: list[Reading]
    packet: Packet
    key: bytes
    writer: asyncio.StreamWriter


class Hj212Driver:
    """One listening port."""

    def __init__(self, config: Hj212Config, clock: Clock) -> None:
        """Take the configuration; nothing is opened yet."""
        self._config = config
        self._clock = clock
        self._reader = Reader(config, clock)
        self._passwords: dict[str, bytes] = {}
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._queue: deque[_Delivery] = deque()
        self._arrived = asyncio.Event()
        self._unkept: deque[list[_Delivery]] = deque()
        self._waiting = self._kept = 0  # packets in _queue and _unkept; deliveries that are durable
        self._marks: list[bytes] = []
        self._known: OrderedDict[bytes, bool] = OrderedDict()  # packet to whether it is durable
        self._only_looks = False
        self.port = config.port
        self.dropped = 0

    def peek(self) -> None:
        """Acknowledge nothing: loggers keep what they sent."""
        self._only_looks = True

    async def __aenter__(self) -> Self:
        """Read the passwords and listen. Raises ConfigError or NoAnswer."""
        self._passwords = await asyncio.to_thread(_passwords, self._config)
        try:
            self._server = await asyncio.start_server(
                self._accept, self._config.host, self._config.port, limit=_READ_SIZE
            )
        except OSError as error:
            where = f"{self._config.host}:{self._config.port}"
            raise NoAnswer(f"cannot listen on {where}: {error}") from error
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the port and all connections; what was not delivered was not acknowledged either."""
        if self._server is not None:
            self._server.close()
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        self._waiting -= len(self._queue)
        while self._queue:
            self._known.pop(self._queue.popleft().key, None)

    async def samples(self) -> AsyncGenerator[Sequence[Reading], None]:
        """All that arrived since the last step; it is acknowledged by ``kept``."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                deliveries = list(self._queue)
                self._queue.clear()
                self._unkept.append(deliveries)
                self._marks = [one.key for one in deliveries if one.packet.wants_answer]
                yield [reading for delivery in deliveries for reading in delivery.readings]

    def marks(self) -> Sequence[bytes]:
        """The packets of the newest delivery whose loggers wait for an answer."""
        return self._marks

    def remember(self, marks: Sequence[bytes]) -> None:
        """Packets that an earlier life has kept are answered when they come again."""
        self._known.update(dict.fromkeys(marks, True))

    def kept(self, deliveries: int) -> None:
        """Answer the packets that are durable now; who hung up meanwhile sends them again."""
        for _ in range(deliveries - self._kept):
            for delivery in self._unkept.popleft():
                self._waiting -= 1
                self._known[delivery.key] = True
                self._acknowledge(delivery.packet, delivery.writer)
        self._kept = deliveries

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._links) >= 4 * len(self._config.loggers) + 4:
            _log.warning("hj212_too_many_connections %s", {"device": self._config.id})
            writer.transport.abort()
            return
        link = asyncio.create_task(self._listen(reader, writer), name=f"hj212:{self._config.id}")
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to its end."""
        peer = _Peer(writer)
        try:
            while True:
                wait_s = self._config.silence_s if peer.is_known else self._config.timeout_s
                async with asyncio.timeout(wait_s):
                    piece = await reader.read(_READ_SIZE)
                if not piece or not all(
                    self._hear(found, peer) for found in peer.packets.feed(piece)
                ):
                    break
        except TimeoutError:
            self._tell("hj212_silent", peer, "nothing was sent")
        except OSError as error:
            self._tell("hj212_lost", peer, repr(error))
        finally:
            writer.close()

    def _hear(self, found: Packet | Damaged, peer: "_Peer") -> bool:
        """Take one packet; False when the connection is to end."""
        if isinstance(found, Damaged):
            peer.damaged += 1
            self._tell("hj212_damaged", peer, found.why)
            return peer.damaged < _DAMAGED_LIMIT
        if not self._is_allowed(found):
            self._tell("hj212_refused", peer, f"MN {found.mn[:24]!r} or its password")
            return False
        peer.is_known = True
        self._take(found, peer)
        return True

    def _is_allowed(self, packet: Packet) -> bool:
        """Rule 1; takes as long for an unknown MN as for a wrong password."""
        expected = self._passwords.get(packet.mn, b"\0")
        return hmac.compare_digest(expected, packet.pw.encode("ascii"))

    def _take(self, packet: Packet, peer: "_Peer") -> None:
        if packet.cn in _ANSWERS:
            return
        key = _identity(packet)
        if key in self._known:
            if self._known[key]:  # else it is answered when the first one is durable
                self._acknowledge(packet, peer.writer)
            return
        try:
            readings = self._reader.read(packet)
        except BadAnswer as error:
            self._tell("hj212_unreadable", peer, str(error))
            return
        if self._waiting >= QUEUE_LIMIT:
            self.dropped += 1  # not answered: the logger keeps it
            return
        self._known[key] = not readings
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if not readings:
            self._acknowledge(packet, peer.writer)
            return
        self._waiting += 1
        self._queue.append(_Delivery(readings, packet, key, peer.writer))
        self._arrived.set()

    def _acknowledge(self, packet: Packet, writer: asyncio.StreamWriter) -> None:
        if packet.wants_answer and not self._only_looks and not writer.is_closing():
            writer.write(encode(answer(packet)))

    def _tell(self, event: str, peer: "_Peer", why: str) -> None:
        """Log what is wrong with a peer; only the first of a kind on a connection is loud."""
        level = logging.DEBUG if event in peer.told else logging.WARNING
        peer.told.add(event)
        fields = {"device": self._config.id, "peer": peer.name, "why": why}
        _log.log(level, "%s %s", event, fields)


class _Peer:
    """One connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.name = writer.get_extra_info("peername")
        self.packets = Splitter()
        self.is_known = False
        self.damaged = 0
        self.told: set[str] = set()


def _identity(packet: Packet) -> bytes:
    """Rule 3: what makes two packets the same one."""
    text = f"{packet.mn};{packet.qn};{packet.cn};{packet.pno};{packet.data}"
    return hashlib.sha256(text.encode("ascii")).digest()[:MARK_BYTES]


def _passwords(config: Hj212Config) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for logger in config.loggers:
        with contextlib.suppress(OSError):
            found[logger.mn] = logger.password_file.read_bytes().strip()
        if not found.get(logger.mn):
            raise ConfigError(
                f"the password file of logger {logger.mn} cannot be read or is empty",
                file=str(logger.password_file),
                key="password_file",
                right="a file of the agent's user with the logger's PW on one line",
            )
    return found

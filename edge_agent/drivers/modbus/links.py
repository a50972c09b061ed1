"""Opening lines: TCP, TLS, UDP and serial ports, each as one ``Link`` of bytes."""

import asyncio
import contextlib
import errno
import fcntl
import os
import ssl
import termios
from typing import cast

from edge_agent.drivers.modbus.config import ClientTls, ModbusConfig, SerialPort
from edge_agent.errors import NoAnswer

MOST_WAITING = 4096  # bytes; no honest device sends so many unasked
_PARITY = {"none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}


class Link(asyncio.Protocol):
    """One open connection: what arrives is kept, within bounds, until it is taken.

    It keeps one timer for all its deadlines: one a question would cost as much as decoding the
    answer does.
    """

    def __init__(self) -> None:
        """Begin empty; asyncio fills in the transport."""
        self._loop = asyncio.get_running_loop()
        self._until_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.arrived = bytearray()
        self._news = asyncio.Event()
        self._is_fresh = False
        self._is_overdue = False
        self._lost: str | None = None
        self._transport: asyncio.WriteTransport | None = None

    @property
    def is_open(self) -> bool:
        """True until the connection is lost or closed."""
        return self._lost is None

    async def more(self, until_s: float) -> None:
        """Wait until something more arrived, at most until ``until_s`` of the loop's clock.

        Raises:
            TimeoutError: nothing came by then.
            NoAnswer: the connection is lost.
        """
        self._until_s, self._is_overdue = until_s, False
        if self._timer is None or self._timer.when() > until_s:
            self._set_timer(until_s)
        try:
            await self._news.wait()
        finally:
            self._until_s = None
        if self._is_overdue and not self._is_fresh and self._lost is None:
            self._news.clear()
            raise TimeoutError
        is_fresh, self._is_fresh = self._is_fresh, False
        if self._lost is None:
            self._news.clear()
        elif not is_fresh:  # what came before the end still counts
            raise NoAnswer(self._lost)

    def send(self, frame: bytes) -> None:
        """Send one frame; raises NoAnswer when the connection is lost."""
        if self._lost is not None or self._transport is None:
            raise NoAnswer(self._lost or "not connected")
        self._write(self._transport, frame)

    def close(self) -> None:
        """Close at once, without waiting for the peer."""
        self.lose("closed")
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def lose(self, reason: str) -> None:
        """Note that nothing more will come."""
        self._lost = self._lost or reason
        self._news.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio; a peer that floods is cut off."""
        self.arrived += data
        self._is_fresh = True
        self._news.set()
        if len(self.arrived) > MOST_WAITING:
            self.arrived.clear()
            self.lose(f"the peer sent more than {MOST_WAITING} bytes unasked")
            self.close()

    def eof_received(self) -> None:
        """Called by asyncio."""
        self.lose("connection closed by the peer")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.lose(f"connection lost: {exc or 'closed by the peer'}")

    def _set_timer(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when_s, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._until_s is None:
            return
        if self._loop.time() < self._until_s:  # it was set for an earlier question
            self._set_timer(self._until_s)
        else:
            self._is_overdue = True
            self._news.set()

    def _write(self, transport: asyncio.WriteTransport, frame: bytes) -> None:
        transport.write(frame)


class DatagramLink(Link, asyncio.DatagramProtocol):
    """The same over UDP."""

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 (connected)
        """Called by asyncio."""
        self.data_received(data)

    def error_received(self, exc: Exception) -> None:
        """Called by asyncio when a datagram could not be delivered."""
        self.lose(f"connection lost: {exc}")

    def _write(self, transport: asyncio.WriteTransport, frame: bytes) -> None:
        cast("asyncio.DatagramTransport", transport).sendto(frame)


async def open_link(config: ModbusConfig) -> Link:
    """Connect as the device's configuration says; the caller sets the deadline.

    Raises OSError (ssl.SSLError is one) when there is nothing to connect to.
    """
    loop = asyncio.get_running_loop()
    if config.serial is not None:
        return _open_serial(config.serial)
    address = (config.host or "", config.port or 0)
    if config.transport == "udp":
        _, datagrams = await loop.create_datagram_endpoint(DatagramLink, remote_addr=address)
        return datagrams
    if config.tls is None:
        _, link = await loop.create_connection(Link, *address)
        return link
    context = await asyncio.to_thread(_context, config.tls)
    name = config.tls.server_name or config.host
    _, link = await loop.create_connection(Link, *address, ssl=context, server_hostname=name)
    return link


def _context(tls: ClientTls) -> ssl.SSLContext:
    """Read anew at every connection, so that renewed certificates are taken up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # Modbus/TCP Security V36, 8
    files = {"ca": tls.ca, "cert": tls.cert, "key": tls.key}
    for name, path in files.items():
        if not path.is_file():
            raise FileNotFoundError(f"tls.{name}: there is no file {path}")
    try:
        context.load_verify_locations(tls.ca)
    except ssl.SSLError as error:
        raise OSError(f"tls.ca: {tls.ca} holds no certificates: {error.reason}") from error
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except ssl.SSLError as error:
        wrong = f"{tls.cert} and {tls.key} are no certificate and its key: {error.reason}"
        raise OSError(f"tls.cert, tls.key: {wrong}") from error
    return context


def _open_serial(serial: SerialPort) -> Link:
    descriptor = os.open(serial.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _own(descriptor, serial)
    except BaseException:
        os.close(descriptor)
        raise
    link = Link()
    _SerialTransport(descriptor, link)
    return link


def _own(descriptor: int, serial: SerialPort) -> None:
    """Take the port for ourselves, raw, with its speed, parity and stop bits."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        speed = getattr(termios, f"B{serial.baud}")
        control = termios.CS8 | termios.CREAD | termios.CLOCAL | _PARITY[serial.parity]
        control |= termios.CSTOPB if serial.stop_bits == 2 else 0
        checks = termios.INPCK if serial.parity != "none" else 0
        characters = termios.tcgetattr(descriptor)[6]
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        raw = [checks, 0, control, 0, speed, speed, characters]
        termios.tcsetattr(descriptor, termios.TCSANOW, raw)
        termios.tcflush(descriptor, termios.TCIOFLUSH)
    except BlockingIOError as error:
        raise OSError(errno.EBUSY, "another program has this serial port", serial.port) from error
    except termios.error as error:
        raise OSError(*error.args[:2], serial.port) from error


class _SerialTransport(asyncio.WriteTransport):
    """A serial port in the event loop; requests are short enough for the kernel's buffer."""

    def __init__(self, descriptor: int, link: Link) -> None:
        super().__init__()
        self._descriptor, self._link = descriptor, link
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._readable)
        link.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand the bytes to the kernel; a port that does not take them is lost."""
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self._link.lose(f"cannot write: {error}")
            return
        if written != len(data):
            self._link.lose("the serial port does not take what is written")

    def abort(self) -> None:
        """Close the port."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def _readable(self) -> None:
        try:
            chunk = os.read(self._descriptor, MOST_WAITING)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"cannot read: {error}")
            return
        if chunk:
            self._link.data_received(chunk)
        else:
            self._end("the serial port is gone")

    def _end(self, reason: str) -> None:
        self._loop.remove_reader(self._descriptor)
        self._link.lose(reason)

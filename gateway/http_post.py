"""One POST over HTTP with one deadline for all of it, to a party that nobody here has to trust.

Nothing is followed: a redirect is an answer like any other, which the caller refuses, because who is
asked stands in the configuration. Proxies are taken from the environment, as is usual.
"""

import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from edge_agent.errors import CarbonError

_Connection = TypeVar("_Connection", bound=http.client.HTTPConnection)


class NoAnswer(CarbonError):
    """No complete answer came within the deadline."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of whatever status; ``body`` is cut one byte after what was allowed."""

    status: int
    reason: str
    kind: str
    location: str
    body: bytes

    def __str__(self) -> str:
        place = f", to {self.location[:200]!r}; redirects are not followed" if self.location else ""
        return f"{self.status} {self.reason[:200]}{place}"


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, most: int
) -> Reply:
    """Send ``body`` and read an answer of at most ``most`` bytes.

    Blocks for ``timeout_s`` at most, however slowly the bytes come; only looking up the host's name
    has the resolver's own time-outs [s].

    Raises:
        NoAnswer: none that is one of HTTP, or not all of it in time, or the address is none.
    """
    until = time.monotonic() + timeout_s
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler(), _Plain(until), _Secure(until)):
        opener.add_handler(handler)
    try:
        request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310  the opener knows http and https only
        with opener.open(request, timeout=timeout_s) as answer:
            return Reply(
                answer.status,
                answer.reason,
                answer.headers.get_content_type(),
                answer.headers.get("Location", ""),
                answer.read(most + 1),
            )
    except TimeoutError as error:
        raise NoAnswer(f"not all came within {timeout_s} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= until:
            raise NoAnswer(f"not all came within {timeout_s} s") from error
        raise NoAnswer(str(error) or type(error).__name__) from error


def _left_s(until: float) -> float:
    left_s = until - time.monotonic()
    if left_s <= 0:
        message = "the deadline is over"
        raise TimeoutError(message)
    return left_s


class _Reader(io.RawIOBase):
    """Reads from a socket, each time for no longer than what is left until the deadline."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left_s(self._until))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Dated:
    """What an answer takes for a socket."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._until))


def _prepare(made: _Connection, until: float) -> _Connection:
    """Let a connection of the standard library keep to a deadline."""

    def connect(address: tuple[str, int], _timeout: float, source: Any = None) -> socket.socket:
        failed = OSError(f"{address[0]} has no address")
        for *_, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            target = str(place[0]), int(place[1])
            try:
                found = socket.create_connection(target, _left_s(until), source)
            except OSError as error:
                failed = error
            else:
                # A TLS handshake and sending have this for all their steps together.
                found.settimeout(_left_s(until))
                return found
        raise failed

    def answer(sock: socket.socket, *args: Any, **named: Any) -> http.client.HTTPResponse:
        dated: Any = _Dated(sock, until)
        return http.client.HTTPResponse(dated, *args, **named)

    opened: Any = made
    opened._create_connection = connect  # noqa: SLF001  there is no public place for it
    opened.response_class = answer
    return made


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def make(host: str, **named: Any) -> http.client.HTTPConnection:
            return _prepare(http.client.HTTPConnection(host, **named), self._until)

        return self.do_open(make, req)


class _Secure(urllib.request.HTTPSHandler):
    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        def make(host: str, **named: Any) -> http.client.HTTPConnection:
            return _prepare(http.client.HTTPSConnection(host, **named), self._until)

        return self.do_open(make, req)

"""Asking a time-stamping authority over HTTP (RFC 3161 section 3.4)."""

import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Protocol

from edge_agent.errors import CarbonError, ConfigError
from gateway import timestamp
from gateway.config import GatewayConfig
from gateway.timestamp import Authority, TimestampError, Token

_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_PIECE = 16_384


class AuthorityUnreachable(CarbonError):
    """The authority did not answer, or not with a response; worth another try."""


class _Answer(Protocol):
    def read1(self, size: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class TimestampClient:
    """How a gateway asks one authority."""

    authority: Authority
    url: str
    timeout_s: float

    def stamp(self, text: bytes, nonce: bytes) -> tuple[bytes, bytes, Token]:
        """Request, response and what the response proves; blocks for twice the time-out at most.

        Raises:
            AuthorityUnreachable: no response in time.
            TimestampError: a response that does not prove what was asked for.
        """
        asked = timestamp.request(text, nonce, self.authority.policy)
        response = self._post(asked)
        return asked, response, timestamp.check(response, asked, text, [self.authority])

    def _post(self, asked: bytes) -> bytes:
        headers = {"Content-Type": _QUERY, "Accept": _REPLY}
        request = urllib.request.Request(self.url, asked, headers, method="POST")  # noqa: S310  the configuration allows http and https only
        until = time.monotonic() + self.timeout_s
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:  # noqa: S310
                kind = answer.headers.get_content_type()
                if kind != _REPLY:
                    message = f"{self._named()} answered {kind}, {_REPLY} is right"
                    raise AuthorityUnreachable(message)
                return self._read(answer, until)
        except urllib.error.HTTPError as error:
            message = f"{self._named()} answered {error.code} {error.reason}"
            raise AuthorityUnreachable(message) from error
        except (OSError, http.client.HTTPException) as error:
            raise AuthorityUnreachable(f"{self._named()}: {error}") from error

    def _read(self, answer: _Answer, until: float) -> bytes:
        """All of an answer that comes in time and is not too long."""
        found = bytearray()
        while piece := answer.read1(_PIECE):
            found += piece
            if len(found) > timestamp.MAX_RESPONSE:
                message = f"a response has at most {timestamp.MAX_RESPONSE} bytes"
                raise TimestampError(message)
            if time.monotonic() > until:
                message = f"{self._named()}: not all came within {self.timeout_s} s"
                raise AuthorityUnreachable(message)
        return bytes(found)

    def _named(self) -> str:
        return f"authority {self.authority.name} at {self.url}"


def clients(config: GatewayConfig) -> list[TimestampClient]:
    """The configured authorities.

    Raises:
        ConfigError: roots that cannot be read, a policy that is none, or a name that stands twice.
    """
    found: list[TimestampClient] = []
    for place, one in enumerate(config.log.timestamps):
        key = f"log.timestamps[{place}]"
        if any(one.name == other.authority.name for other in found):
            raise ConfigError(f"{one.name!r} stands twice", key=f"{key}.name")
        try:
            roots = timestamp.roots(one.roots.read_bytes())
        except (OSError, TimestampError) as error:
            message = f"cannot use {one.roots}: {error}"
            right = "a PEM file with the authority's root certificates is right"
            raise ConfigError(message, key=f"{key}.roots", right=right) from error
        try:
            policy = timestamp.oid(one.policy) if one.policy else ""
        except ValueError as error:
            raise ConfigError(str(error), key=f"{key}.policy") from error
        authority = Authority(one.name, roots, policy)
        found.append(TimestampClient(authority, one.url, config.log.timestamp_timeout_s))
    return found

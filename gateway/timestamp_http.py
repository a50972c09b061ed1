"""Asking a time-stamping authority over HTTP (RFC 3161 section 3.4)."""

import http
from dataclasses import dataclass

from edge_agent.errors import CarbonError, ConfigError
from gateway import timestamp
from gateway.config import GatewayConfig
from gateway.http_post import NoAnswer, post
from gateway.timestamp import Authority, TimestampError, Token

_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"


class AuthorityUnreachable(CarbonError):
    """The authority did not answer, or not with a response; worth another try."""


@dataclass(frozen=True, slots=True)
class TimestampClient:
    """How a gateway asks one authority."""

    authority: Authority
    url: str
    timeout_s: float

    def stamp(self, text: bytes, nonce: bytes) -> tuple[bytes, bytes, Token]:
        """Request, response and what the response proves; blocks for the time-out at most.

        Looking up the authority's name alone has the resolver's own time-outs.

        Raises:
            AuthorityUnreachable: no response in time.
            TimestampError: a response that does not prove what was asked for.
        """
        asked = timestamp.request(text, nonce, self.authority.policy)
        response = self._post(asked)
        return asked, response, timestamp.check(response, asked, text, [self.authority])

    def _post(self, asked: bytes) -> bytes:
        headers = {"Content-Type": _QUERY, "Accept": _REPLY}
        most = timestamp.MAX_RESPONSE
        named = f"authority {self.authority.name} at {self.url}"
        try:
            reply = post(self.url, asked, headers, timeout_s=self.timeout_s, most=most)
        except NoAnswer as error:
            raise AuthorityUnreachable(f"{named}: {error}") from error
        if reply.status != http.HTTPStatus.OK:
            raise AuthorityUnreachable(f"{named} answered {reply}")
        if reply.kind != _REPLY:
            raise AuthorityUnreachable(f"{named} answered {reply.kind}, {_REPLY} is right")
        if len(reply.body) > most:
            message = f"a response has at most {most} bytes"
            raise TimestampError(message)
        return reply.body


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

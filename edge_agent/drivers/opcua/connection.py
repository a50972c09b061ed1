"""One connection: security checked, connected, and thrown away afterwards.

1. Every connection is a new client; the library's own repair is not used. Whatever breaks, the
   driver raises and the supervisor enters it again.
2. The endpoint must offer exactly the configured policy and mode, and show a trusted certificate,
   before anything of ours is sent. What else it offers, and in which order, does not matter.
3. Connecting has one outer deadline, and leaving another: the library may swallow a cancellation.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from asyncua import ua
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties

from edge_agent.clock import SystemClock
from edge_agent.drivers.opcua import pki
from edge_agent.drivers.opcua.client import BoundedClient, translated
from edge_agent.drivers.opcua.config import Login, OpcUaConfig, Policy, Security
from edge_agent.errors import ConfigError, NoAnswer, Refused

T = TypeVar("T")
_MIN_SESSION_S = 30.0
_POLICIES: dict[Policy, type[security_policies.SecurityPolicy]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_log = logging.getLogger(__name__)


class Connection:
    """A client for one server that is opened at most once."""

    def __init__(self, config: OpcUaConfig, lost: Callable[[Exception], None]) -> None:
        """Nothing is opened yet; ``lost`` is told once when the connection breaks."""
        self._config = config
        self._lost = lost
        self.client = self._new_client()

    async def open(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Connect, then run ``prepare``, within the deadline of ``patience_s``.

        Raises NoAnswer, BadAnswer, or Refused when the server does not let us in or is not the
        one that is trusted.
        """
        async with translated(self._config.url):
            try:
                await within(patience_s(self._config), self._open(prepare), self._config.url)
            except ConfigError as error:  # a file can be put right while the agent runs
                raise Refused(f"{self._config.id}: {error}") from error

    async def close(self) -> None:
        """Say goodbye if the server listens, close the socket in any case."""
        # In a task of its own: the library may swallow a cancellation that is meant for us.
        leaving = asyncio.create_task(
            self.client.disconnect(), name=f"opcua-leave:{self._config.id}"
        )
        try:
            await asyncio.wait({leaving}, timeout=self._config.timeout_s)
        finally:
            leaving.cancel()
            leaving.add_done_callback(_forget_result)
            self.client.disconnect_socket()

    def _new_client(self) -> BoundedClient:
        config = self._config
        client = BoundedClient(
            config.url, timeout_s=config.timeout_s, max_message=config.max_message_mb << 20
        )
        client.name = client.description = "edge-agent"
        client.session_timeout = round(max(_MIN_SESSION_S, 3 * config.stale_s) * 1000)
        client.connection_lost_callback = self._on_lost
        client.on_unreadable(self._on_unreadable)
        return client

    async def _open(self, prepare: Callable[[], Awaitable[None]]) -> None:
        security = self._config.security
        if security is not None:
            presented = await self._endpoint_certificate(security)
            identity = await asyncio.to_thread(self._check, security, presented)
            await self._secure(security, identity, presented)
        if self._config.login is not None:
            await self._log_in(self._config.login)
        await self.client.connect()
        await prepare()

    async def _endpoint_certificate(self, security: Security) -> bytes:
        """Rule 2: the certificate of the one endpoint that offers what is configured."""
        asking = self._new_client()
        endpoints = await asking.connect_and_get_server_endpoints()
        wanted = (_POLICIES[security.policy].URI, security.mode)
        for endpoint in endpoints:
            offered = (endpoint.SecurityPolicyUri, endpoint.SecurityMode.name)
            if offered == wanted and endpoint.EndpointUrl.startswith("opc.tcp:"):
                return pki.first_of(endpoint.ServerCertificate or b"")
        raise Refused(
            f"{self._config.id}: the server offers no {security.policy} with {security.mode}, "
            f"only {_offers(endpoints)}; it is not used with less"
        )

    def _check(self, security: Security, presented: bytes) -> pki.Identity:
        now = pki.utc(SystemClock().utc_ns())  # validity is a matter of wall time, also in replays
        identity = pki.identity(security.pki, now)
        pki.check_server(security.pki, self._config.id, presented, now)
        return identity

    async def _secure(self, security: Security, identity: pki.Identity, presented: bytes) -> None:
        self.client.application_uri = identity.application_uri
        self.client.safe_tokens = frozenset(policy.URI for policy in _POLICIES.values())
        await self.client.set_security(
            _POLICIES[security.policy],
            CertProperties(identity.certificate, "der"),
            CertProperties(identity.key, "der"),
            server_certificate=CertProperties(presented, "der"),
            mode=ua.MessageSecurityMode[security.mode],
        )
        expires = f"{identity.expires:%Y-%m-%d}"
        _log.debug("opcua_secured %s", {"device": self._config.id, "own_until": expires})

    async def _log_in(self, login: Login) -> None:
        if login.password_file is not None and login.username is not None:
            self.client.set_user(login.username)
            self.client.set_password(await asyncio.to_thread(pki.secret, login.password_file))
        elif login.certificate is not None and login.key is not None:
            kinds = [
                "pem" if path.suffix.lower() == ".pem" else "der"
                for path in (login.certificate, login.key)
            ]
            await self.client.load_client_certificate(str(login.certificate), kinds[0])
            await self.client.load_private_key(login.key, extension=kinds[1])

    async def _on_lost(self, error: Exception) -> None:
        self._lost(NoAnswer(f"{self._config.url}: connection lost: {error!r}"))

    def _on_unreadable(self) -> None:
        self._lost(NoAnswer(f"{self._config.url}: a publication cannot be read"))


def patience_s(config: OpcUaConfig) -> float:
    """Longest time for connecting, or for reading all tags once: more for many tags [s]."""
    return config.timeout_s * (3 + len(config.tags) // 500)


async def within(seconds: float, work: Coroutine[Any, Any, T], what: str) -> T:
    """The result of ``work``; NoAnswer after ``seconds``, even if it does not react to that."""
    task = asyncio.create_task(work, name=f"opcua-bounded:{what}")
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        task.cancel()
        task.add_done_callback(_forget_result)
    if not done:
        raise NoAnswer(f"{what}: no answer within {seconds:g} s")
    return task.result()


def _offers(endpoints: Sequence[ua.EndpointDescription]) -> str:
    names = {
        f"{(endpoint.SecurityPolicyUri or '').rpartition('#')[2]:.40} ({endpoint.SecurityMode.name})"
        for endpoint in endpoints[:50]
    }
    return ", ".join(sorted(names)) or "nothing"


def _forget_result(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()

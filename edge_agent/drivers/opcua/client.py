"""The library's client with limits of our own: sizes, and no silence about what is unreadable.

1. A frame longer than we agreed to, a message of too many frames or bytes, closes the connection
   before it is collected: lengths are checked where they stand, not where they end.
2. What a server acknowledges can lower our sending limits, never raise our receiving ones.
3. The library's decoder has bounds of its own: see ``decoding``.
4. A publication that cannot be decoded ends the connection visibly: the library would only log it.
5. A password never leaves unprotected, whatever token policy the server asks for.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.client.ua_session import UaSession
from asyncua.common.connection import TransportLimits
from asyncua.common.shortcuts import Shortcuts
from asyncua.ua.uaerrors import UaError, UaStatusCodeError, UaStructParsingError

from edge_agent.drivers.opcua import decoding
from edge_agent.errors import BadAnswer, DeviceError, NoAnswer, Refused

_FRAME = 65_535
decoding.bound()


class _Limits(TransportLimits):
    """Rule 2."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = max(8_192, min(self.max_send_buffer, msg.ReceiveBufferSize))


class _Protocol(UASocketProtocol):
    """Rule 1."""

    def data_received(self, data: bytes) -> None:
        if _has_long_frame((self.receive_buffer or b"") + data):
            self.logger.error("a frame longer than %d bytes", _FRAME)
            self.disconnect_socket()
            return
        super().data_received(data)


def _has_long_frame(stream: bytes) -> bool:
    """True when a frame that begins in ``stream`` declares a length outside 8 to 65,535 bytes."""
    at = 0
    while at + 8 <= len(stream):
        size = int.from_bytes(stream[at + 4 : at + 8], "little")
        if not 8 <= size <= _FRAME:
            return True
        at += size
    return False


class _Session(UaSession):
    """Rule 4."""

    on_unreadable: Callable[[], None] | None = None

    async def publish(self, acks: list[ua.SubscriptionAcknowledgement]) -> ua.PublishResponse:
        try:
            return await super().publish(acks)
        except (UaStructParsingError, *decoding.UNREADABLE):
            if self.on_unreadable is not None:
                self.on_unreadable()
            raise


class _Transport(UaClient):
    def __init__(self, timeout_s: float, max_message: int) -> None:
        super().__init__(timeout_s)
        self._max_message = max_message
        self.session: _Session = _Session(self)

    def _make_protocol(self) -> UASocketProtocol:
        limits = _Limits(_FRAME, _FRAME, self._max_message // 8_192 + 1, self._max_message)
        protocol = _Protocol(self._timeout, security_policy=self.security_policy, limits=limits)
        protocol.pre_request_hook = self._pre_request_hook
        protocol.on_connection_lost = self._on_transport_lost
        protocol.is_session_closing = self._is_session_closing
        self.protocol = protocol
        return protocol


class BoundedClient(Client):
    """A client for one connection."""

    def __init__(self, url: str, *, timeout_s: float, max_message: int) -> None:
        """Nothing is opened yet; ``max_message`` is the longest message accepted [bytes]."""
        super().__init__(url, timeout=timeout_s, watchdog_intervall=timeout_s)
        hook = self.uaclient.pre_request_hook
        self.uaclient: _Transport = _Transport(timeout_s, max_message)
        self.uaclient.pre_request_hook = hook
        self.nodes = Shortcuts(self.uaclient.session)
        self.max_messagesize = max_message
        self.safe_tokens: frozenset[str] = frozenset()

    def on_unreadable(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` when a publication cannot be decoded."""
        self.uaclient.session.on_unreadable = tell

    def _add_user_auth(
        self, params: ua.ActivateSessionParameters, username: str | None, password: str | None
    ) -> None:
        """Rule 5."""
        is_encrypted = self.security_policy.Mode == ua.MessageSecurityMode.SignAndEncrypt
        uri = self.server_policy(ua.UserTokenType.UserName).SecurityPolicyUri
        if not is_encrypted and uri not in self.safe_tokens:
            message = f"the password is not sent: the channel is not encrypted, the token by {uri}"
            raise UaError(message)
        super()._add_user_auth(params, username, password)


@contextlib.asynccontextmanager
async def translated(url: str) -> AsyncIterator[None]:
    """Turn what the library raises into DeviceError."""
    try:
        yield
    except DeviceError:
        raise
    except TimeoutError as error:
        raise NoAnswer(f"{url}: no answer in time") from error
    except OSError as error:
        raise NoAnswer(f"{url}: {error}") from error
    except UaStatusCodeError as error:
        raise Refused(f"{url}: {error}", code=error.code) from error
    except UaError as error:
        raise Refused(f"{url}: {error}") from error
    except decoding.UNREADABLE as error:
        raise BadAnswer(f"{url}: an answer that cannot be read: {error!r}") from error

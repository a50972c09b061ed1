"""What leaves for a server, and in which words its failures come back."""

import struct
from types import SimpleNamespace

import pytest
from asyncua import ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256, SecurityPolicyNone
from asyncua.ua.uaerrors import BadUserAccessDenied, UaError

from edge_agent.drivers.opcua.client import BoundedClient, _Limits, translated
from edge_agent.errors import BadAnswer, NoAnswer, Refused

SAFE = SecurityPolicyBasic256Sha256.URI
WEAK = "http://opcfoundation.org/UA/SecurityPolicy#Basic128Rsa15"


def client(mode, token_uri):
    made = BoundedClient("opc.tcp://h:1", timeout_s=1, max_message=1 << 20)
    made.safe_tokens = frozenset({SAFE})
    made.security_policy = SimpleNamespace(Mode=mode, URI=SAFE, peer_certificate=None)
    made._policy_ids = [
        ua.UserTokenPolicy(TokenType=ua.UserTokenType.UserName, SecurityPolicyUri=token_uri)
    ]
    return made


@pytest.mark.parametrize("uri", [SecurityPolicyNone.URI, WEAK])
def test_a_password_is_not_sent_readable_over_a_channel_that_only_signs(uri):
    with pytest.raises(UaError, match="not sent"):
        client(ua.MessageSecurityMode.Sign, uri)._add_user_auth(
            ua.ActivateSessionParameters(), "reader", "secret"
        )


def test_an_encrypted_channel_may_carry_it():
    parameters = ua.ActivateSessionParameters()
    encrypted = client(ua.MessageSecurityMode.SignAndEncrypt, SecurityPolicyNone.URI)
    encrypted._add_user_auth(parameters, "reader", "secret")
    assert parameters.UserIdentityToken.Password == b"secret"


def test_a_server_cannot_raise_what_we_receive():
    limits = _Limits(65_535, 65_535, 10, 1 << 20)
    limits.update_client_limits(
        ua.Acknowledge(0, 2**32 - 1, 2**32 - 1, MaxMessageSize=0, MaxChunkCount=0)
    )
    assert (limits.max_recv_buffer, limits.max_send_buffer) == (65_535, 65_535)
    assert (limits.max_chunk_count, limits.max_message_size) == (10, 1 << 20)
    limits.update_client_limits(ua.Acknowledge(0, 16_384, 1))
    assert limits.max_send_buffer == 16_384
    limits.update_client_limits(ua.Acknowledge(0, 1, 1))
    assert limits.max_send_buffer == 8_192


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (TimeoutError(), NoAnswer),
        (ConnectionResetError("gone"), NoAnswer),
        (BadUserAccessDenied(), Refused),
        (UaError("no endpoint"), Refused),
        (struct.error("short"), BadAnswer),
        (KeyError("type"), BadAnswer),
        (RecursionError(), BadAnswer),
        (NoAnswer("already"), NoAnswer),
    ],
)
async def test_whatever_the_library_raises_is_an_error_of_the_device(raised, expected):
    with pytest.raises(expected):
        async with translated("opc.tcp://h:1"):
            raise raised

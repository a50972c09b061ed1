"""What a plant may write about an OPC UA server, and what is refused."""

import pytest
from pydantic import ValidationError

from edge_agent.drivers.opcua import OpcUaConfig

SERVER = {"driver": "opcua", "id": "potroom", "url": "opc.tcp://h:4840"}
TAG = {"id": "v", "node": "nsu=urn:plc;s=V"}
SECURE = {"security": {"pki": "keys/opcua"}}
BY_NAME = {"username": "reader", "password_file": "keys/password"}
BY_CERTIFICATE = {"certificate": "keys/u.pem", "key": "keys/u-key.pem"}


def config(device=None, tag=None):
    return OpcUaConfig.model_validate(
        {**SERVER, **(device or SECURE), "tags": [{**TAG, **(tag or {})}]}
    )


@pytest.mark.parametrize(
    ("device", "right"),
    [
        ({"insecure": False}, "insecure: true"),
        ({**SECURE, "insecure": True}, "insecure: true"),
        ({"insecure": True, "login": BY_NAME}, "without security"),
        ({"security": {"pki": "p", "policy": "Basic256"}}, "SHA-1"),
        ({"security": {"pki": "p", "policy": "Basic128Rsa15"}}, "SHA-1"),
        ({"security": {"pki": "p", "policy": "None"}}, "insecure: true"),
        ({"security": {"pki": "p", "policy": "Basic257"}}, "Basic256Sha256"),
        ({"security": {"pki": "p", "mode": "None"}}, "SignAndEncrypt"),
        ({"security": {}}, "pki"),
        ({**SECURE, "login": {"username": "reader"}}, "password_file"),
        ({**SECURE, "login": {"username": "reader", "password": "secret"}}, "password"),
        ({**SECURE, "login": {**BY_NAME, **BY_CERTIFICATE}}, "certificate and key"),
        ({**SECURE, "login": {}}, "certificate and key"),
        ({**SECURE, "url": "opc.tcp://reader:secret@h:4840"}, "password_file"),
        ({**SECURE, "url": "http://h:4840"}, "opc"),
        ({**SECURE, "url": "opc.tcp://:4840"}, "HOST"),
        ({**SECURE, "history": {}, "trust_source_time": False}, "trust_source_time: true"),
        ({**SECURE, "history": {"page": 0}}, "page"),
        ({**SECURE, "mode": "listen"}, "poll"),
    ],
)
def test_a_wrong_device_is_refused_and_told_what_would_be_right(device, right):
    with pytest.raises(ValidationError, match=right):
        config(device)


@pytest.mark.parametrize(
    "tag",
    [
        {"server_deadband": {}},
        {"server_deadband": {"absolute": 0}},
        {"server_deadband": {"percent": 101}},
        {"server_deadband": {"absolute": 1, "percent": 1}},
        {"server_deadband": {"absolute": 1}, "totaliser": {}},
        {"server_deadband": {"absolute": 1}, "period_s": 1},
        {"queue_size": 0},
        {"sampling_ms": -1},
        {"discard": "all"},
    ],
)
def test_a_wrong_tag_is_refused(tag):
    with pytest.raises(ValidationError):
        config(tag=tag)


def test_the_effective_configuration_says_how_it_is_secured_and_holds_no_path_or_secret():
    plain = config({**SECURE, "login": BY_NAME}).model_dump(mode="json")
    assert plain["security"] == {"policy": "Basic256Sha256", "mode": "SignAndEncrypt"}
    assert plain["login"] == {"username": "reader"}
    assert plain["insecure"] is False
    assert config({"insecure": True}).model_dump(mode="json")["insecure"] is True
    assert config({**SECURE, "login": BY_CERTIFICATE}).model_dump(mode="json")["login"] == {
        "username": None
    }

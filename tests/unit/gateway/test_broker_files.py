"""configs/mosquitto is what `carbon-gateway broker-config` writes, and says what it must."""

from pathlib import Path

import pytest

from edge_agent.wire.cose import MAX_MESSAGE
from gateway.config import LedgerSettings
from gateway.ingest.fair import Limits
from gateway.trust import broker

ROOT = Path(__file__).resolve().parents[3]
HERE = Path("/etc/mosquitto/carbon")


def written(folder, **changes):
    fields = {
        "bind": "0.0.0.0",  # noqa: S104  a sample for a plant's broker
        "port": 8883,
        "ca": HERE / "ca.crt",
        "certificate": HERE / "broker.crt",
        "key": HERE / "broker.pem",
        "data": folder / "data",
        "crl": HERE / "ca.crl",
    }
    paths = broker.write(folder, broker.Settings(**(fields | changes)))
    return {path.name: path.read_text().replace(str(folder), str(HERE)) for path in paths}


def test_the_sample_is_what_the_command_writes(tmp_path):
    for name, text in written(tmp_path).items():
        assert (ROOT / "configs/mosquitto" / name).read_text() == text


@pytest.mark.parametrize(
    "line",
    [
        "allow_anonymous false",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "tls_version tlsv1.2",
        "message_size_limit 270000",
        "max_connections 10000",
        "max_inflight_messages 16384",
        "max_queued_messages 10000",
        "max_inflight_bytes 100663296",
        "max_queued_bytes 134217728",
        "max_keepalive 3600",
        "listener 8883 0.0.0.0",
    ],
)
def test_the_configuration_closes_every_other_door(tmp_path, line):
    text = written(tmp_path)["mosquitto.conf"]
    assert text.splitlines().count(line) == 1
    assert text.count("listener ") == 1
    assert "websockets" not in text
    assert "bridge" not in text


def test_without_a_revocation_list_none_is_named(tmp_path):
    assert "crlfile" not in written(tmp_path, crl=None)["mosquitto.conf"]


def test_the_broker_hands_over_more_than_the_gateway_lets_wait(tmp_path):
    lines = written(tmp_path)["mosquitto.conf"].splitlines()
    values = dict(line.split() for line in lines if line.startswith("max_inflight_"))
    group = LedgerSettings().group_batches
    assert int(values["max_inflight_messages"]) > Limits().messages + group
    assert int(values["max_inflight_bytes"]) > Limits().bytes + group * MAX_MESSAGE

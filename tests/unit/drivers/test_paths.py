"""Paths in device configurations, and what of them leaves the plant."""

import cbor2
import pytest

from edge_agent import config as config_
from edge_agent import factor_sets
from edge_agent.errors import ConfigError

AGENT = """
site: al-001
agent: gw-01
state_dir: state
keys: {signing: agent.pem, gateway: [gateway.pub.pem]}
factor_set: cets-ag-04.01-v01-2024
devices:
  - {driver: dlt645, id: meter, address: "202611240007", serial: /dev/ttyUSB0, interval_s: 60,
     tags: [{id: kwh, quantity: forward_active_energy, totaliser: {}}]}
  - {driver: hj212, id: stack, port: 9212, loggers: [{mn: A, password_file: secrets/a.pw}],
     tags: [{id: so2, factor: a21026}]}
  - {driver: mqtt, id: broker, host: h, client_id: c, password_file: secrets/b.pw,
     tls: {ca: tls/ca.pem}, tags: [{id: gas, topic: gas/flow}]}
  - {driver: file_drop, id: bridge, folder: drop/in, time: t, tags: [{id: coal, column: m}]}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text(AGENT, encoding="utf-8")
    return path


def test_relative_paths_of_devices_are_relative_to_the_file(file, tmp_path):
    _, stack, broker, bridge = config_.load(file).devices
    assert stack.loggers[0].password_file == tmp_path / "secrets/a.pw"
    assert broker.password_file == tmp_path / "secrets/b.pw"
    assert broker.tls.ca == tmp_path / "tls/ca.pem"
    assert bridge.folder == tmp_path / "drop/in"
    assert bridge.record == tmp_path / "state/file_drop-bridge.jsonl"


def test_no_path_and_no_secret_is_in_the_document_that_travels(file, tmp_path):
    config = config_.load(file)
    raw = config_.effective(config, factor_sets.find(config.factor_set), [])
    assert b"secrets" not in raw
    assert str(tmp_path).encode() not in raw
    plain = cbor2.loads(raw)
    assert [device["driver"] for device in plain["devices"]] == [
        "dlt645", "hj212", "mqtt", "file_drop",
    ]  # fmt: skip
    (tag,) = plain["devices"][0]["tags"]
    assert (tag["scale"], tag["totaliser"]["modulus"]) == ("0.01", 100_000_000)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("quantity: forward_active_energy", "quantity: forward_energy", "no quantity"),
        ('address: "202611240007"', 'address: "2026"', "address"),
        ("password_file: secrets/a.pw}", "pasword_file: secrets/a.pw}", "password_file"),
        ("client_id: c", "client_id: c, qos: 2", "qos"),
        ("folder: drop/in", "folder: drop/in, encoding: gbk", "encoding"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_line_and_key(file, old, new, message):
    text = AGENT.replace(old, new)
    assert text != AGENT
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        config_.load(file)
    print(caught.value)
    assert caught.value.line >= 8
    assert caught.value.key.startswith("devices[")

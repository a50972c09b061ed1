"""A certificate's end is told 30, 7 and 1 days before it, once each, with the place that names it."""

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.mqtt_config import MqttConfig
from edge_agent.drivers.opcua import OpcUaConfig, pki
from edge_agent.expiry import Watch, files_of
from edge_agent.wire import certificates

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TAG = {"id": "a", "address": 1, "type": "float32"}


@pytest.fixture
def opcua(tmp_path):
    """An OPC UA device whose client certificate was made on NOW."""
    ours = pki.identity(tmp_path / "pki", NOW)
    node = {"id": "a", "node": "ns=2;s=a"}
    fields = {"driver": "opcua", "id": "potroom", "url": "opc.tcp://127.0.0.1:1", "tags": (node,)}
    made = OpcUaConfig.model_validate({**fields, "security": {"pki": tmp_path / "pki"}})
    return made, ours.expires


def test_an_opc_ua_client_certificate_is_warned_of_30_7_and_1_days_before_its_end(
    opcua, make_config, caplog
):
    device, end = opcua
    watch = Watch(files_of(make_config().model_copy(update={"devices": (device,)})))
    said = []
    for left in (31, 30, 29, 8, 7, 2, 1, 0.5, -1):
        now = end - timedelta(days=left)
        said.append(watch.warnings(certificates.to_ns(now)))
    name = "device potroom certificate.der"
    until = f"({end:%Y-%m-%dT%H:%M:%SZ})"
    assert said[0] == ""
    assert set(said[1:4]) == {f"{name} expires within 30 days {until}"}
    assert set(said[4:6]) == {f"{name} expires within 7 days {until}"}
    assert set(said[6:8]) == {f"{name} expires within 1 day {until}"}
    assert said[8] == f"{name} expired {until}"
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 4
    assert watch.warnings(certificates.to_ns(NOW)) == "", "renewed"


def test_a_file_that_is_not_there_yet_is_nothing_to_say_and_garbage_is(tmp_path):
    (tmp_path / "bad.crt").write_text("junk")
    watch = Watch({"gone": tmp_path / "gone.crt", "bad": tmp_path / "bad.crt"})
    assert watch.warnings(0).startswith("bad not a readable certificate")


def test_every_driver_names_its_certificates(opcua, tmp_path, make_config):
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    mqtt = MqttConfig.model_validate(
        {"driver": "mqtt", "id": "m", "host": "h", "client_id": "c", "tls": files,
         "tags": ({"id": "x", "topic": "t"},)}
    )  # fmt: skip
    modbus = ModbusConfig.model_validate(
        {"driver": "modbus", "id": "s", "host": "h", "transport": "tls", "unit": 1,
         "interval_s": 1, "port": 802, "tls": files, "tags": (TAG,)}
    )  # fmt: skip
    config = make_config().model_copy(update={"devices": (mqtt, modbus, opcua[0])})
    assert set(files_of(config).values()) == {
        files["ca"], files["cert"], tmp_path / "pki/own/certificate.der",
    }  # fmt: skip
    assert len(files_of(config)) == 5

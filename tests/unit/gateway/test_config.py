import shutil

import pytest

from edge_agent.errors import ConfigError
from gateway.config import GatewayConfig, InfluxSettings, key_ring, load

GOOD = """\
state_dir: state
keys:
  ack: keys/ack.pem
mqtt:
  host: localhost
  client_id: gateway
agents:
  - site: al-001
    agent: gw-01
    public_key: keys/gw-01.pub.pem
    not_before: 2026-01-01T00:00:00Z
    not_after: 2027-01-01T08:00:00+08:00
store:
  kind: influxdb
  url: http://localhost:8086
  token: secret-token
  org: plant
  bucket: carbon
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text):
        path = tmp_path / "gateway.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_a_good_file_is_loaded_with_paths_beside_it(write, tmp_path, signer):
    config = load(write(GOOD))
    assert isinstance(config, GatewayConfig)
    assert config.ledger_path == tmp_path / "state/ledger.sqlite"
    assert config.store_path == tmp_path / "state/store-progress.json"
    assert config.keys.ack == tmp_path / "keys/ack.pem"
    assert isinstance(config.store, InfluxSettings)
    assert "secret-token" not in repr(config)
    assert (config.ledger.group_ms, config.ledger.group_batches) == (20, 64)
    assert (config.hold.batches, config.hold.bytes) == (1_000, 67_108_864)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/gw-01.pub.pem").write_bytes(signer.public_pem())
    enrolment = key_ring(config).find(signer.kid, "al-001", "gw-01")
    assert enrolment.not_before_ns == 1_767_225_600 * 10**9
    assert enrolment.not_after_ns == 1_798_761_600 * 10**9


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "text"),
    [
        ("  host: ", "  hots: ", 5, "mqtt.hots", "did you mean 'host'?"),
        ("  host: localhost\n", "", 4, "mqtt.host", "is missing"),
        ("agent: gw-01", "agent: GW 01", 9, "agents[0].agent", "'GW 01'"),
        ("2026-01-01T00:00:00Z", "2026-01-01", 11, "agents[0].not_before", "with its zone"),
        ("kind: influxdb", "kind: postgres", 14, "store.kind", "postgres"),
        ("  token: secret-token\n", "", 13, "store", "exactly one of"),
        ("  org: plant", "  org: 5", 17, "store.org", "5 is wrong"),
        ("  client_id: gateway", "  client_id: gateway\n  port: '1883'", 7, "mqtt.port", "'1883'"),
        ("  client_id: gateway", "  client_id: a\n  client_id: b", 7, "client_id", "twice"),
        ("  client_id: gateway", "  client_id: [", 8, "", "YAML"),
        ("state_dir: state", "state_dir: state\nlate_after_s: 0", 2, "late_after_s", "0 is wrong"),
    ],
)
def test_errors_name_file_line_key_and_value(write, old, new, line, key, text):
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load(write(GOOD.replace(old, new)))
    error = caught.value
    assert error.file.endswith("gateway.yaml")
    assert (error.line, error.key) == (line, key)
    assert text in str(error)


def test_a_wrong_secret_is_not_shown(write):
    with pytest.raises(ConfigError) as caught:
        load(write(GOOD.replace("secret-token", "80123456789")))
    assert caught.value.key == "store.token"
    assert "80123456789" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_a_file_without_keys_is_refused(write, text):
    with pytest.raises(ConfigError, match="holds no keys"):
        load(write(text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot read"):
        load(tmp_path / "nothing.yaml")


def test_one_key_for_two_agents_is_refused(write, tmp_path, signer):
    twice = GOOD.replace(
        "store:", "  - {site: al-001, agent: gw-02, public_key: keys/gw-02.pub.pem}\nstore:"
    )
    config = load(write(twice))
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/gw-01.pub.pem").write_bytes(signer.public_pem())
    with pytest.raises(ConfigError, match=r"agents\[1\]\.public_key.*cannot read"):
        key_ring(config)
    shutil.copy(tmp_path / "keys/gw-01.pub.pem", tmp_path / "keys/gw-02.pub.pem")
    with pytest.raises(ConfigError, match="enrolled twice"):
        key_ring(config)

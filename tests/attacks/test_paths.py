"""Names that would be paths: wherever a name becomes a file, other names are refused (row 63)."""

from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import config as config_
from edge_agent.errors import CarbonError, ConfigError
from edge_agent.wire import topics
from edge_agent.wire.keys import create_signer
from gateway import cli, lab
from gateway import config as gateway_config
from gateway.lab import LabDocument, LabError
from gateway.month import Entry

ROOT = Path(__file__).resolve().parents[2]
NAMES = [
    "..", ".", "", "../x", "a/../../x", "/etc/passwd", "C:\\x", "c:/x", "CON", "a\\b", "a/b",
    "~root", "$HOME", "a\x00b", "a\nb", "a b", "-rf", ".hidden", "x" * 300, "ａ", "а", "é", "a:b", "%2e%2e",
]  # fmt: skip
"""The two last letters look like others: full width, and Cyrillic."""


def everything(folder):
    """Every file and folder, with its content."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


@pytest.fixture
def house(tmp_path):
    """A folder in a folder: what leaves the inner one is seen."""
    inner = tmp_path / "a/b/c"
    inner.mkdir(parents=True)
    return inner


# -- the agent's file ----------------------------------------------------------------------------

PLANT = {
    "site": "al-001",
    "agent": "gw-01",
    "state_dir": "state",
    "keys": {"signing": "agent.pem", "gateway": ["agent.pub.pem"]},
    "factor_set": "cets-ag-04.01-v01-2024",
    "devices": [
        {"driver": "file_drop", "id": "drop", "folder": "in", "time": "t",
         "tags": [{"id": "m", "column": "m"}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["site", "agent", "device"])
def test_an_agent_does_not_start_under_such_a_name(house, place, name):
    plain = yaml.safe_load(yaml.safe_dump(PLANT))
    (plain["devices"][0] if place == "device" else plain).update(
        {"id" if place == "device" else place: name}
    )
    path = house / "agent.yaml"
    create_signer(house / "agent.pem")
    path.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    before = everything(house.parents[2])
    with pytest.raises(ConfigError) as told:
        config_.load(path)
    assert "agent.yaml" in str(told.value)
    assert everything(house.parents[2]) == before


@pytest.mark.parametrize("name", ["../../set", "/etc/passwd", "cets/../cets-ag-04.01-v01-2024"])
def test_a_factor_set_is_a_name_not_a_path(house, name):
    (house / "set.yaml").write_text("id: x\n")
    path = house / "agent.yaml"
    path.write_text(yaml.safe_dump(PLANT | {"factor_set": name}), encoding="utf-8")
    with pytest.raises(CarbonError, match="factor"):
        config_.factors_of(config_.load(path))


# -- the gateway's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["site", "agent", "installation"])
def test_a_gateway_does_not_start_under_such_a_name(house, place, name):
    create_signer(house / "ack.pem")
    agent = {"site": "al-001", "agent": "gw-01", "public_key": "ack.pub.pem"}
    plain = {
        "state_dir": "state",
        "keys": {"ack": "ack.pem"},
        "mqtt": {"host": "127.0.0.1", "client_id": "ingest"},
        "agents": [agent],
        "log": {"installation": "local"},
    }
    (plain["log"] if place == "installation" else agent)[place] = name
    path = house / "gateway.yaml"
    path.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"gateway.yaml:\d+: (agents\[0\].|log.){place}"):
        gateway_config.load(path)


@pytest.mark.parametrize("name", [name for name in NAMES if "\x00" not in name and name != "-rf"])
def test_a_service_of_the_ca_gets_no_file_under_such_a_name(house, capsys, name):
    assert cli.main(["ca", "init", str(house / "ca")]) == 0
    before = everything(house.parents[2])
    out = house / "tls"
    assert cli.main(["ca", "service", str(house / "ca"), name, "--out", str(out)]) == 1
    assert "no name for a service" in capsys.readouterr().err
    assert everything(house.parents[2]) == before


@pytest.mark.parametrize(
    ("site", "month"),
    [*((name, "2026-10") for name in NAMES if "\x00" not in name and name != "-rf"),
     ("al-001", "../../2026-10"), ("al-001", "2026-10/../../x"), ("al-001", "/2026-10")],
)  # fmt: skip
def test_a_report_writes_nothing_under_such_a_name(house, capsys, site, month):
    create_signer(house / "ack.pem")
    path = house / "gateway.yaml"
    path.write_text(
        "state_dir: state\nkeys: {ack: ack.pem}\nmqtt: {host: 127.0.0.1, client_id: ingest}\n"
    )
    words = ["report", "--config", str(path), "--site", site, "--month", month]
    assert cli.main([*words, "--out", str(house / "out")]) in (1, 2)
    assert not (house / "out").exists()
    assert not [one for one in everything(house.parents[2]) if one.suffix == ".bundle"]


@given(st.text("ab01_-./\\ :\nA\x00é", max_size=5) | st.text(max_size=60))
def test_a_name_on_the_wire_is_no_path(text):
    if topics.NAME.match(text):
        assert (Path("/x") / f"{text}.pem").resolve().parent == Path("/x")
        assert text.isascii()
        assert not {"/", "\\", ".", ":", "\n"} & set(text)
        assert topics.parse(topics.topic(text, text, "batch")) == (text, text, "batch")


# -- lab documents: names and attachments ------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["id", "item"])
def test_a_lab_document_has_no_such_name(signer, place, name):
    item = name if place == "item" else "kiln1.coal"
    entry = Entry("analysis", item, "fuel_ncv", Decimal(22), "GJ/t", 1, Decimal(5), None)
    document = LabDocument(
        "cm-001", name if place == "id" else "coal", 1, 1, "Li Lab", (entry,), "", (bytes(32),)
    )
    with pytest.raises(LabError, match=f"{place} is"):
        lab.sign(document, signer)

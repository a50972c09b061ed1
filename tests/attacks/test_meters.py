"""Meters that lie: held against their own rates as the configuration says (row 93).

The comparison itself is tested in unit/calc/test_cross_check, the month's reservations in
unit/gateway/test_month_aluminium.
"""

import pytest
import yaml

from edge_agent import config as config_
from edge_agent import factor_sets
from edge_agent.errors import ConfigError
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.series import to_plain
from edge_agent.readings import Sample
from edge_agent.wire import cbor

NS = 10**9
T0 = 1_790_784_000 * NS
TAGS = {
    "kwh": {"unit": "kWh", "totaliser": {}},
    "kw": {"unit": "kW"},
    "mw": {"unit": "MW", "deadband": {"absolute": 1}},
    "flow": {"unit": "t/h"},
    "temperature": {"unit": "degC"},
    "current": {"unit": "kA"},
}


@pytest.fixture
def load(tmp_path):
    def made(check, tag="kwh", more=()):
        plain = {
            "site": "cm-001", "agent": "gw-01", "state_dir": "state", "sector": "cement",
            "keys": {"signing": "a.pem", "gateway": ["g.pem"]},
            "factor_set": "cets-ag-02.01-v01-2024", "time": {"source": "device", "lateness_s": 0},
            "devices": [
                {"id": "d", "driver": "modbus", "host": "127.0.0.1", "unit": 1, "interval_s": 10,
                 "tags": [
                     {"id": name, "address": 2 * place, "type": "uint32", **fields}
                     for place, (name, fields) in enumerate(TAGS.items())
                 ]},
            ],
            "meters": [{"id": "grid", "tag": tag, "role": "electricity", "check": check}, *more],
        }  # fmt: skip
        path = tmp_path / "agent.yaml"
        path.write_text(yaml.safe_dump(plain))
        return config_.load(path)

    return made


@pytest.mark.parametrize(
    ("check", "tag", "named"),
    [
        ({"rate": "kv"}, "kwh", r"check.rate: no device has a tag 'kv'"),
        ({"rate": "flow"}, "kwh", r"check.rate: a rate in 't/h' gives no 'kWh'"),
        ({"rate": "temperature"}, "kwh", r"check.rate: a rate in 'degC' gives no 'kWh'"),
        ({"rate": "kwh"}, "kwh", r"check.rate: 'kwh' shows no rate of 'kwh'"),
        ({"rate": "mw"}, "kwh", r"deadband: 'mw' is computed from"),
        ({"rate": "kw"}, "flow", r"check: 'flow' is no totaliser"),
        ({"rate": "kw", "tolerance_percent": 0}, "kwh", "tolerance_percent"),
        ({"tolerance_percent": 5}, "kwh", "check.rate"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused_with_its_key(load, check, tag, named):
    with pytest.raises(ConfigError, match=named) as told:
        load(check, tag)
    assert "agent.yaml:" in str(told.value)


def test_the_check_is_signed_and_its_rate_ships_every_minute(load):
    config = load({"rate": "kw", "tolerance_percent": 2.5})
    factors = factor_sets.find(config.factor_set)
    plain = cbor.decode(config_.effective(config, factors, to_plain(config)))
    assert plain["meters"][0]["check"] == {"rate": "kw", "tolerance_percent": 2.5}
    pipeline = Pipeline(config, factors)
    pipeline.feed([Sample("kw", T0 + n * 10 * NS, 60 + n % 3) for n in range(60)], 2**62)
    produce = pipeline.advance(T0 + 600 * NS)
    rows = [row for piece in produce.pieces for row in piece.series if row == "kw"]
    assert rows


def test_a_rate_meter_s_tag_may_be_the_rate(load):
    config = load({"rate": "kw"}, more=[{"id": "power", "tag": "kw", "role": "electricity"}])
    assert "power.rate" in {item["name"] for item in to_plain(config)}

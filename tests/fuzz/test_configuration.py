"""Whatever stands in a configuration file, it loads or is a ConfigError with file and text."""

import copy
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import config as config_
from edge_agent.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PLANT = yaml.safe_load((ROOT / "configs/plants/aluminium.yaml").read_text(encoding="utf-8"))
PLAN = ROOT / "configs/plants/aluminium.plan.yaml"
TEXT = (ROOT / "configs/plants/aluminium.yaml").read_text(encoding="utf-8")
slow = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        ["{n}", "{n:03d}", "{", "{n.x}", "{n[0]}", "{n:999999999999d}", "modbus", ".", ""]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, at=()):
    yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*at, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*at, number))


PLACES = [place for place in places(PLANT) if place]


def outcome(path, text):
    (path.parent / PLAN.name).write_text(PLAN.read_text(encoding="utf-8"), encoding="utf-8")
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        loaded = config_.load(path)
    except ConfigError as error:
        return str(error)
    assert loaded.devices
    return ""


@slow
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=3))
def test_a_plant_with_any_value_anywhere_loads_or_is_a_configuration_error(changes, tmp_path):
    plain = copy.deepcopy(PLANT)
    for place, value in changes:
        target = plain
        for part in place[:-1]:
            inside = isinstance(target, dict | list) and (
                part in target
                if isinstance(target, dict)
                else isinstance(part, int) and part < len(target)
            )
            if not inside:
                break
            target = target[part]
        else:
            if isinstance(target, dict) or (
                isinstance(target, list) and isinstance(place[-1], int) and place[-1] < len(target)
            ):
                target[place[-1]] = value
    outcome(tmp_path / "agent.yaml", yaml.safe_dump(plain, allow_unicode=True))


@slow
@given(place=st.integers(0, len(TEXT)), length=st.integers(0, 40), text=st.text(max_size=20))
def test_a_plant_with_any_text_put_in_loads_or_is_a_configuration_error(
    place, length, text, tmp_path
):
    outcome(tmp_path / "agent.yaml", TEXT[:place] + text + TEXT[place + length :])


@slow
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_configuration_error(raw, tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        config_.load(path)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [*x]",
        "? [1, 2]\n: 3",
        "<<: {a: 1}",
        "devices: " + "[" * 3_000,
        "!!python/object/apply:os.system [exit]",
        "a: !!binary '%%'",
        "a: 1e999999",
        "a: " + "9" * 5_000,
        "devices: [{tags: [{repeat: {from: 1, to: 2000}, id: '{n:2000000000d}'}]}]",
    ],
    ids=range(9),
)
def test_yaml_that_is_meant_to_hurt_is_a_configuration_error(text, tmp_path):
    assert outcome(tmp_path / "agent.yaml", text)


def test_the_plant_itself_loads(tmp_path):
    assert outcome(tmp_path / "agent.yaml", TEXT) == ""
    assert math.isfinite(len(PLACES))

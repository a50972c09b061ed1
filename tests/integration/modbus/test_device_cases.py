"""Every device template against registers with known values, served by libmodbus."""

import json
from pathlib import Path

import pytest

from edge_agent import templates
from edge_agent.clock import SystemClock
from edge_agent.documents import Document
from edge_agent.drivers import ModbusConfig, ModbusDriver
from edge_agent.readings import GOOD

CASES = Path(__file__).parents[2] / "cases" / "devices"
NAMES = sorted(folder.name for folder in CASES.iterdir())


def case(name):
    parts = ("device", "registers", "expected")
    return [json.loads((CASES / name / f"{part}.json").read_text()) for part in parts]


def device(written, port):
    """The device as the agent's file would give it."""
    plain = {"id": "m", "host": "127.0.0.1", "port": port, "unit": 1, "interval_s": 1, **written}
    document = Document("agent.yaml", {"devices": [plain]})
    templates.expand(document)
    return ModbusConfig.model_validate(document.value["devices"][0])


@pytest.mark.parametrize("name", NAMES)
async def test_a_template_gives_the_values_its_registers_hold(name, libmodbus):
    written, registers, expected = case(name)
    async with libmodbus("tcp", 0, 1, registers=registers) as port:
        config = device(written, port)
        async with ModbusDriver(config, SystemClock()) as driver:
            got = {sample.tag.removeprefix("m."): sample for sample in await driver.read()}
            assert driver.stats.mismatched == driver.stats.strays == 0
    assert {tag: sample.value for tag, sample in got.items()} == expected
    assert {type(sample.value) for sample in got.values()} <= {int, float}
    for tag, value in expected.items():
        assert type(got[tag].value) is type(value)
        assert got[tag].quality == GOOD


def test_every_template_has_a_case():
    assert set(templates.names()) <= {case(name)[0]["template"] for name in NAMES}
    assert len(templates.names()) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_the_values_of_a_case_are_not_zero_and_all_different(name):
    _, registers, expected = case(name)
    assert 0 not in expected.values()
    assert len(set(expected.values())) == len(expected)
    assert any(word > 0xFF for word in registers.values())


@pytest.mark.parametrize("name", templates.names())
def test_a_template_asks_for_no_more_registers_than_its_limit(name):
    template, _ = templates.find(name)
    written = {"template": name}
    written |= {"ratios": dict.fromkeys(template.ratios, 2)} if template.ratios else {}
    written |= {"units": dict.fromkeys(template.units, "kg")} if template.units else {}
    driver = ModbusDriver(device(written, 502), SystemClock())
    assert all(block.count <= template.max_registers for block in driver.requests())

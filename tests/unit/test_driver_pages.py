"""The samples on the drivers' pages are valid configuration."""

import re
from pathlib import Path

import pytest

from edge_agent import config, factor_sets

PAGES = Path(__file__).parents[2] / "docs" / "drivers"


@pytest.mark.parametrize("page", ["modbus.md"])
def test_the_sample_of_a_page_loads(page, tmp_path):
    (sample,) = re.findall(r"```yaml\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    path = tmp_path / "agent.yaml"
    path.write_text(sample)
    loaded = config.load(path)
    assert [device.id for device in loaded.devices] == ["incomer", "press", "boiler-gas", "kiln"]
    kiln = loaded.devices[-1]
    assert kiln.port == 802
    assert kiln.tls.ca == tmp_path / "keys" / "plant-ca.pem"
    assert [tag.id for tag in loaded.devices[1].tags] == ["press.energy_import", "press.power"]
    travels = config.effective(loaded, factor_sets.find(loaded.factor_set), [])
    assert b"siemens-pac4200" in travels
    assert b"agent-tls.key" not in travels

"""docs/factors.md: its file and its overrides are accepted as they stand there."""

import re
from pathlib import Path

import yaml

from edge_agent import factor_overrides, factor_sets
from edge_agent.factor_overrides import Override

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "factors.md").read_text("utf-8")
FILE, OVERRIDES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_s_file_is_a_factor_set(tmp_path):
    (tmp_path / "my-set.yaml").write_text(FILE, encoding="utf-8")
    factors = factor_sets.find("my-set", tmp_path)
    assert (factors.get("gwp100.cf4").value, factors.get("heat.ef").value) == (6630, 0.11)


def test_the_page_s_overrides_apply_to_the_aluminium_set():
    whole = re.sub(r"([0-9a-f]{4})\.\.\.", lambda found: found[1] * 16, OVERRIDES)
    entries = [Override.model_validate(item) for item in yaml.safe_load(whole)["overrides"]]
    factors = factor_sets.find("cets-ag-04.01-v01-2024")
    mine = factor_overrides.apply(factors, entries)
    assert (mine.get("anode.sulphur").value, mine.get("gwp100.cf4").value) == (0.0163, 7390)


def test_the_page_names_every_set_that_ships():
    assert all(f"`{name}`" in PAGE for name in factor_sets.names())

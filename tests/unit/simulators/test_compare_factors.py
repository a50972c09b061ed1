"""The demo's own reading of a factor file agrees with the program's about what is in force."""

from pathlib import Path

import pytest

from edge_agent import factor_sets
from simulators import compare

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "factors"


@pytest.mark.parametrize("name", factor_sets.names())
def test_the_demo_takes_the_values_that_are_in_force(name):
    factors = factor_sets.find(name)
    expected = {key: factors.get(key).value for key in factors.factors if key in factors}
    assert compare.factors(FOLDER / f"{name}.yaml") == expected

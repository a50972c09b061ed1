"""A site's agents as one configuration: what is added up, and where they must agree."""

import pytest

from gateway.evidence import Configuration, EvidenceGap, merge


def configuration(factors, **changes):
    plain = {
        "site": "cm-001",
        "timezone": "Asia/Shanghai",
        "factor_set": {"id": factors.id},
        "sector": "cement",
        "control_plan": {"id": "plan", "version": 1},
        "control_lines": [{"id": "clinker_t", "scope": "kiln1"}],
        "potlines": [],
        "kilns": [{"id": "kiln1"}],
        "meters": [{"id": "a"}],
        "series": [],
        "steel": None,
    }
    return Configuration(bytes(32), plain | changes, factors)


def test_kilns_and_meters_of_all_agents_stand_together(factors):
    other = configuration(factors, kilns=[{"id": "kiln2"}], meters=[{"id": "b"}])
    plain = merge([configuration(factors), other]).plain
    assert [kiln["id"] for kiln in plain["kilns"]] == ["kiln1", "kiln2"]
    assert [meter["id"] for meter in plain["meters"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("control_plan", {"id": "plan", "version": 2}),
        ("control_lines", []),
        ("sector", "steel"),
        ("timezone", "UTC"),
    ],
)
def test_agents_that_disagree_stop_the_month(factors, key, value):
    with pytest.raises(EvidenceGap, match=f"disagree on {key}"):
        merge([configuration(factors), configuration(factors, **{key: value})])


def test_two_different_steel_works_are_refused(factors):
    one, other = (configuration(factors, steel={"units": [name]}) for name in "ab")
    assert merge([one, configuration(factors)]).plain["steel"] == {"units": ["a"]}
    with pytest.raises(EvidenceGap, match="disagree on steel"):
        merge([one, other])

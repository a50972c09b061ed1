"""The control plan's check: what a sector requires, and what a plan names that is not there."""

import copy
from functools import cache
from pathlib import Path

import pytest
import yaml

from edge_agent import control_plan, factor_sets
from edge_agent.errors import ConfigError
from gateway import forms, plan_check
from gateway.cli import main
from gateway.plan_check import Plant

ROOT = Path(__file__).resolve().parents[3]
PLANTS = ROOT / "configs/plants"
SECTORS = ("aluminium", "cement", "steel")


@cache
def files(sector):
    config = yaml.safe_load((PLANTS / f"{sector}.yaml").read_text(encoding="utf-8"))
    plan = control_plan.to_plain(control_plan.read(PLANTS / config["control_plan"]))
    return config, plan, forms.find(sector), factor_sets.find(config["factor_set"])


def plain(sector):
    config, plan, *_ = files(sector)
    return config, copy.deepcopy(plan)


def problems(sector, change=lambda _line: True, *, of_plan=lambda plan: plan):
    config, plan = plain(sector)
    plan["parameters"] = [line for line in plan["parameters"] if change(line)]
    _, _, form, factors = files(sector)
    return plan_check.check(form, of_plan(plan), plan_check.plant_of(config, factors))


@pytest.mark.parametrize("sector", SECTORS)
def test_the_example_plans_are_good(sector):
    assert problems(sector) == []


@pytest.mark.parametrize("sector", SECTORS)
def test_each_required_line_that_is_taken_away_is_missed(sector):
    config, plan = plain(sector)
    scopes = plan_check.plant_of(config, None).scopes
    required = {(name, scope) for name, some in scopes.items() for scope in some}
    assert len(required) > 5
    for line in plan["parameters"]:
        key = (line["id"], line["scope"])
        found = problems(sector, lambda one, key=key: (one["id"], one["scope"]) != key)
        named = [text for text in found if text.startswith(key[0]) and key[1] in text]
        assert bool(named) == (key in required), key


@pytest.mark.parametrize("sector", SECTORS)
def test_a_plan_alone_is_checked_for_required_parameters(sector):
    _, plan = plain(sector)
    form = forms.find(sector)
    assert plan_check.check(form, plan, Plant()) == []
    required = next(one.id for one in form.parameters.values() if one.required)
    plan["parameters"] = [line for line in plan["parameters"] if line["id"] != required]
    (text,) = plan_check.check(form, plan, Plant())
    assert text.startswith(f"{required} ")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"unit": "kg"}, "unit is 'kg'; t is right"),
        ({"sources": [{"kind": "meter", "refs": ["k1_clinkr"]}]}, "there is no meter 'k1_clinkr'"),
        ({"sources": [{"kind": "default", "refs": ["clinker.ef"]}]}, "no factor 'clinker.ef'"),
        ({"sources": [{"kind": "default", "refs": ["clinker.white.ef"]}]}, "not a default"),
        ({"id": "clinker"}, "no such parameter; did you mean 'clinker_t'?"),
        ({"scope": "kiln9"}, "there is no such scope; the plant has kiln1, kiln2"),
        ({"substitution": ["redundant_meter"], "sources": [{"kind": "meter", "refs": ["k1_clinker"]}]},
         "redundant_meter needs a second source"),
        ({"substitution": ["totaliser_difference"], "sources": [{"kind": "meter", "refs": ["k1_slag"]}]},
         "totaliser_difference needs a second source"),
        ({"substitution": ["conservative_bound"], "bound": None}, "conservative_bound needs a bound"),
    ],
)  # fmt: skip
def test_each_kind_of_mistake_is_named(change, named):
    def spoil(plan):
        line = next(one for one in plan["parameters"] if one["id"] == "clinker_t")
        line.update(change)
        return plan

    found = problems("cement", of_plan=spoil)
    assert any(named in text for text in found), found


def written(tmp_path, change):
    plan = yaml.safe_load((PLANTS / "cement.plan.yaml").read_text(encoding="utf-8"))
    change(plan)
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: p["parameters"][0]["substitution"].append("guess"), "substitution"),
        (
            lambda p: p["parameters"][0].update(substitution=["guide_default"]),
            "guide_default needs",
        ),
        (lambda p: p["parameters"].append(p["parameters"][0]), "stands twice"),
        (lambda p: p["parameters"][0].update(frequenzy="day"), "frequenzy"),
        (lambda p: p["parameters"][0].pop("role"), "role"),
        (lambda p: p["parameters"][0].update(sources=[]), "sources"),
        (lambda p: p["parameters"][0].update(sources=[{"kind": "rumour", "refs": ["x"]}]), "kind"),
        (lambda p: p.update(sector="paper"), "sector"),
    ],
)
def test_a_plan_that_breaks_the_schema_names_file_and_key(tmp_path, change, named):
    path = written(tmp_path, change)
    with pytest.raises(ConfigError, match=named) as caught:
        control_plan.read(path)
    assert caught.value.file == str(path)
    assert caught.value.line > 0


def test_the_command_exits_0_when_good_1_with_problems_2_on_a_wrong_file(tmp_path, capsys):
    assert main(["plan", "check", str(PLANTS / "cement.yaml")]) == 0
    assert capsys.readouterr().out.endswith("good\n")
    gap = written(tmp_path, lambda plan: plan["parameters"].pop(0))
    text = gap.read_text(encoding="utf-8").replace("clinker_t", "limestone_t")
    gap.write_text(text.replace("scope: kiln2", "scope: kiln8", 1), encoding="utf-8")
    assert main(["plan", "check", str(gap)]) == 1
    said = capsys.readouterr().out
    assert "clinker_t 熟料产量: required, but the plan has no source for it" in said
    broken = written(tmp_path, lambda plan: plan.pop("author"))
    assert main(["plan", "check", str(broken)]) == 2
    assert str(broken) in capsys.readouterr().err
    assert main(["plan", "check"]) == 2

"""``carbon-gateway factors``: what a person and a program see."""

import json

import pytest

from edge_agent import factor_sets
from gateway.cli import main
from gateway.factor_desk import differences, table

STEEL = "cets-ag-03.01-v01-2024"


def seen(capsys, *words):
    assert main(["factors", *words]) == 0
    return capsys.readouterr().out


def test_list_shows_every_set_with_its_counts(capsys):
    lines = seen(capsys, "list").splitlines()
    assert [line.split()[0] for line in lines[2:]] == factor_sets.names()
    (steel,) = [line.split() for line in lines if line.startswith(STEEL)]
    values, verified, unverified = map(int, steel[2:5])
    assert (values, verified, unverified) == (131, 0, 131)


def test_list_and_show_speak_json_to_programs(capsys):
    listed = json.loads(seen(capsys, "list", "--json"))
    assert {row["id"] for row in listed} == set(factor_sets.names())
    shown = json.loads(seen(capsys, "show", STEEL, "--json"))
    digest = shown.pop("sha256")
    assert len(digest) == 64
    assert factor_sets.from_plain(shown) == factor_sets.find(STEEL)


def test_show_marks_what_is_in_force_and_names_every_document(capsys):
    text = seen(capsys, "show", STEEL)
    dolomite = [line.split() for line in text.splitlines() if "steel.material.dolomite" in line]
    assert [row[:3] for row in dolomite] == [
        ["*", "steel.material.dolomite", "0.471"],
        ["steel.material.dolomite", "0.476", "tCO2/t"],
    ]
    assert "oxidation_in_steel  none" in text
    for source in {factor.source for factor in factor_sets.find(STEEL).all()}:
        assert source in text


def test_show_prints_validity_and_uncertainty(capsys):
    lines = seen(capsys, "show", "us-40cfr98-f").splitlines()
    assert any("gwp100.cf4" in line and "from 2025-01-01" in line for line in lines)
    assert any("gwp100.cf4" in line and "to 2024-12-31" in line for line in lines)
    assert any("pfc.slope.hss" in line and " 44 % " in line for line in lines)


def test_diff_names_changed_values_and_those_of_one_set_only(capsys):
    """anode-effect-pfc.md 0.3: SWPB, VSS and HSS differ by -14 %, -37 % and +67 %."""
    text = seen(capsys, "diff", "ipcc-2006", "ipcc-2019")
    assert "6 values differ" in text
    for technology, change in (("swpb", "-14.34 %"), ("vss", "-36.96 %"), ("hss", "+66.67 %")):
        (line,) = [row for row in text.splitlines() if row.startswith(f"pfc.slope.{technology}")]
        assert line.endswith(change)
    assert "pfc.slope.pfpb_m" in text.partition("only in ipcc-2019")[2]
    assert "pfc.overvoltage.cwpb" in text.partition("only in ipcc-2006")[2]


def test_diff_shows_choices_that_are_taken_differently(capsys):
    text = seen(capsys, "diff", "cets-ag-04.01-v01-2024", "gbt-32151.4-2015")
    (line,) = [row for row in text.splitlines() if row.startswith("gwp_set")]
    assert line.split() == ["gwp_set", "ar5", "sar"]
    plain = json.loads(seen(capsys, "diff", "cets-ag-04.01-v01-2024", "gbt-32151.4-2015", "--json"))
    assert {"id": "anode.net_consumption", "a": 0.411, "b": 0.42} in [
        {key: row[key] for key in ("id", "a", "b")} for row in plain["changed"]
    ]


def test_a_set_does_not_differ_from_itself():
    factors = factor_sets.find(STEEL)
    found = differences(factors, factors)
    assert (found["changed"], found["only_a"], found["only_b"], found["options"]) == (
        [],
        [],
        [],
        [],
    )


def test_a_folder_of_one_s_own_is_looked_into(capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "id: mine\nversion: 3\ntitle: mine\nfactors:\n"
        "  - {id: heat.ef, value: 0.1, unit: tCO2/GJ, source: letter of 2026, status: unverified}\n",
        encoding="utf-8",
    )
    assert "mine  3" in seen(capsys, "list", "--folder", str(tmp_path))
    assert "letter of 2026" in seen(capsys, "show", "mine", "--folder", str(tmp_path))


def test_a_set_that_is_not_there_is_a_usage_error_that_names_those_there_are(capsys):
    assert main(["factors", "show", "nix"]) == 2
    assert "known: cets-ag-02.01-v01-2024" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["factors"])
    assert caught.value.code == 2


def test_a_table_of_nothing_has_its_head():
    assert table(("a", "bc"), []) == ["a  bc", "-------"]

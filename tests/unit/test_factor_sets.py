"""Factor files: what stands in them, what is refused, and how a site puts its own values in."""

import dataclasses
import functools
import json
import re
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge_agent import factor_overrides, factor_sets
from edge_agent.calc import vocabulary
from edge_agent.calc.factors import SITE, UNVERIFIED, VERIFIED
from edge_agent.errors import CalculationError, ConfigError
from edge_agent.factor_options import Options, allowed
from edge_agent.factor_overrides import Override
from edge_agent.wire import cbor

SETS = (
    "cets-ag-02.01-v01-2024", "cets-ag-03.01-v01-2024", "cets-ag-04.01-v01-2024", "eu-cbam-2025",
    "gbt-32151.4-2015", "gbt-32151.5-2015", "gbt-32151.8-2015", "ipcc-2006", "ipcc-2019",
    "us-40cfr98-f",
)  # fmt: skip
find = functools.cache(factor_sets.find)
CEMENT, STEEL, ALUMINIUM = (find(SETS[i]) for i in range(3))
PFC = json.loads(
    (Path(__file__).parents[1] / "data" / "vectors" / "pfc.json").read_text(encoding="utf-8")
)
EVIDENCE = "ab" * 32


def test_the_shipped_sets_are_those_of_the_three_sectors_and_their_cross_checks():
    assert tuple(factor_sets.names()) == SETS


# -- the numbers, as the documents print them --------------------------------------------------

# domain-china.md 2.2: NCV, CC, OF of the 2015 generation
FUELS_2015 = """
anthracite 20.304 0.02749 0.94
bituminous 19.570 0.02618 0.93
lignite 14.080 0.02800 0.96
washed_coal 26.344 0.02540 0.90
other_washed_coal 8.363 0.02540 0.90
other_coal_products 17.460 0.03360 0.90
coke 28.447 0.02950 0.93
crude_oil 41.816 0.02010 0.98
fuel_oil 41.816 0.02110 0.98
gasoline 43.070 0.01890 0.98
diesel 42.652 0.02020 0.98
kerosene 44.750 0.01960 0.98
lng 41.868 0.01720 0.98
lpg 50.179 0.01720 0.98
tar 33.453 0.02200 0.98
crude_benzol 41.816 0.02270 0.98
refinery_gas 45.998 0.01820 0.99
natural_gas 389.310 0.01530 0.99
coke_oven_gas 173.540 0.01210 0.99
blast_furnace_gas 33.000 0.07080 0.99
converter_gas 84.000 0.04960 0.99
other_gas 52.270 0.01220 0.99
"""
# the same, CETS-style: NCV, CC
FUELS_CETS = """
anthracite 22.867 0.02749
bituminous 23.076 0.02618
lignite 14.759 0.02797
washed_coal 26.344 0.02541
coal_gangue 8.374 0.02541
coal_slurry 12.545 0.02541
coke 28.435 0.02942
petroleum_coke 32.500 0.02750
crude_oil 41.816 0.02008
fuel_oil 41.816 0.02110
gasoline 43.070 0.01890
diesel 42.652 0.02020
kerosene 43.070 0.01960
lng 51.498 0.01720
lpg 50.179 0.01720
tar 33.453 0.02200
refinery_gas 45.998 0.01820
natural_gas 389.310 0.01532
coke_oven_gas 173.854 0.01210
blast_furnace_gas 33.000 0.07080
converter_gas 84.000 0.04960
"""
GBT = ("gbt-32151.4-2015", "gbt-32151.5-2015", "gbt-32151.8-2015")


def rows(text):
    return [(name, *map(float, rest)) for name, *rest in map(str.split, text.strip().split("\n"))]


@pytest.mark.parametrize("name", GBT)
def test_a_set_of_2015_holds_its_fuel_table(name):
    factors = find(name)
    for fuel, *expected in rows(FUELS_2015):
        found = [factors.get(f"fuel.{fuel}.{key}").value for key in ("ncv", "carbon", "oxidation")]
        assert found == expected, fuel


@pytest.mark.parametrize("factors", [CEMENT, STEEL, ALUMINIUM], ids=lambda item: item.id)
def test_a_set_of_2024_holds_its_fuel_table(factors):
    for fuel, *expected in rows(FUELS_CETS):
        assert [factors.get(f"fuel.{fuel}.{key}").value for key in ("ncv", "carbon")] == expected
        assert factors.get(f"fuel.{fuel}.ncv").unit == (
            "GJ/10^4Nm3" if fuel in vocabulary.GAS_FUELS else "GJ/t"
        )


STEEL_2024 = {
    "material": {
        "limestone": 0.44, "dolomite": 0.471, "electrode": 3.663, "pig_iron": 0.172, "dri": 0.073,
        "scrap": 0.037, "ferronickel": 0.037, "ferrochrome_high_carbon": 0.348,
        "ferromolybdenum": 0.018, "ferromanganese_blast_furnace": 0.275,
        "ferromanganese_high_carbon": 0.275, "ferromanganese_micro_carbon": 0.004,
        "silicomanganese": 0.092, "silicomanganese_low_carbon": 0.011, "ferrosilicon": 0.007,
    },
    "product": {"crude_steel": 0.037, "pig_iron": 0.172, "tar": 2.699, "crude_benzol": 3.382},
}  # fmt: skip
STEEL_2015 = {
    "material": {
        "limestone": 0.44, "dolomite": 0.471, "electrode": 3.663, "pig_iron": 0.172, "dri": 0.073,
        "ferronickel": 0.037, "ferrochrome": 0.275, "ferromolybdenum": 0.018,
    },
    "product": {"crude_steel": 0.0154, "pig_iron": 0.172, "methanol": 1.375},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"), [(STEEL.id, STEEL_2024), ("gbt-32151.5-2015", STEEL_2015)]
)
def test_a_steel_set_holds_its_materials_and_products(name, expected):
    """domain-china.md 5.3 and 5.4, all of them and no other."""
    factors = find(name)
    for kind, values in expected.items():
        found = {
            key.rpartition(".")[2]: factors.get(key).value
            for key in factors.factors
            if key.startswith(f"steel.{kind}.")
        }
        assert found == values


def test_the_cement_sets_hold_their_clinker_factors():
    found = {kind: CEMENT.get(f"clinker.{kind}.ef").value for kind in vocabulary.CLINKERS}
    assert found == {"portland": 0.535, "white": 0.55, "sulfoaluminate": 0.413, "aluminate": 0.292}
    assert find("gbt-32151.8-2015").get("clinker.portland.ef").value == 0.535


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        ("anode.net_consumption", 0.411), ("anode.sulphur", 0.02), ("anode.ash", 0.004),
        ("anode.loss", 0.1518), ("anode.co2_per_t.prebake", 1.424), ("pfc.slope.cwpb", 0.143),
        ("pfc.c2f6_ratio.cwpb", 0.1), ("pfc.default.cf4", 0.034), ("pfc.default.c2f6", 0.0034),
        ("pfc.default.co2e", 0.1454), ("carbonate.limestone.ef", 0.405),
        ("carbonate.soda_ash.ef", 0.411), ("gwp100.cf4", 6630), ("gwp100.c2f6", 11100),
        ("heat.ef", 0.11), ("heat.feed_enthalpy", 83.74), ("heat.water_capacity", 4.1868),
        ("grid.east", 0.55), ("grid.fossil", 0.8273), ("grid.without_traded_non_fossil", 0.6096),
        ("fuel.unmeasured_coal.carbon", 0.03085),
    ],
)  # fmt: skip
def test_the_aluminium_set_holds_its_values(factor, expected):
    assert ALUMINIUM.get(factor).value == expected


@pytest.mark.parametrize(
    ("day", "expected"),
    [(date(2021, 6, 1), 0.5568), (date(2022, 12, 31), 0.5366), (date(2023, 1, 1), 0.5306),
     (date(2026, 11, 1), 0.5306)],
)  # fmt: skip
def test_the_grid_factor_is_that_of_its_year(day, expected):
    assert CEMENT.get("grid.national", day).value == expected


def test_a_value_is_not_used_outside_its_validity():
    with pytest.raises(CalculationError, match="no factor 'grid.national' valid on 2019-01-01"):
        CEMENT.get("grid.national", date(2019, 1, 1))


def test_ipcc_2019_holds_the_slopes_that_the_eu_prints():
    table = PFC["coefficient_tables"]["CBAM2025_slope"]
    assert len(table) >= 6
    for name in ("ipcc-2019", "eu-cbam-2025"):
        factors = find(name)
        for technology, values in table.items():
            key = technology.lower()
            assert factors.get(f"pfc.slope.{key}").value == values["slope"]
            assert factors.get(f"pfc.c2f6_ratio.{key}").value == values["c2f6_cf4"]


def test_the_us_set_changes_its_warming_potentials_with_reporting_year_2025():
    factors = find("us-40cfr98-f")
    assert factors.get("gwp100.cf4", date(2024, 12, 31)).value == 7390
    assert factors.get("gwp100.cf4", date(2025, 1, 1)).value == 6630


# -- honesty ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_every_value_names_document_unit_and_status(name):
    factors = find(name)
    for factor in factors.all():
        assert len(factor.source) > 10, factor.id
        assert factor.status in {VERIFIED, UNVERIFIED}
        assert factor.unit


def test_only_what_was_read_in_a_primary_text_is_verified():
    """EU regulations for AR4 and AR6 potentials, 40 CFR 98.65; nobody opened IPCC or annex A."""
    verified = {
        (name, factor.id, factor.source)
        for name in SETS
        for factor in find(name).all()
        if factor.status == VERIFIED
    }
    assert {name for name, _, _ in verified} == {"ipcc-2006", "ipcc-2019", "us-40cfr98-f"}
    assert {source for _, _, source in verified} == {
        "Regulation (EU) 517/2014 annex I section 2",
        "annexes of COM(2022) 150",
        "40 CFR 98.65",
    }
    assert all(key.startswith(("gwp", "anode.co2_per_t")) for _, key, _ in verified)


# -- options ----------------------------------------------------------------------------------


def test_every_clause_that_is_not_settled_is_an_option_of_some_set():
    """domain-china.md 2.8."""
    unsettled = {
        "oxidation_in_steel", "dolomite_ef", "anode_route", "nc_default", "pfc_ef_default",
        "pfc_c2f6_ratio", "gwp_set", "coal_ncv_default", "deadline_days", "netting_rule_steel",
    }  # fmt: skip
    taken = {name for set_ in (CEMENT, STEEL, ALUMINIUM) for name in set_.options}
    assert unsettled <= taken <= Options.model_fields.keys()


@pytest.mark.parametrize("name", SETS)
def test_a_value_under_a_choice_has_a_value_for_the_choice_that_is_taken(name):
    factors = find(name)
    for key, versions in factors.factors.items():
        if any(factor.when for factor in versions):
            assert key in factors
            assert factors.applies(factors.get(key))


@pytest.mark.parametrize(
    ("option", "value", "factor", "expected"),
    [
        ("gwp_set", "sar", "gwp100.c2f6", 9200),
        ("gwp_set", "ar6", "gwp100.cf4", 7380),
        ("nc_default", "gbt_2015", "anode.net_consumption", 0.42),
        ("nc_default", "draft_2024", "anode.net_consumption", 0.398),
        ("pfc_c2f6_ratio", "ipcc_2006", "pfc.c2f6_ratio.cwpb", 0.121),
        ("pfc_ef_default", "draft_2024", "pfc.default.cf4", 0.0188),
        ("coal_ncv_default", "power_guide", "fuel.bituminous.ncv", 26.7),
        ("coal_ncv_default", "gbt_2015", "fuel.anthracite.ncv", 20.304),
    ],
)
def test_another_choice_takes_another_value(option, value, factor, expected):
    switched = factor_overrides.apply(ALUMINIUM, [override(f"options.{option}", value)])
    assert switched.get(factor).value == expected
    assert ALUMINIUM.get(factor).value != expected


def test_an_option_a_set_does_not_have_is_named():
    with pytest.raises(CalculationError, match="no option 'gwp_set'; it has: coal_ncv_default"):
        CEMENT.option("gwp_set")


def test_options_name_the_values_they_may_take():
    assert allowed("dolomite_ef") == ("web_form", "monthly_form")
    assert allowed("deadline_days") == ()


# -- travelling -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_a_set_survives_the_configuration_document(name):
    factors = find(name)
    plain = factor_sets.to_plain(factors)
    assert factor_sets.from_plain(cbor.decode(cbor.encode(plain))) == factors
    assert len(cbor.encode(plain)) < 32_768


def test_a_document_of_before_options_is_still_read():
    plain = {
        "id": "old-set", "version": 1, "title": "t",
        "factors": [
            {"id": "gwp100.cf4", "value": 6630.0, "unit": "tCO2e/t", "source": "IPCC AR5",
             "clause": "", "status": "unverified", "valid_from": None, "valid_to": None,
             "relative_uncertainty": None}
        ],
    }  # fmt: skip
    assert factor_sets.from_plain(plain).get("gwp100.cf4").source == "IPCC AR5"


def test_a_document_that_breaks_a_rule_is_refused():
    plain = factor_sets.to_plain(ALUMINIUM)
    plain["factors"][3]["unit"] = "kg"
    with pytest.raises(ValueError, match=r"factors\[3\].unit: the unit of anode.sulphur is 'kg'"):
        factor_sets.from_plain(plain)


# -- what is refused --------------------------------------------------------------------------

GOOD = """
id: my-set
version: 1
title: mine
sources: {lab: "laboratory report"}
options:
  gwp_set: {value: ar5, source: lab, status: unverified}
factors:
  - {id: gwp100.cf4, value: 6630, unit: tCO2e/t, source: lab, status: unverified, when: gwp_set=ar5}
"""


def written(folder, text):
    path = folder / "my-set.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_set_of_a_plant_s_own_is_read(tmp_path):
    path = written(tmp_path, GOOD)
    assert factor_sets.read(path).get("gwp100.cf4").source == "laboratory report"
    assert factor_sets.names(tmp_path) == ["my-set"]


@pytest.mark.parametrize(
    ("old", "new", "line", "match"),
    [
        ("unit: tCO2e/t", "unit: kg", 9, r"factors\[0\].unit: the unit of gwp100.cf4 is 'kg'"),
        ("id: gwp100.cf4", "id: gwp.cf4", 9, "'gwp.cf4' is no id of the vocabulary"),
        ("source: lab, status: unverified, when", "source: lap, status: unverified, when", 9,
         "no source 'lap' .known: lab"),
        ("value: ar5", "value: ar9", 7, "options.gwp_set.value.*'sar', 'tar', 'ar4', 'ar5' or"),
        ("gwp_set=ar5", "gwp_set=ar9", 9, "gwp_set has no value 'ar9' .one of sar"),
        ("gwp_set=ar5", "nc_default=web_form", 9, "the set has no option 'nc_default'"),
        ("status: unverified, when", "status: sure, when", 9, "'verified', 'unverified' or"),
        ("status: unverified, when", "status: site, when", 9, "a factor file has no site values"),
        ("gwp_set: {value: ar5, source: lab, status: unverified}",
         "gwp_set: {value: ar5, source: lab, status: site}", 7, "a factor file has no site values"),
        ("{value: ar5, source: lab", "{value: ar5, source: lap", 7, "no source 'lap' .known: lab"),
        ("value: 6630", "value: .nan", 9, "finite"),
        ("value: 6630", "price: 6630", 9, r"value: this key is missing"),
        ("version: 1", "version: 0", 3, "greater than or equal to 1"),
        ("id: my-set", "id: other", 2, "is 'other' in a file named my-set.yaml"),
        ("when: gwp_set=ar5", "valid_from: 2025-01-02, valid_to: 2025-01-01", 9, "is before"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_line_key_and_what_is_right(tmp_path, old, new, line, match):
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        factor_sets.read(path)
    assert re.search(match, str(caught.value)), str(caught.value)
    assert f"my-set.yaml:{line}:" in str(caught.value)


def test_two_values_for_the_same_day_are_refused(tmp_path):
    entry = "  - {id: heat.ef, value: %s, unit: tCO2/GJ, source: lab, status: unverified%s}\n"
    both = GOOD.lstrip() + entry % (0.11, "") + entry % (0.12, ", valid_from: 2026-01-01")
    with pytest.raises(ConfigError, match="two values of heat.ef apply on the same day"):
        factor_sets.read(written(tmp_path, both))
    apart = GOOD.lstrip() + entry % (0.11, ", valid_to: 2025-12-31")
    apart += entry % (0.12, ", valid_from: 2026-01-01")
    factors = factor_sets.read(written(tmp_path, apart))
    assert factors.get("heat.ef", date(2025, 12, 31)).value == 0.11
    assert factors.get("heat.ef", date(2026, 1, 1)).value == 0.12


def test_an_unknown_set_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"no factor set '\.\./x' \(known: cets-ag-02"):
        factor_sets.find("../x")


# -- a site's own values ----------------------------------------------------------------------


def override(factor_id, value, unit="", **more):
    fields = {"reason": "analysis of the plant's laboratory", "evidence": EVIDENCE} | more
    return Override(id=factor_id, value=value, unit=unit, **fields)


def test_a_site_value_says_why_on_what_ground_and_what_it_replaces():
    mine = factor_overrides.apply(ALUMINIUM, [override("anode.sulphur", 0.0163, "1")])
    found = mine.get("anode.sulphur")
    assert (found.value, found.status, found.replaces) == (0.0163, SITE, 0.02)
    assert (found.reason, found.evidence) == ("analysis of the plant's laboratory", EVIDENCE)
    assert EVIDENCE in found.source
    assert mine.site_values() == (found,)
    assert ALUMINIUM.get("anode.sulphur").value == 0.02
    assert ALUMINIUM.site_values() == ()


def test_a_site_value_survives_the_configuration_document():
    mine = factor_overrides.apply(
        ALUMINIUM,
        [
            override("anode.sulphur", 0.0163, "1", relative_uncertainty=0.1),
            override("options.gwp_set", "ar4"),
            override("options.deadline_days", 30),
        ],
    )
    back = factor_sets.from_plain(cbor.decode(cbor.encode(factor_sets.to_plain(mine))))
    assert back == mine
    assert back.get("gwp100.cf4").value == 7390
    assert (back.option("gwp_set").status, back.option("gwp_set").replaces) == (SITE, "ar5")
    assert back.option("deadline_days").value == 30
    assert len(back.site_values()) == 3


def test_outside_its_validity_a_site_value_gives_way_to_the_set_s_own():
    from_july = override("heat.ef", 0.1, "tCO2/GJ", valid_from=date(2026, 7, 1))
    mine = factor_overrides.apply(CEMENT, [from_july])
    assert mine.get("heat.ef", date(2026, 6, 30)).value == 0.11
    assert mine.get("heat.ef", date(2026, 7, 1)).value == 0.1


def test_a_value_the_set_lacks_may_come_from_the_site():
    measured = override("pfc.low_voltage.cf4", 0.02, "kg/tAl")
    found = factor_overrides.apply(ALUMINIUM, [measured]).get("pfc.low_voltage.cf4")
    assert (found.value, found.replaces) == (0.02, None)


@pytest.mark.parametrize(
    ("overrides", "key", "match"),
    [
        ([override("anode.sulfur", 0.02, "1")], "overrides[0].id", "did you mean 'anode.sulphur'"),
        ([override("anode.sulphur", 2, "%")], "overrides[0].unit", "1 is right"),
        ([override("anode.sulphur", "two", "1")], "overrides[0].value", "a number is right"),
        ([override("anode.sulphur", float("nan"), "1")], "overrides[0].value", "a number"),
        ([override("options.gwp_set", "ar7")], "overrides[0].value", "one of sar, tar"),
        ([override("options.deadline_days", 40.5)], "overrides[0].value", "whole number"),
        ([override("options.dolomite_ef", "web_form")], "overrides[0].id", "no option"),
        ([override("heat.ef", 0.1, "tCO2/GJ")] * 2, "overrides[1]", "overridden twice"),
    ],
)
def test_an_override_that_does_not_fit_is_refused_with_what_is_right(overrides, key, match):
    with pytest.raises(ConfigError) as caught:
        factor_overrides.apply(ALUMINIUM, overrides)
    assert caught.value.key == key
    assert match in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"reason": ""},
        {"reason": "lab"},
        {"evidence": ""},
        {"evidence": "ab"},
        {"evidence": "AB" * 32},
    ],
)
def test_an_override_without_reason_or_evidence_is_refused(change):
    with pytest.raises(ValidationError):
        override("heat.ef", 0.1, "tCO2/GJ", **change)


# -- vocabulary -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_the_names_inside_ids_are_words_of_the_vocabulary(name):
    lists = {
        "fuel": vocabulary.FUELS, "deduction": vocabulary.SUBSTITUTES,
        "clinker": vocabulary.CLINKERS, "carbonate": vocabulary.CARBONATES,
        "oxidation.solid": vocabulary.EQUIPMENT, "steel.material": vocabulary.STEEL_MATERIALS,
        "steel.product": vocabulary.STEEL_PRODUCTS,
    }  # fmt: skip
    for key in find(name).factors:
        for start, words in lists.items():
            if key.startswith(f"{start}."):
                assert key.removeprefix(f"{start}.").split(".")[0] in words, key


def test_an_id_means_one_thing():
    for word in vocabulary.IDS:
        example = word.pattern.replace("{name}", "x")
        assert vocabulary.find(example) == word
    assert vocabulary.find("fuel.x.ncv.more") is None
    assert vocabulary.find("fuel..ncv") is None


def test_a_factor_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ALUMINIUM.get("anode.ash").value = 1

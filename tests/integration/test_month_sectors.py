"""A cement plant and a steel works from meter readings and entries to a verified bundle.

Expected figures are the worked cases of ``china.json``.
"""

import json
import math
import random
import statistics
from decimal import Decimal

import pytest
from openpyxl import load_workbook

from edge_agent.wire.keys import public_key
from gateway import bundle as bundle_
from gateway import trust_file
from gateway import verify as verify_
from gateway.cli import main
from gateway.explain import explain
from gateway.month import MonthValue

HOURS = 744


@pytest.fixture(scope="module")
def cases(vectors):
    """Rounded steps of the worked cases by case and step."""
    return {
        one["id"]: {step["name"]: step["rounded"] for step in (*one["steps"], one["result"])}
        for one in vectors("china")["vectors"]
    }


def cement_readings(counter, rate):
    return [
        *counter("k1.clinker.total", 15_500_000, first=4_290_000_000, modulus=2**32),
        *rate("k1.clinker.rate", 155_000 / HOURS),
        *rate("k1.slag.rate", 9_200 / HOURS),
        *counter("k1.steel_slag.total", 3_500_000),
        *counter("k1.ash.total", 1_800_000),
        *counter("k2.clinker.total", 15_500_000),
        *counter("k2.coal.total", 15_544_450),
        *counter("grid.energy", 12_000_000),
    ]


def cement_entries(entry):
    lots = ((5200.4, 22.815), (4810.15, 23.402), (5533.9, 22.19))
    stock = (("opening", 8420.55), ("bought", 16310.2), ("closing", 9186.3))
    clinker = (("opening", 20000), ("used", 150000), ("passed_on", 4000), ("closing", 20950))
    oxides = (("cao", 65.42), ("mgo", 1.87), ("cao_nc", 1.21), ("mgo_nc", 0.09))
    return [
        *(
            entry("analysis", "kiln1.coal", "fuel_ncv", value, "GJ/t", day=5 + 9 * at, mass=mass)
            for at, (mass, value) in enumerate(lots)
        ),
        *(entry("stock", "kiln1.coal", name, value, "t") for name, value in stock),
        *(entry("stock", "kiln1.clinker", name, value, "t") for name, value in clinker),
        entry("weighing", "kiln1.diesel", "amount", 42.6, "t"),
        entry("weighing", "kiln1.limestone", "amount", 200_000, "t"),
        *(
            entry("analysis", "kiln2.clinker", f"clinker_{name}", value, "%")
            for name, value in oxides
        ),
        entry("analysis", "kiln2.coal", "fuel_carbon_content", 0.6152, "tC/t", uncertainty=0.01),
        entry("weighing", "kiln2.rdf", "amount", 2400, "t"),
        entry("analysis", "kiln2.rdf", "alternative_ncv", 25.5, "GJ/t"),
        entry("analysis", "kiln2.rdf", "alternative_factor", 85, "kgCO2/GJ"),
        entry("analysis", "kiln2.rdf", "fossil_fraction", 80, "%"),
    ]


DUSTS = (
    ("weighing", "kiln2.kiln_dust", "kiln_dust_t", "amount", 620, "t"),
    ("weighing", "kiln2.bypass_dust", "bypass_dust_t", "amount", 310, "t"),
    ("analysis", "kiln2.bypass_dust", "bypass_decomposition", "bypass_decomposition", 60, "%"),
    ("weighing", "kiln2.raw_meal", "raw_meal_t", "amount", 248_000, "t"),
    ("analysis", "kiln2.raw_meal", "raw_meal_carbon", "raw_meal_carbon", 0.2, "%"),
)


def with_dusts(_plain, plan):
    """The plan of a plant that also weighs kiln2's dusts and raw meal."""
    head = {"scope": "kiln2", "frequency": "month", "role": "laboratory", "evidence": "record"}
    plan["parameters"] += [
        {
            **head,
            "id": parameter,
            "unit": unit,
            "sources": [{"kind": "lab" if kind == "analysis" else "entry", "refs": [item]}],
        }
        for kind, item, parameter, _, _, unit in DUSTS
    ]


@pytest.fixture(scope="module")
def dusty(build_site, counter, rate, entry):
    site = build_site("cement", cement_readings(counter, rate), with_dusts)
    rows = [entry(kind, item, quantity, x, unit) for kind, item, _, quantity, x, unit in DUSTS]
    site.enter("october", [*cement_entries(entry), *rows])
    return site.make()


@pytest.fixture(scope="module")
def cement(build_site, counter, rate, entry):
    site = build_site("cement", cement_readings(counter, rate))
    site.enter("october", cement_entries(entry))
    return site, site.make()


STEEL_FUELS = (
    ("anthracite", 6150.4, 24.115),
    ("bituminous", 41200.75, 22.908),
    ("washed_coal", 128640.2, None),
    ("coke", 21075.6, None),
)
STEEL_MATERIALS = {
    "limestone": 7400,
    "dolomite": 12500,
    "electrode": 96.5,
    "pig_iron": 2300,
    "dri": 1500,
    "scrap": 31000,
    "ferrochrome_high_carbon": 85,
    "ferromanganese_high_carbon": 640,
    "silicomanganese": 2750,
    "ferrosilicon": 900,
    "ferronickel": 120,
    "ferromolybdenum": 45,
    "ferromanganese_micro_carbon": 330,
}


def steel_entries(entry):
    carbon = {"hot_metal": 4.3, "scrap": 0.15, "flux": 12, "steel": 0.06, "slag": 0.1}
    mass = {"hot_metal": 95000, "scrap": 14000, "flux": 5200, "steel": 104500, "slag": 9500}
    rows = []
    for name, amount, ncv in STEEL_FUELS:
        rows += [
            entry("stock", f"site.{name}", "opening", 1000, "t"),
            entry("stock", f"site.{name}", "bought", amount, "t"),
            entry("stock", f"site.{name}", "closing", 1000, "t"),
        ]
        if ncv is not None:
            rows.append(entry("analysis", f"site.{name}", "fuel_ncv", ncv, "GJ/t", mass=100))
    rows += [
        entry("weighing", f"site.{name}", "amount", amount, "t")
        for name, amount in STEEL_MATERIALS.items()
    ]
    for name, amount in (("crude_steel", 251300), ("crude_benzol", 905.4), ("tar", 3420.15)):
        rows.append(entry("weighing", f"site.{name}", "amount", amount, "t"))
    for name, percent in carbon.items():
        value = Decimal(str(percent)) / 100
        rows.append(entry("analysis", f"bof1.{name}", "flow_carbon_content", value, "tC/t"))
        rows.append(entry("weighing", f"bof1.{name}", "amount", mass[name], "t"))
    rows += [
        entry("weighing", "bof1.ldg", "amount", 980, "10^4Nm3"),
        entry("weighing", "power1.ldg", "amount", 900, "10^4Nm3"),
        entry("analysis", "bf1.coal", "flow_ncv", 22.908, "GJ/t"),
        entry("weighing", "bf1.iron", "amount", 190_000, "t"),
    ]
    return rows


def steel_readings(counter, rate):
    return [
        *rate("cog.bought", 4_102_500 / HOURS),
        *counter("bf1.cog", 950_000),
        *counter("bf1.bfg_used", 142_000_000),
        *counter("bf1.bfg_made", 385_000_000),
        *counter("power1.bfg", 240_000_000),
        *counter("bf1.coke", 86_400_000),
        *counter("bf1.coal", 35_100_000),
        *counter("grid.energy", 48_250_500),
    ]


@pytest.fixture(scope="module")
def steel(build_site, counter, rate, entry):
    site = build_site("steel", steel_readings(counter, rate))
    site.enter("october", steel_entries(entry))
    return site, site.make()


def test_the_clinker_factor_route_gives_the_worked_case(cement, cases, figures_of):
    found = figures_of(cement[1])
    assert Decimal(found["clinker_t", "kiln1"]["value"]) == 155_000
    assert "rollover" in found["clinker_t", "kiln1"]["note"]
    assert found["process_co2_t", "kiln1"]["reported"] == cases["CE-02"]["E_process"]


def test_kiln_coal_is_blended_by_mass_and_balanced_by_stock(cement, cases, figures_of):
    found = figures_of(cement[1])
    assert found["fuel_amount", "kiln1.coal"]["value"] == cases["CE-04"]["FC"]
    assert found["fuel_ncv", "kiln1.coal"]["reported"] == cases["CE-04"]["NCV"]
    assert found["fuel_co2_t", "kiln1.coal"]["reported"] == cases["CE-05"]["E_unrounded_NCV"]
    again = found["fuel_co2_t", "kiln1.coal"]["recomputed_from_rounded"]
    assert again == cases["CE-05"]["E_comb"]


def test_the_oxide_route_and_the_fossil_share_give_the_worked_cases(cement, cases, figures_of):
    found = figures_of(cement[1])
    assert found["clinker_factor", "kiln2"]["reported"] == cases["CE-06"]["EF"]
    assert found["process_co2_t", "kiln2"]["reported"] == cases["CE-06"]["E_clinker"]
    assert found["alternative_co2_t", "kiln2.rdf"]["reported"] == cases["CE-08"]["E_alt"]


def test_dusts_and_raw_meal_carbon_give_the_worked_case(dusty, cases, figures_of):
    found = figures_of(dusty)["process_co2_t", "kiln2"]
    assert found["reported"] == cases["CE-07"]["E_process"]
    assert verify_.verify(dusty.files[2]).proven


def test_measured_carbon_content_wins_on_the_second_kiln(cement, figures_of):
    expected = 15_544.45 * 0.6152 * 0.99 * 44 / 12
    found = figures_of(cement[1])["fuel_co2_t", "kiln2.coal"]
    assert float(found["value"]) == pytest.approx(expected, rel=1e-12)


def test_clinker_two_ways_and_their_difference_are_reported(cement, figures_of):
    found = figures_of(cement[1])
    assert found["clinker_stock_t", "kiln1"]["value"] == "154950"
    assert found["clinker_difference_t", "kiln1"]["reported"] == "50.00"


def test_the_lines_add_up_to_the_plant(cement, figures_of):
    found = figures_of(cement[1])
    lines = [float(found["kiln_co2_t", kiln]["value"]) for kiln in ("kiln1", "kiln2")]
    assert float(found["total_co2e_t", "site"]["value"]) == pytest.approx(math.fsum(lines))
    assert found["intensity", "kiln1"]["reported"] == "0.7189"


def test_the_enterprise_gives_the_worked_case(steel, cases, figures_of):
    found = figures_of(steel[1])
    assert found["combustion_co2_t", "site"]["reported"] == cases["ST-01"]["E_fuel"]
    assert found["process_co2_t", "site"]["reported"] == cases["ST-04"]["E_process"]
    assert found["sequestered_co2_t", "site"]["reported"] == cases["ST-05"]["E_product"]
    assert found["total_co2e_t", "site"]["reported"] == cases["ST-06"]["E_enterprise"]
    assert found["intensity", "site"]["reported"] == cases["ST-06"]["intensity"]


def test_purchased_electricity_stands_apart_from_the_direct_total(steel, figures_of):
    found = figures_of(steel[1])
    assert found["electricity_mwh", "grid"]["reported"] == "48250.50"
    assert found["electricity_co2_t", "grid"]["reported"] == "25601.72"  # x 0.5306 tCO2/MWh
    total = found["total_co2e_t", "site"]["inputs"]
    assert [one["name"] for one in total] == [
        "combustion_co2_t[site]",
        "process_co2_t[site]",
        "sequestered_co2_t[site]",
    ]


def test_a_blast_furnace_gives_the_worked_case(steel, cases, figures_of):
    found = figures_of(steel[1])
    assert found["unit_in_co2_t", "bf1"]["reported"] == cases["ST-07"]["E_in"]
    assert found["unit_out_co2_t", "bf1"]["reported"] == cases["ST-07"]["E_out"]
    assert found["unit_co2_t", "bf1"]["reported"] == cases["ST-07"]["E_unit"]


def test_the_oxidation_switch_reaches_the_units_and_leaves_their_balance_alone(
    build_site, counter, rate, entry, figures_of, steel
):
    def switch(plain, _plan):
        plain["overrides"] = [
            {
                "id": "options.oxidation_in_steel",
                "value": "by_state",
                "reason": "order of the provincial authority",
                "evidence": "ab" * 32,
            }
        ]

    site = build_site("steel", steel_readings(counter, rate), switch)
    site.enter("october", steel_entries(entry))
    found, plain = figures_of(site.make()), figures_of(steel[1])
    flows = {key: value for key, value in plain.items() if key[0] == "flow_co2_t"}
    entered = {"bf1.coke": 0.98, "bf1.coal": 0.98, "bf1.cog": 0.99, "bf1.bfg_used": 0.99}
    assert entered.keys() <= {scope for _, scope in flows}, sorted(scope for _, scope in flows)
    expected = math.fsum(
        float(flows["flow_co2_t", scope]["value"]) * share for scope, share in entered.items()
    )
    assert float(found["unit_in_co2_t", "bf1"]["value"]) == pytest.approx(expected, rel=1e-12)
    assert (
        found["unit_balance_co2_t", "bf1"]["value"] == plain["unit_balance_co2_t", "bf1"]["value"]
    )
    assert found["unit_co2_t", "bf1"]["value"] != plain["unit_co2_t", "bf1"]["value"]


def test_a_converter_is_balanced_over_every_flow(steel, cases, figures_of):
    found = figures_of(steel[1])
    assert found["unit_balance_co2_t", "bof1"]["reported"] == cases["ST-09"]["E"]


def test_gas_that_was_made_and_went_nowhere_is_shown(steel, figures_of):
    found = figures_of(steel[1])
    assert found["gas_imbalance", "site.blast_furnace_gas"]["reported"] == "300.00"
    assert found["gas_imbalance", "site.converter_gas"]["reported"] == "80.00"


@pytest.fixture(params=["cement", "steel"])
def made(request):
    return request.getfixturevalue(request.param)


def test_the_bundle_is_verified_offline(made):
    verdict = verify_.verify(made[1].files[2])
    assert verdict.proven, verdict.difference
    assert any("1 documents" in line for line in verdict.lines)
    (second,) = [line for line in verdict.lines if line.startswith("7 second sums")]
    left = second.partition("not: ")[2].split(", ")
    if made[0].name == "cm-001":
        assert left == ["carbide_slag_rate"]
    else:
        assert all(name.startswith(("flow_", "unit_", "units_", "gas_")) for name in left)


def test_a_trust_file_without_the_laboratory_s_key_refuses_the_bundle(cement, tmp_path):
    site, made = cement
    pems = [(site.folder / f"keys/{name}.pub.pem").read_bytes() for name in ("agent", "gateway")]
    kids = [public_key(pem).kid.hex() for pem in pems]
    trust = tmp_path / "trust.toml"
    trust.write_text(f"trusted = {json.dumps(kids)}", encoding="utf-8")
    person = site.person.kid.hex()
    assert person in verify_.verify(made.files[2], trust_file.load(trust)).difference
    trust.write_text(f"trusted = {json.dumps([*kids, person])}", encoding="utf-8")
    assert verify_.verify(made.files[2], trust_file.load(trust)).proven


def test_a_plan_that_ended_within_the_month_is_a_reservation(build_site, counter, rate, entry):
    def end(_plain, plan):
        plan["valid_to"] = "2026-10-20"

    site = build_site("cement", cement_readings(counter, rate), end)
    site.enter("october", cement_entries(entry))
    assert any("not for the whole month" in one for one in site.make().plain["reservations"])


def test_every_reported_value_is_explained_down_to_its_evidence(made):
    verdict = verify_.verify(made[1].files[2])
    for value in verdict.content.month.values:
        text = explain(verdict.content, value.parameter.id, value.scope)
        assert value.parameter.zh in text
        assert value.parameter.en in text
        if value.formula:
            assert value.formula.text in text
            assert all(term.name in text for _, term in value.terms)
        else:
            assert any(word in text for word in ("来源", "series", "document"))
        leaf = ("batches", "document", "configuration", "source")
        assert any(word in text for word in leaf)


def test_every_emission_has_an_uncertainty_and_names_what_nobody_stated(made, figures_of):
    total = figures_of(made[1])["total_co2e_t", "site"]["uncertainty"]
    assert total["k"] == 2
    assert 0 < float(total["relative"]) < 0.2
    assert total["unstated"]


def sampled(term, draws):
    """A value with its leaves' inputs drawn anew, evaluated through the real formulas."""
    if isinstance(term, MonthValue) and term.formula is not None:
        inputs = {symbol: sampled(one, draws) for symbol, one in term.terms}
        return term.formula.apply(**inputs)
    given = term.uncertain
    parts = given.sensitivities.items() if given else ()
    return float(term.value) + math.fsum(slope * (draws(one) - one.value) for one, slope in parts)


def test_the_analytic_uncertainty_agrees_with_monte_carlo(made):
    month = verify_.verify(made[1].files[2]).content.month
    total = month.get("total_co2e_t", "site")
    generator, results = random.Random(7), []
    for _ in range(4_000):
        drawn = {}

        def draw(one, drawn=drawn):
            return drawn.setdefault(one, generator.gauss(one.value, one.standard))

        results.append(sampled(total, draw))
    assert total.uncertain.standard == pytest.approx(statistics.stdev(results), rel=0.05)
    assert float(total.value) == pytest.approx(statistics.mean(results), rel=1e-3)


def test_the_sheet_carries_every_column_of_the_form(made):
    book = load_workbook(made[1].files[1])
    head = [cell.value for cell in next(book.worksheets[0].iter_rows(min_row=4, max_row=4))]
    for word in ("uncertainty", "recomputed", "substituted", "clause", "evidence", "completeness"):
        assert any(word in str(text) for text in head), word


def forge(path, change, gateway, tmp_path):
    files = dict(bundle_.read(path).files)
    files.pop(bundle_.MANIFEST)
    change(files)
    forged = tmp_path / "forged.bundle"
    bundle_.write(forged, files, gateway)
    return verify_.verify(forged).difference


def test_a_bundle_without_its_lab_document_contradicts_its_figures(cement, tmp_path):
    site, made = cement

    def drop(files):
        del files[next(name for name in files if name.startswith("lab/"))]

    assert "kiln1" in forge(made.files[2], drop, site.gateway, tmp_path)


def test_a_changed_lab_document_is_refused(cement, tmp_path):
    site, made = cement

    def change(files):
        name = next(name for name in files if name.startswith("lab/"))
        files[name] = files[name].replace(b"22.815", b"21.815")

    assert "signature" in forge(made.files[2], change, site.gateway, tmp_path)


GATEWAY = """\
state_dir: state
keys: {ack: keys/gateway.pem}
mqtt: {host: 127.0.0.1, client_id: gateway}
agents:
  - {site: st-001, agent: gw-01, public_key: keys/agent.pub.pem}
people:
  - {name: laboratory 化验室, public_key: keys/person.pub.pem, roles: [analyst]}
ledger: {path: ledger.sqlite}
store: {kind: sqlite, path: store.sqlite}
"""


def test_plan_check_and_explain_read_the_ledger_from_the_command_line(steel, capsys):
    site = steel[0]
    (site.folder / "gateway.yaml").write_text(GATEWAY, encoding="utf-8")
    config = ["--config", str(site.folder / "gateway.yaml"), "--site", "st-001"]
    assert main(["plan", "check", *config]) == 0
    assert "plan st-001-dqcp v1 (iron and steel 钢铁生产): good" in capsys.readouterr().out
    wanted = ["--month", "2026-10", "--parameter", "unit_closure", "--scope", "bof1"]
    assert main(["explain", *config, *wanted]) == 0
    said = capsys.readouterr().out
    assert "100 × (BAL − E) / IN" in said
    assert "bof1.hot_metal flow_carbon_content 0.043 tC/t" in said
    assert main(["explain", *config, "--parameter", "intensity"]) == 2


def test_a_lapsed_calibration_is_a_reservation(build_site, counter, rate, entry):
    def lapse(plain, _plan):
        for meter in plain["meters"]:
            meter["calibrated_until"] = "2026-10-15" if meter["id"] == "grid" else "2027-01-01"

    site = build_site("steel", steel_readings(counter, rate), lapse)
    site.enter("october", steel_entries(entry))
    lapsed = [text for text in site.make().plain["reservations"] if "calibration" in text]
    (ended,) = [text for text in lapsed if text.startswith("meter ")]
    assert "grid: its calibration ended on 2026-10-15" in ended
    assert any("uncertain (calibration): grid" in text for text in lapsed)

"""Every worked case of china.json, every step of it, by the functions that reports use."""

import copy
import json
import math
from datetime import date
from pathlib import Path

import pytest

from edge_agent.calc.deadlines import storage_deadline
from edge_agent.calc.rounding import half_up
from edge_agent.errors import CalculationError
from gateway import vector_cases
from gateway.cli import main

DATA = Path(__file__).resolve().parents[2] / "data" / "vectors" / "china.json"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "china.json"
CHINA = json.loads(DATA.read_text(encoding="utf-8"))
VECTORS = {item["id"]: item for item in CHINA["vectors"]}
TOLERANCE = CHINA["tolerance"]["relative"]
BARE = {
    "vectors": [{"id": item["id"], "inputs": item["inputs"]} for item in CHINA["vectors"]],
    "deadlines_40_calendar_days": {
        "cases": [{"month": c["month"]} for c in CHINA["deadlines_40_calendar_days"]["cases"]]
    },
    "month_boundaries": {
        "cases": [{"month": case["month"]} for case in CHINA["month_boundaries"]["cases"]]
    },
}
STEPS = [
    (name, step["name"])
    for name, item in VECTORS.items()
    for step in (*item["steps"], item["result"])
]


@pytest.fixture(scope="module")
def results():
    done = vector_cases.evaluate(copy.deepcopy(BARE))
    return {item["id"]: item["result"] for item in done["vectors"]}


def test_our_copy_is_the_shared_file():
    if not SHARED.is_file():
        pytest.skip("no shared folder beside this checkout")
    assert SHARED.read_bytes() == DATA.read_bytes()


def test_the_file_holds_the_cases_that_are_known():
    """A case that falls out of the copy would else fall out of the test unseen."""
    known = {f"AL-{n:02d}" for n in range(1, 13)}
    known |= {f"CE-{n:02d}" for n in range(1, 11)} | {f"ST-{n:02d}" for n in range(1, 11)}
    known |= {"CO-01", "CO-R1", "CO-R2", "CO-R3", "CO-R4"}
    assert known == VECTORS.keys()
    assert sum(len(item["steps"]) for item in VECTORS.values()) == 134


@pytest.mark.parametrize(("case", "step"), sorted(set(STEPS)))
def test_a_step_of_a_worked_case_gives_its_value_and_print(results, case, step):
    (expected, *same) = [
        item for item in (*VECTORS[case]["steps"], VECTORS[case]["result"]) if item["name"] == step
    ]
    assert all(
        (item["value"], item["rounded"]) == (expected["value"], expected["rounded"])
        for item in same
    )
    found = results[case][step]
    assert math.isclose(found, expected["value"], rel_tol=TOLERANCE, abs_tol=0)
    assert str(half_up(found, expected["dp"])) == expected["rounded"]


def test_evaluation_reads_inputs_only():
    spoilt = copy.deepcopy(CHINA)
    for item in spoilt["vectors"]:
        item["result"] = {"value": -1.0}
        item["steps"] = [{"name": "x", "value": -1.0}]
        item["factor_set"] = item["title"] = ""
    for case in spoilt["deadlines_40_calendar_days"]["cases"]:
        case["day_40"] = "1900-01-01"
    for case in spoilt["month_boundaries"]["cases"]:
        case["start_utc"] = case["end_utc"] = ""
    assert vector_cases.evaluate(spoilt) == vector_cases.evaluate(BARE)


@pytest.mark.parametrize(
    ("case", "name", "step"),
    [
        ("AL-11", "OF_liquid", "E_diesel"),
        ("CE-02", "EF", "E_process"),
        ("CE-07", "FR0", "E_process"),
        ("ST-03", "M_ar_percent", "E"),
        ("ST-08", "temp_C", "E"),
        ("ST-10", "h_base", "E_heat"),
    ],
)
def test_an_input_that_changes_changes_its_result(results, case, name, step):
    changed = copy.deepcopy(BARE)
    next(item for item in changed["vectors"] if item["id"] == case)["inputs"][name] *= 0.9
    (found,) = [
        item["result"] for item in vector_cases.evaluate(changed)["vectors"] if item["id"] == case
    ]
    assert found[step] != results[case][step]


@pytest.mark.parametrize(
    "case", CHINA["deadlines_40_calendar_days"]["cases"], ids=lambda c: c["month"]
)
def test_a_month_is_to_be_stored_by_its_fortieth_day(case):
    assert storage_deadline(case["month"], 40) == date.fromisoformat(case["day_40"])
    assert storage_deadline(case["month"], 0) == date.fromisoformat(case["month_end"])


def test_month_boundaries_are_those_of_plant_local_time():
    done = vector_cases.evaluate(BARE)["month_boundaries"]
    assert done == CHINA["month_boundaries"]["cases"]


def test_inputs_of_no_known_shape_are_refused_by_name():
    with pytest.raises(CalculationError, match="X-1: no formula takes exactly P_t, colour"):
        vector_cases.evaluate({"vectors": [{"id": "X-1", "inputs": {"P_t": 1, "colour": "red"}}]})


def test_a_case_that_points_at_nothing_or_itself_is_refused():
    dust = VECTORS["CE-07"]["inputs"]
    with pytest.raises(CalculationError, match="no case 'CE-06'"):
        vector_cases.evaluate({"vectors": [{"id": "CE-07", "inputs": dust}]})
    with pytest.raises(CalculationError, match="CE-01 has no step 'EF'; it has E_process"):
        vector_cases.evaluate(
            {
                "vectors": [
                    {"id": "CE-01", "inputs": VECTORS["CE-01"]["inputs"]},
                    {"id": "X", "inputs": {**dust, "EF": "from CE-01"}},
                ]
            }
        )
    with pytest.raises(CalculationError, match="no case 'ST-01' with fuels"):
        vector_cases.evaluate({"vectors": [{"id": "X", "inputs": VECTORS["ST-02"]["inputs"]}]})
    circle = {"vectors": [{"id": "A", "inputs": {**dust, "EF": "from A"}}]}
    with pytest.raises(CalculationError, match="computed from itself"):
        vector_cases.evaluate(circle)


@pytest.mark.parametrize(
    ("case", "change", "match"),
    [
        ("AL-09", {"effects": 0}, "AL-09: its inputs cannot be computed: ZeroDivisionError"),
        ("CE-09", {"opening_t": "much"}, "CE-09: its inputs cannot be computed"),
        ("ST-02", {"OF": {}}, "ST-02: its inputs cannot be computed: KeyError"),
        ("CE-09", {"closing_t": -1}, "closing is -1"),
    ],
)
def test_inputs_that_cannot_be_computed_are_refused_by_case(case, change, match):
    changed = copy.deepcopy(BARE)
    next(item for item in changed["vectors"] if item["id"] == case)["inputs"] |= change
    with pytest.raises(CalculationError, match=match):
        vector_cases.evaluate(changed)


def test_a_case_without_inputs_is_refused_by_place(tmp_path, capsys):
    path = tmp_path / "cases.json"
    path.write_text(
        json.dumps({"vectors": [{"id": "A", "inputs": {"x": 1, "dp": 0}}, {"id": "B"}]})
    )
    assert main(["calc", "--cases", str(path)]) == 1
    assert "vectors[1] has no id or no inputs" in capsys.readouterr().err


def test_the_command_line_evaluates_the_file(capsys):
    assert main(["calc", "--cases", str(DATA)]) == 0
    printed = json.loads(capsys.readouterr().out)
    (case,) = [item for item in printed["vectors"] if item["id"] == "CE-10"]
    assert half_up(case["result"]["intensity"], 4) == half_up("0.7181", 4)

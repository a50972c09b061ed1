"""File drop: golden tables, refused files, configurations that are refused, fuzzing."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.drivers.file_drop_rows import FileDropConfig, harmless, read
from edge_agent.errors import BadAnswer
from edge_agent.readings import GOOD

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT / "tests" / "cases" / "file_drop"
NOW_NS = round(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
def test_a_table_gives_the_readings_and_the_rejected_rows_of_its_case(folder):
    fields = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config = FileDropConfig.model_validate(fields)
    raw = (folder / "input.csv").read_bytes()
    if (folder / "error.txt").exists():
        with pytest.raises(BadAnswer) as caught:
            read(raw, config, NOW_NS)
        assert (folder / "error.txt").read_text().strip() in str(caught.value)
        return
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    table = read(raw, config, NOW_NS)
    assert [[s.tag, s.time_ns, s.value] for s in table.samples] == expected["readings"]
    assert {s.quality for s in table.samples} == {GOOD}
    assert [row.line for row in table.rejected] == [line for line, _ in expected["rejected"]]
    for row, (_, reason) in zip(table.rejected, expected["rejected"], strict=True):
        assert reason in row.reason
    assert read(raw, config, NOW_NS + 10**15).samples[:1] == table.samples[:1]


BASE = {
    "driver": "file_drop",
    "id": "drop",
    "folder": "in",
    "time": "t",
    "tags": [{"id": "m", "column": "m"}, {"id": "n", "column": 3}],
}
CONFIG = FileDropConfig.model_validate(BASE)
HEAD = b"t,m,n\n"


@given(raw=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode()))
def test_no_file_makes_the_reader_fail_otherwise_than_by_bad_answer(raw):
    for whole in (raw, HEAD + raw, HEAD + b"2026-03-01 08:00:00," + raw):
        for encoding in ("utf-8", "gb18030", "utf-16"):
            config = CONFIG.model_copy(update={"encoding": encoding})
            try:
                table = read(whole, config, NOW_NS)
            except BadAnswer:
                continue
            assert len(table.rejected) <= table.rows


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 59), st.decimals("-1000", "1000", places=3), st.integers(0, 9)),
        max_size=30,
        unique_by=lambda row: row[0],
    )
)
def test_every_good_row_gives_its_numbers(rows):
    text = "".join(f"2026-03-01 08:00:{second:02},{m},{n}\n" for second, m, n in rows)
    table = read(HEAD + text.encode(), CONFIG, NOW_NS)
    assert table.rejected == []
    assert [s.value for s in table.samples] == [v for _, m, n in rows for v in (float(m), n)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pattern": "../*.csv"}, "pattern"),
        ({"decimal": ","}, "cannot both be a comma"),
        ({"titles": False}, "columns are numbers from 1"),
        ({"time": []}, "at least 1"),
        ({"time": ["a", "b", "c"]}, "at most 2"),
        ({"time_format": "%H:%M"}, "has no year"),
        ({"time_format": "%"}, "is no time format|has no year"),
        ({"encoding": "ebcdic"}, "gb18030"),
        ({"timezone": "Mars"}, "no time zone"),
        ({"tags": [{"id": "m", "column": 0}]}, "greater than"),
        ({"surprise": 1}, "Extra"),
    ],
)
def test_a_wrong_configuration_is_refused_and_says_what_would_be_right(changes, message):
    with pytest.raises(ValidationError, match=message):
        FileDropConfig.model_validate({**BASE, **changes})


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+cmd", "-cmd", "\tx", "|x"])
def test_what_a_spreadsheet_would_run_is_made_text(cell):
    assert harmless(cell) == "'" + cell
    assert harmless("plain") == "plain"


def test_the_page_of_the_driver_shows_a_configuration_that_loads():
    page = (ROOT / "docs" / "drivers" / "file_drop.md").read_text(encoding="utf-8")
    (device,) = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["devices"]
    config = FileDropConfig.model_validate(device)
    assert len(config.tags) == 2
    assert "weighbridge/in" not in config.model_dump_json()

"""Texts that would act where they are shown: formulas, markup, line ends, terminal codes (row 62)."""

import io
import json
import zipfile
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from edge_agent.readings import Columns
from gateway import lab
from gateway.lab import LabDocument, LabError
from gateway.month import Entry
from gateway.reports import render
from gateway.store import Projection
from gateway.store.influxdb import lines

T0 = 1_790_784_000 * 10**9
ACTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "\t=1+1",
    "\r\n=1+1",
    "＝1+1",
    '=HYPERLINK("file:///etc/passwd")',
    "</script><script>alert(1)</script>",
    "</t></is></c><c><f>1+1</f></c>",
    "]]>&entity;",
    '"quoted", comma; \\backslash',
    "line\nend\x00\x07\x1b[31mred",
    "\ud800",
    "x" * 40_000,
]


def report(text):
    """A report as ``render`` takes it, with this text in every place that holds one."""
    batches = [{"agent": text, "first_seq": 1, "last_seq": 2, "root": text}]
    return {
        "site": text, "month": text, "sector": text, "timezone": "Asia/Shanghai",
        "factor_set": {"id": text, "version": text},
        "parameters": [
            {
                **dict.fromkeys(
                    ("zh", "en", "scope", "unit", "method", "source", "supporting", "clause", "note"),
                    text,
                ),
                "reported": "12.50", "completeness": "0.5", "uncertainty": None,
                "recomputed_from_rounded": "-0.39",
                "evidence": {"batches": batches},
                "substitutions": [
                    {"hour": T0, "missing_s": "60", "method": text, "value": "1.5", "source": text}
                ],
            }
        ],
        "effects": [
            {"line": text, "pot": text, "start": T0, "end": T0, "net_s": "1", "gross_s": "1",
             "peak_v": "9.5", "ov_vs": "2", "group": 1, "reason": text}
        ],
        "evidence": [
            {"agent": text, "first_seq": 1, "last_seq": 2, "batches": 2, "root": text,
             "config_sha256": text}
        ],
        "reservations": [text],
        "governance": {
            "keys": [{"agent": text, "key": text, "first_seq": 1, "last_seq": 2}],
            "decisions": [
                {"at": T0, "version": 1}
                | dict.fromkeys(("agent", "zh", "en", "by", "about", "reason", "sha256"), text)
            ],
        },
    }  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_becomes_a_formula_or_markup_in_the_workbook(text):
    content = render.to_xlsx(report(text))
    cells = [
        cell
        for sheet in load_workbook(io.BytesIO(content)).worksheets
        for row in sheet.iter_rows()
        for cell in row
        if cell.value is not None
    ]
    assert len(cells) > 60
    for cell in cells:
        assert cell.data_type in ("s", "n"), cell.coordinate
        assert not str(cell.value).startswith(ACTS) or cell.data_type == "n"
    shown = [str(cell.value) for cell in cells]
    probe = text.strip()[1:20]
    assert not probe.isprintable() or any(probe in value for value in shown), "nothing is lost"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            part = archive.read(name)
            assert b"<f>" not in part
            assert b"<script" not in part
            assert b"\x1b" not in part


def test_the_figures_of_the_workbook_stay_numbers():
    sheet = load_workbook(io.BytesIO(render.to_xlsx(report("x")))).worksheets[0]
    assert (sheet.cell(5, 5).value, sheet.cell(5, 5).data_type) == (12.5, "n")
    assert (sheet.cell(5, 12).value, sheet.cell(5, 12).data_type) == (-0.39, "n")


@given(st.text())
def test_a_cell_never_begins_like_a_formula_and_holds_no_control_character(text):
    shown = render.cell(text)
    assert not shown.startswith(ACTS)
    assert shown.isprintable()
    assert (
        shown.removeprefix("'").replace("?", "") in text.replace("?", "") or not text.isprintable()
    )


@given(st.recursive(st.none() | st.integers() | st.text(), lambda one: st.lists(one, max_size=3)))
def test_a_text_of_an_event_stays_one_field_of_one_line(value):
    event = {"t": T0, "type": "gap", "detail": value}
    (line,) = lines(Projection("al-001", "gw-01", 7, Columns((), [], [], [], []), [event]))
    assert "\n" not in line
    head, _, rest = line.partition(' json="')
    assert head == "event,agent=gw-01,site=al-001,n=7-0,type=gap"
    body, end = [], iter(rest)
    for letter in end:
        if letter == '"':
            break
        body.append(next(end) if letter == "\\" else letter)
    assert json.loads("".join(body)) == event
    assert "".join(end) == f",position=0i,seq=7i {T0}"


# -- texts of people -----------------------------------------------------------------------------


def paper(**changes):
    unit = changes.pop("unit", "GJ/t")
    one = Entry("analysis", "kiln1.coal", "fuel_ncv", Decimal("22.8"), unit, T0, Decimal(5), None)
    fields = {"site": "cm-001", "id": "coal", "version": 2, "at_ns": T0, "author": "Li Lab"}
    return LabDocument(**fields | {"entries": (one,), "reason": "typing error"} | changes)


@pytest.mark.parametrize("key", ["site", "author", "reason", "unit"])
@pytest.mark.parametrize("text", ["a\nbcd", "a\x1b[2Jbcd", "a\x00bcd", "\u202eabcd", "x" * 201])
def test_a_lab_document_holds_no_text_that_acts_on_a_terminal(signer, key, text):
    lab.sign(paper(**{key: "化验 lab"}), signer)
    with pytest.raises(LabError, match=rf"{key} is .*can be printed are right"):
        lab.sign(paper(**{key: text}), signer)

"""Hostile lab tables: every one is refused with its place, none is read in part (rows 57, 62)."""

import io
import struct
import tracemalloc
import zipfile
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from openpyxl import Workbook

from gateway import lab
from gateway.lab import LabError

ZONE = ZoneInfo("Asia/Shanghai")
HEAD = ["kind", "item", "quantity", "value", "unit", "time", "mass_t"]
CELLS = ["analysis", "kiln1.coal", "fuel_ncv", 22.815, "GJ/t", "2026-10-05T08:00", 5200.4]
LINE = ",".join(map(str, CELLS)) + "\n"
MIB = 2**20


def saved(book):
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def workbook(*rows, change=lambda _sheet: None):
    book = Workbook()
    for row in (HEAD, *rows):
        book.active.append(row)
    change(book.active)
    return saved(book)


def repacked(content, changes):
    """The workbook with parts put in or replaced; None takes a part out."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before:
        parts = {name: before.read(name) for name in before.namelist()}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        for name, part in (parts | changes).items():
            if part is not None:
                after.writestr(name, part)
    return out.getvalue()


def sheet_with(before, after):
    """The good workbook with its sheet's XML changed."""
    content = workbook(CELLS)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        xml = archive.read("xl/worksheets/sheet1.xml").decode()
    assert before in xml
    return repacked(content, {"xl/worksheets/sheet1.xml": xml.replace(before, after, 1)})


@pytest.fixture
def read(tmp_path):
    def entries(content, name="values.xlsx"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return lab.read_sheet(path, ZONE)

    return entries


def test_the_good_tables_are_read(read):
    rows = read(workbook(CELLS))
    assert rows == read(",".join(HEAD) + "\n" + LINE, "values.csv")
    assert str(rows[0].value) == "22.815"
    assert sheet_with("<sheetData>", "<sheetData>") is not None
    assert read(sheet_with("<sheetData>", "<sheetData>")) == rows


# -- cells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "formula",
    ["=1+1", "=cmd|' /C calc'!A0", "=[1]Sheet1!A1", '=WEBSERVICE("file:///x")', "=+1", "=NOW()"],
)
@pytest.mark.parametrize("column", range(len(HEAD)))
def test_a_formula_in_any_column_is_named_by_its_cell(read, formula, column):
    row = [*CELLS[:column], formula, *CELLS[column + 1 :]]
    with pytest.raises(LabError, match=rf"values.xlsx:3: cell {'ABCDEFG'[column]}3 is a formula"):
        read(workbook(CELLS, row))


def test_a_formula_with_a_kept_result_is_still_a_formula(read):
    content = sheet_with('<c r="D2" t="n"><v>22.815', '<c r="D2"><f>11+11</f><v>22')
    with pytest.raises(LabError, match="cell D2 is a formula"):
        read(content)


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        (
            3,
            datetime(2026, 10, 5),  # noqa: DTZ001  cells have no zone
            "value is '2026-10-05T00:00:00'; a decimal number",
        ),
        (3, date(1900, 1, 22), "value is '1900-01-22"),
        (3, True, "cell D2 is True"),
        (3, "22,815", "value is '22,815'"),
        (3, "#DIV/0!", "value is '#DIV/0!'"),
        (3, 1e22, r"value is '1e\+22'"),
        (5, 46_300.333, "time is '46300.333'; ISO 8601"),
        (5, time(8, 0), "time is '08:00:00'; ISO 8601"),
        (5, timedelta(hours=8), "time is "),
        (5, "05/10/2026", "time is '05/10/2026'; ISO 8601"),
        (4, None, "unit is ''"),
        (1, "../../etc/passwd", "item is '../../etc/passwd'"),
        (1, "kiln1.coal\u202e", "holds control characters"),
    ],
)
def test_a_cell_of_another_kind_is_refused_with_its_line(read, column, value, named):
    with pytest.raises(LabError, match=named) as told:
        read(workbook([*CELLS[:column], value, *CELLS[column + 1 :]]))
    assert "values.xlsx:2" in str(told.value)


def test_a_date_cell_is_a_plant_local_time(read):
    (one,) = read(workbook([*CELLS[:5], datetime(2026, 10, 5, 8), CELLS[6]]))  # noqa: DTZ001  cells have no zone
    assert [one] == read(workbook(CELLS))


def test_merged_cells_leave_holes_that_are_named(read):
    with pytest.raises(LabError, match=r"values.xlsx:3: unit is ''"):
        read(workbook(CELLS, CELLS, change=lambda sheet: sheet.merge_cells("E2:E3")))


@pytest.mark.parametrize("head", [[*HEAD, "value"], [*HEAD[:6], "Value"], [*HEAD, "mass_t"]])
def test_a_doubled_heading_is_refused(read, head):
    book = Workbook()
    book.active.append(head)
    book.active.append([*CELLS, 5][: len(head)])
    with pytest.raises(LabError, match=r"values.xlsx:1: column '(value|mass_t)'; .* once each"):
        read(saved(book))


# -- archives ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part",
    [
        "xl/vbaProject.bin", "xl/externalLinks/externalLink1.xml", "xl/activeX/activeX1.xml",
        "xl/embeddings/oleObject1.bin", "xl/connections.xml", "XL/VBAPROJECT.BIN",
    ],
)  # fmt: skip
def test_a_part_that_acts_by_itself_is_refused(read, part):
    with pytest.raises(LabError, match="is refused"):
        read(repacked(workbook(CELLS), {part: b"x"}))


EXPANDING = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 20}">' for level in range(1, 9))
XML = {
    "external": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "parameter": '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">%x;]>',
    "expanding": f'<!DOCTYPE a [<!ENTITY e0 "ha">{EXPANDING}]>',
    "external subset": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
}
PARTS = [
    "xl/worksheets/sheet1.xml",
    "xl/sharedStrings.xml",
    "xl/workbook.xml",
    "[Content_Types].xml",
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("doctype", XML.values(), ids=XML)
def test_xml_with_a_document_type_is_refused(read, doctype, part, encoding):
    text = f'<?xml version="1.0" encoding="{encoding[:6]}"?>{doctype}<a>&x;&e8;</a>'
    with pytest.raises(LabError, match="holds a document type or entity"):
        read(repacked(workbook(CELLS), {part: text.encode(encoding)}))


def test_a_bomb_in_the_sheet_itself_is_refused_unread(read):
    with pytest.raises(LabError, match="unpacks to"):
        read(repacked(workbook(CELLS), {"xl/worksheets/sheet1.xml": b" " * (65 * MIB)}))


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(read):
    """Both headers say 100 bytes; the stream holds 60 MiB."""
    content = bytearray(repacked(workbook(CELLS), {"xl/big.xml": bytes(60 * MIB)}))
    true_size = struct.pack("<I", 60 * MIB)
    assert content.count(true_size) == 2
    content = bytes(content).replace(true_size, struct.pack("<I", 100))
    tracemalloc.start()
    with pytest.raises(LabError, match=r"xl/big.xml cannot be unpacked"):
        read(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * MIB


def test_many_parts_are_refused(read):
    with pytest.raises(LabError, match="unpacks to"):
        read(repacked(workbook(CELLS), {f"xl/p{place}": b"" for place in range(300)}))


@pytest.mark.parametrize(
    "part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "[Content_Types].xml"]
)
@pytest.mark.parametrize("content", [None, b"", b"<a", b"\xff\xfe", b"<a/>"])
def test_a_workbook_with_a_broken_part_is_refused(read, part, content):
    with pytest.raises(LabError, match="values.xlsx"):
        read(repacked(workbook(CELLS), {part: content}))


def test_an_encrypted_workbook_is_refused(read):
    content = bytearray(workbook(CELLS))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + flags] |= 1
    with pytest.raises(LabError, match="cannot be unpacked"):
        read(bytes(content))


# -- many rows -----------------------------------------------------------------------------------


def test_a_million_rows_are_refused_at_the_first_too_many(read):
    rows = "".join(f'<row r="{number}"/>' for number in range(3, 1_000_000))
    content = sheet_with("</sheetData>", rows + "</sheetData>")
    with pytest.raises(LabError, match="more than 2000 rows"):
        read(content)


@pytest.mark.parametrize("number", [1_048_576, 10**12])
def test_a_row_far_below_costs_nothing(read, number):
    content = sheet_with("</sheetData>", f'<row r="{number}"></row></sheetData>')
    with pytest.raises(LabError, match="more than 2000 rows"):
        read(content)


def test_a_csv_of_a_million_short_rows_is_bounded_in_memory(read):
    tracemalloc.start()
    with pytest.raises(LabError, match="more than 2000 rows"):
        read(",".join(HEAD) + "\n" + "a\n" * 1_000_000, "values.csv")
    with pytest.raises(LabError, match="0 rows"):
        read(",".join(HEAD) + "\n" * 4_000_000, "values.csv")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * MIB


# -- encodings -----------------------------------------------------------------------------------

CHINESE = (
    "kind,item,quantity,value,unit,time\nanalysis,kiln1.coal,fuel_ncv,22.8,吉焦,2026-10-05T08:00\n"
)


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "big5", "shift-jis"])
def test_a_csv_of_another_encoding_is_refused_not_guessed(read, encoding):
    with pytest.raises(LabError, match=r"is not UTF-8 text|control characters|column"):
        read(CHINESE.encode(encoding, errors="replace"), "values.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_in_utf_8_is_read_with_and_without_its_mark(read, encoding):
    (one,) = read(CHINESE.encode(encoding), "values.csv")
    assert one.unit == "吉焦"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('"kind,item\n' + "x" * 200_000, "is no CSV|column"),
        (",".join(HEAD) + '\n"analysis"x,b\n', r":2: is no CSV"),
        (",".join(HEAD) + "\n" + LINE.replace("GJ/t", '"GJ\nt"'), "control characters"),
        (",".join(HEAD) + "\n" + LINE.replace("GJ/t", "GJ\x00t"), "control characters|is no CSV"),
        (";".join(HEAD) + "\n" + LINE.replace(",", ";"), "column"),
    ],
)
def test_a_csv_that_is_no_table_is_refused(read, text, named):
    with pytest.raises(LabError, match=named):
        read(text, "values.csv")

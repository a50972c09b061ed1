"""Lab documents and tables: versions, signatures, authors; hostile and wrong files are refused."""

import io
import zipfile
from dataclasses import replace
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from openpyxl import Workbook

from edge_agent.errors import EvidenceError, StoreError
from edge_agent.wire.keys import public_key
from gateway import lab
from gateway.lab import LabDocument, LabError
from gateway.ledger import Ledger
from gateway.month import Entry

ZONE = ZoneInfo("Asia/Shanghai")
T = 1_790_784_000 * 10**9
HEAD = "kind,item,quantity,value,unit,time,mass_t\n"
ROW = "analysis,kiln1.coal,fuel_ncv,22.815,GJ/t,2026-10-05T08:00,5200.4\n"


def paper(version=1, value="22.815", **changes):
    one = Entry("analysis", "kiln1.coal", "fuel_ncv", Decimal(value), "GJ/t", T, Decimal("5200.4"))
    document = LabDocument("cm-001", "coal-october", version, T, "Li Lab", (one,))
    return replace(document, **({"reason": "typing error"} if version > 1 else {}) | changes)


@pytest.fixture
def person(signer):
    return {"Li Lab": [public_key(signer.public_spki())]}


def test_the_newest_version_is_in_force_and_the_older_ones_stay(signer, person):
    raw = [lab.sign(paper(), signer), lab.sign(paper(2, "22.9"), signer)]
    papers = lab.check("cm-001", raw, person)
    assert len(papers.raw) == 2
    (one,) = papers.entries
    assert (str(one.value), one.author, str(one.mass_t)) == ("22.9", "Li Lab", "5200.4")


def test_the_order_of_arrival_of_versions_does_not_matter(signer, person):
    raw = [lab.sign(paper(2, "22.9"), signer), lab.sign(paper(), signer)]
    assert [str(one.value) for one in lab.check("cm-001", raw, person).entries] == ["22.9"]


@pytest.mark.parametrize(
    ("versions", "named"),
    [((2,), "versions 2"), ((1, 1), "versions 1, 1"), ((1, 3), "versions 1, 3")],
)
def test_a_hole_or_a_twin_among_versions_is_refused(signer, person, versions, named):
    raw = [lab.sign(paper(version), signer) for version in versions]
    with pytest.raises(LabError, match=named):
        lab.check("cm-001", raw, person)


def test_a_document_of_another_site_is_refused(signer, person):
    with pytest.raises(LabError, match="this is al-001"):
        lab.check("al-001", [lab.sign(paper(), signer)], person)


def test_an_author_who_is_not_the_key_s_person_is_refused(signer, person):
    with pytest.raises(LabError, match="its key is Li Lab's"):
        lab.check("cm-001", [lab.sign(paper(author="Director Wang"), signer)], person)


def test_a_key_of_nobody_is_refused(neighbour, person):
    with pytest.raises(EvidenceError, match="unknown key"):
        lab.check("cm-001", [lab.sign(paper(), neighbour)], person)


def test_every_flipped_bit_is_noticed(signer, person):
    raw = lab.sign(paper(), signer)
    for at in range(0, len(raw), 7):
        changed = bytearray(raw)
        changed[at] ^= 1
        with pytest.raises((EvidenceError, LabError)):
            lab.check("cm-001", [bytes(changed)], person)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kind": "guess"}, "kind is 'guess'"),
        ({"item": "../etc"}, "item is"),
        ({"value": "NaN"}, "value is 'NaN'"),
        ({"value": "1e99"}, "value is '1e99'"),
        ({"value": "-1"}, "at least 0"),
        ({"mass": "0"}, "above 0"),
        ({"unit": ""}, "unit is"),
        ({"kind": "stock", "quantity": "middle"}, "opening"),
        ({"kind": "weighing"}, "amount is right"),
        ({"uncertainty": "1.5"}, "a fraction is right"),
    ],
)
def test_a_wrong_entry_is_named_with_key_and_value(changes, named):
    plain = {
        "kind": "analysis",
        "item": "kiln1.coal",
        "quantity": "fuel_ncv",
        "value": "22.8",
        "unit": "GJ/t",
        "time": T,
        "mass": "100",
        "uncertainty": None,
    }
    with pytest.raises(LabError, match=named):
        lab.read_entry(plain | changes, "sheet.csv:3")


def test_a_correction_without_a_reason_is_refused(signer):
    with pytest.raises(LabError, match="a correction needs one"):
        lab.sign(paper(2, reason=""), signer)


def test_a_version_is_written_once(tmp_path, signer):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    place, raw = ("cm-001", "coal-october", 1), lab.sign(paper(), signer)
    ledger.add_lab(place, raw, signer.public_spki(), T)
    with pytest.raises(StoreError):
        ledger.add_lab(place, lab.sign(paper(1, "20"), signer), signer.public_spki(), T)
    for change in (
        "UPDATE lab_documents SET raw = x''",
        "DELETE FROM lab_documents",
        "INSERT OR REPLACE INTO lab_documents SELECT * FROM lab_documents",
    ):
        with pytest.raises(Exception, match="append-only"):
            ledger._db.execute(change)
    assert ledger.lab_documents("cm-001") == [(raw, signer.public_spki())]
    ledger.close()


def table(tmp_path, text, name="values.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_table_is_read_with_plant_local_times(tmp_path):
    (one,) = lab.read_sheet(table(tmp_path, HEAD + ROW), ZONE)
    assert one == Entry(
        "analysis",
        "kiln1.coal",
        "fuel_ncv",
        Decimal("22.815"),
        "GJ/t",
        T + 4 * 86_400 * 10**9 + 8 * 3600 * 10**9,
        Decimal("5200.4"),
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEAD + ROW + ROW.replace("22.815", "=1+1"), r"values.csv:3: .*formula"),
        (HEAD + ROW.replace("22.815", "@SUM(A1)"), r":2: .*formula"),
        (HEAD + ROW + "analysis,kiln1.coal\n", r":3: "),
        (HEAD + ROW.replace("22.815", "22,815"), r":2: 8 cells in 7 columns"),
        (HEAD + ROW.replace("2026-10-05T08:00", "5.10.2026"), r":2: time is '5.10.2026'"),
        (HEAD.replace("unit", "einheit") + ROW, r":1: column 'einheit'"),
        (HEAD.replace(",unit", "") + ROW, r":1: the columns unit are missing"),
        (HEAD, "0 rows"),
        ("", "holds no rows"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (HEAD + ROW.replace("GJ/t", "GJ/t\x07"), r":2: .*control"),
        (HEAD + ROW.replace("GJ/t", "x" * 300), r":2: .*too long"),
        (HEAD + ROW * 2001, "more than 2000 rows"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line(tmp_path, text, named):
    with pytest.raises(LabError, match=named):
        lab.read_sheet(table(tmp_path, text), ZONE)


def test_a_file_above_the_size_limit_is_not_even_read(tmp_path):
    with pytest.raises(LabError, match="at most"):
        lab.read_sheet(table(tmp_path, b"x" * (4 * 2**20 + 1)), ZONE)


def workbook(rows):
    book = Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


CELLS = ["analysis", "kiln1.coal", "fuel_ncv", 22.815, "GJ/t", "2026-10-05T08:00", 5200.4]


def test_an_xlsx_table_gives_the_same_entry_as_csv(tmp_path):
    content = workbook([HEAD.strip().split(","), CELLS])
    found = lab.read_sheet(table(tmp_path, content, "values.xlsx"), ZONE)
    assert found == lab.read_sheet(table(tmp_path, HEAD + ROW), ZONE)


def test_a_formula_in_a_workbook_is_named_by_its_cell(tmp_path):
    rows = [HEAD.strip().split(","), [*CELLS[:3], "=SUM(1,2)", *CELLS[4:]]]
    with pytest.raises(LabError, match=r"values.xlsx:2: cell D2 is a formula"):
        lab.read_sheet(table(tmp_path, workbook(rows), "values.xlsx"), ZONE)


def archive(extra, content=b"x"):
    out = io.BytesIO(workbook([HEAD.strip().split(","), CELLS]))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(extra, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "part",
    ["xl/vbaProject.bin", "xl/externalLinks/externalLink1.xml", "xl/embeddings/oleObject1.bin"],
)
def test_a_workbook_with_macros_links_or_objects_is_refused(tmp_path, part):
    with pytest.raises(LabError, match="refused"):
        lab.read_sheet(table(tmp_path, archive(part), "values.xlsx"), ZONE)


def test_a_workbook_that_unpacks_to_too_much_is_refused_before_it_is_read(tmp_path):
    bomb = archive("xl/media/zero.bin", bytes(70 * 2**20))
    assert len(bomb) < 2**20
    with pytest.raises(LabError, match="unpacks to"):
        lab.read_sheet(table(tmp_path, bomb, "values.xlsx"), ZONE)


@pytest.mark.parametrize("content", [b"no zip", b"PK\x03\x04broken"])
def test_a_broken_workbook_is_refused(tmp_path, content):
    with pytest.raises(LabError, match="values.xlsx"):
        lab.read_sheet(table(tmp_path, content, "values.xlsx"), ZONE)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(LabError, match="csv or .xlsx"):
        lab.read_sheet(table(tmp_path, HEAD, "values.ods"), ZONE)

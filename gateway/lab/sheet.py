"""Entries from a CSV or XLSX table; hostile files are refused before they are read.

Columns, in any order: kind, item, quantity, value, unit, time, and optionally mass_t and
uncertainty. ``time`` is ISO 8601; without an offset it is plant local time. Refused: formulas, links to
other workbooks, macros, document types and entities in XML, files that unpack to too much, unknown
columns. A bad row is named by its line; nothing is taken from a file with one.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zoneinfo import ZoneInfo

from openpyxl import load_workbook

from edge_agent.calc.windows import to_ns
from gateway.lab import archive
from gateway.lab.archive import UNREADABLE
from gateway.lab.document import MAX_ENTRIES, LabError, read_entry
from gateway.month import Entry

MAX_BYTES = 4 * 2**20
MAX_UNPACKED = 64 * 2**20
MAX_CELL = 200
NEEDED = ("kind", "item", "quantity", "value", "unit", "time")
OPTIONAL = ("mass_t", "uncertainty")
_FORMULA_STARTS = ("=", "@", "\t", "\r")
_FORBIDDEN_PARTS = (
    "vbaproject",
    "externallink",
    "activex",
    "embeddings",
    "oleobject",
    "connections",
)
Row = tuple[int, Sequence[str]]


def read_sheet(path: Path, zone: ZoneInfo) -> list[Entry]:
    """The entries of a table.

    Args:
        path: a ``.csv`` or ``.xlsx`` file.
        zone: plant local time, for times without an offset.

    Raises:
        LabError: the file may not be read, or a row is wrong; names file, line and column.
    """
    content = _content(path)
    if path.suffix.lower() == ".csv":
        rows = list(_csv_rows(path, content))
    elif path.suffix.lower() == ".xlsx":
        rows = list(_xlsx_rows(path, content))
    else:
        message = f"{path}: a .csv or .xlsx file is needed"
        raise LabError(message)
    if not rows:
        message = f"{path}: holds no rows"
        raise LabError(message)
    columns = _columns(path, rows[0])
    entries = [_entry(path, row, columns, zone) for row in rows[1:] if any(row[1])]
    if not 0 < len(entries) <= MAX_ENTRIES:
        message = f"{path}: {len(entries)} rows; 1 to {MAX_ENTRIES} are right"
        raise LabError(message)
    return entries


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            message = f"{path}: {size} bytes; at most {MAX_BYTES} are read"
            raise LabError(message)
        return path.read_bytes()
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise LabError(message) from error


def _csv_rows(path: Path, content: bytes) -> Iterator[Row]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"{path}: is not UTF-8 text (byte {error.start})"
        raise LabError(message) from error
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        rows = (cells for cells in reader if cells)
        for count, cells in enumerate(rows):
            _check_count(path, count)
            yield reader.line_num, [_cell(path, reader.line_num, cell) for cell in cells]
    except csv.Error as error:
        message = f"{path}:{reader.line_num}: is no CSV: {error}"
        raise LabError(message) from error


def _xlsx_rows(path: Path, content: bytes) -> Iterator[Row]:
    stored = _plain_archive(path, content)
    try:
        book = load_workbook(io.BytesIO(stored), read_only=True, data_only=False)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # what the file says of them would hide rows
        for line, cells in enumerate(sheet.iter_rows(max_col=16), start=1):
            _check_count(path, line - 1)
            values = [_xlsx_cell(path, line, cell) for cell in cells]
            while values and not values[-1]:
                values.pop()
            yield line, values
    except UNREADABLE as error:
        message = f"{path}: cannot be read as a workbook: {error}"
        raise LabError(message) from error


def _check_count(path: Path, rows: int) -> None:
    if rows > MAX_ENTRIES:
        message = f"{path}: more than {MAX_ENTRIES} rows below the head; that many are right"
        raise LabError(message)


def _plain_archive(path: Path, content: bytes) -> bytes:
    """The workbook's parts, without compression; refused with every part that acts by itself."""
    try:
        stored = archive.plain(content, MAX_UNPACKED)
    except archive.HostileArchive as error:
        message = f"{path}: {error}"
        raise LabError(message) from error
    for name in ZipFile(io.BytesIO(stored)).namelist():
        if any(part in name.lower() for part in _FORBIDDEN_PARTS):
            message = f"{path}: holds {name}, which is refused (macros, links, objects)"
            raise LabError(message)
    return stored


def _xlsx_cell(path: Path, line: int, cell: Any) -> str:
    value = cell.value
    if cell.data_type == "f" or (isinstance(value, str) and value.startswith("=")):
        message = f"{path}:{line}: cell {cell.coordinate} is a formula; values only are right"
        raise LabError(message)
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        message = f"{path}:{line}: cell {cell.coordinate} is {value}; text or a number is right"
        raise LabError(message)
    return _cell(path, line, str(value))


def _cell(path: Path, line: int, text: str) -> str:
    text = text.strip(" ")
    if text.startswith(_FORMULA_STARTS):
        message = f"{path}:{line}: {text[:20]!r} begins like a formula; values only are right"
        raise LabError(message)
    if len(text) > MAX_CELL or not text.isprintable():
        message = f"{path}:{line}: {text[:20]!r} is too long or holds control characters"
        raise LabError(message)
    return text


def _columns(path: Path, head: Row) -> dict[str, int]:
    names = [name.lower() for name in head[1]]
    known = (*NEEDED, *OPTIONAL)
    for name in names:
        if name not in known or names.count(name) > 1:
            right = f"columns {', '.join(known)}, once each, are right"
            message = f"{path}:{head[0]}: column {name!r}; {right}"
            raise LabError(message)
    missing = [name for name in NEEDED if name not in names]
    if missing:
        message = f"{path}:{head[0]}: the columns {', '.join(missing)} are missing"
        raise LabError(message)
    return {name: place for place, name in enumerate(names)}


def _entry(path: Path, row: Row, columns: dict[str, int], zone: ZoneInfo) -> Entry:
    line, cells = row
    if len(cells) > len(columns):
        message = f"{path}:{line}: {len(cells)} cells in {len(columns)} columns"
        raise LabError(message)
    given = {name: cells[place] if place < len(cells) else "" for name, place in columns.items()}
    where = f"{path}:{line}"
    plain = {
        **{name: given[name] for name in ("kind", "item", "quantity", "value", "unit")},
        "time": time_ns(where, given["time"], zone),
        "mass": given.get("mass_t") or None,
        "uncertainty": given.get("uncertainty") or None,
    }
    return read_entry(plain, where)


def time_ns(where: str, text: str, zone: ZoneInfo) -> int:
    """A moment in ISO 8601 [ns UTC]; without an offset it is plant local time.

    Raises:
        LabError: no such moment; names ``where``.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{where}: time is {text!r}; ISO 8601 such as 2026-10-01T08:00 is right"
        raise LabError(message) from None
    return to_ns(moment if moment.tzinfo else moment.replace(tzinfo=zone))

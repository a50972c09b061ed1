"""Entries from a CSV or XLSX table; hostile files are refused before they are read.

Columns, in any order: kind, item, quantity, value, unit, time, and optionally mass_t and
uncertainty. ``time`` is ISO 8601; without an offset it is plant local time. Refused: formulas, links to
other workbooks, macros, files that unpack to too much, unknown columns. A bad row is named by its
line; nothing is taken from a file with one.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zoneinfo import ZoneInfo

from openpyxl import load_workbook

from edge_agent.calc.windows import to_ns
from gateway.lab.document import MAX_ENTRIES, LabError, read_entry
from gateway.month import Entry

MAX_BYTES = 4 * 2**20
MAX_UNPACKED = 64 * 2**20
UNREADABLE = (
    KeyError, ValueError, IndexError, TypeError, AttributeError, SyntaxError, RuntimeError, EOFError,
    OSError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What a broken or hostile workbook raises in the libraries that read it."""
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
        for cells in reader:
            yield reader.line_num, [_cell(path, reader.line_num, cell) for cell in cells]
    except csv.Error as error:
        message = f"{path}:{reader.line_num}: is no CSV: {error}"
        raise LabError(message) from error


def _xlsx_rows(path: Path, content: bytes) -> Iterator[Row]:
    _check_archive(path, content)
    try:
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=False)
        sheet = book.worksheets[0]
        for line, cells in enumerate(sheet.iter_rows(max_col=16), start=1):
            if line > MAX_ENTRIES + 1:
                message = f"{path}: more than {MAX_ENTRIES} rows"
                raise LabError(message)
            values = [_xlsx_cell(path, line, cell) for cell in cells]
            while values and not values[-1]:
                values.pop()
            yield line, values
    except UNREADABLE as error:
        message = f"{path}: cannot be read as a workbook: {error}"
        raise LabError(message) from error


def _check_archive(path: Path, content: bytes) -> None:
    """Refuse what unpacks to too much, and every part that can act by itself."""
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
    except zipfile.BadZipFile as error:
        message = f"{path}: is no XLSX workbook: {error}"
        raise LabError(message) from error
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_UNPACKED or len(infos) > 200:
        message = f"{path}: unpacks to {unpacked} bytes; at most {MAX_UNPACKED} are read"
        raise LabError(message)
    for info in infos:
        if any(part in info.filename.lower() for part in _FORBIDDEN_PARTS):
            message = f"{path}: holds {info.filename}, which is refused (macros, links, objects)"
            raise LabError(message)


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

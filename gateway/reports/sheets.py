"""Compares two workbooks cell by cell: what a reader of the one sees against the other."""

import io
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from openpyxl import load_workbook

from gateway.lab import archive

MAX_UNPACKED = 256 * 2**20


def difference(ours: bytes, theirs: bytes) -> str:
    """The first difference, or nothing.

    Raises:
        archive.HostileArchive: theirs may not be unpacked.
        archive.UNREADABLE: it is no workbook.
    """
    mine, other = _open(ours), _open(theirs)
    if mine.sheetnames != other.sheetnames:
        return f"it has the sheets {other.sheetnames}, the signed rows give {mine.sheetnames}"
    for name in mine.sheetnames:
        pairs = zip_longest(_rows(mine[name]), _rows(other[name]), fillvalue=())
        for row, (right, shown) in enumerate(pairs, start=1):
            for column, (value, found) in enumerate(zip_longest(right, shown), start=1):
                if value != found or type(value) is not type(found):
                    place = f"row {row}, column {column} of {name!r}"
                    return f"{place} is {str(found)[:80]!r}, the signed rows give {value!r}"
    return ""


def _open(content: bytes) -> Any:
    return load_workbook(io.BytesIO(archive.plain(content, MAX_UNPACKED)), read_only=True)


def _rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """Rows without empty cells at their end, formulas as text; none is hidden by a false size."""
    sheet.reset_dimensions()
    for row in sheet.iter_rows(values_only=True):
        cells = list(row)
        while cells and cells[-1] is None:
            cells.pop()
        yield tuple(cells)

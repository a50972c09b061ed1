"""How the report's sheets look: heads, columns, and rows as high as what is wrapped in them."""

import math
import unicodedata
from collections.abc import Sequence

from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.properties import PageSetupProperties
from openpyxl.worksheet.worksheet import Worksheet

FONT = "Calibri"
WRAPPED = Alignment(wrap_text=True, vertical="top", horizontal="left", indent=1)
NUMBER = Alignment(vertical="top")
_HEAD = PatternFill("solid", fgColor="DCE6F1")
_LINE_POINTS = 15.0
_WIDE = frozenset("WF")
_FULL = 0.9
"""Part of a column that fits before a word goes to the next line."""


def head(sheet: Worksheet, row: int, texts: Sequence[str], widths: Sequence[int]) -> None:
    """A table's head; ``widths`` are the columns' [characters]."""
    for column, (text, width) in enumerate(zip(texts, widths, strict=True), start=1):
        place = sheet.cell(row, column, text)
        place.font, place.fill, place.alignment = Font(name=FONT, bold=True), _HEAD, WRAPPED
        sheet.column_dimensions[get_column_letter(column)].width = width


def finish(sheet: Worksheet, head_row: int | None) -> None:
    """Rows as high as their text; printed, a page is as wide as the sheet and repeats the head."""
    for number, row in enumerate(sheet.iter_rows(), start=1):
        lines = max((_lines(sheet, cell) for cell in row), default=1)
        if lines > 1:
            sheet.row_dimensions[number].height = lines * _LINE_POINTS
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.paperSize = sheet.PAPERSIZE_A3
    sheet.page_setup.fitToHeight = 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    if head_row is not None:
        sheet.print_title_rows = f"{head_row}:{head_row}"


def _lines(sheet: Worksheet, cell: object) -> int:
    text, alignment = getattr(cell, "value", None), getattr(cell, "alignment", None)
    if not isinstance(text, str) or alignment is None or not alignment.wrap_text:
        return 1
    width = sheet.column_dimensions[getattr(cell, "column_letter", "A")].width
    return max(1, math.ceil(_width(text) / (_FULL * width)))


def _width(text: str) -> int:
    """How many Latin letters wide a text is; Chinese ones count twice (Unicode annex 11)."""
    return sum(1 + (unicodedata.east_asian_width(letter) in _WIDE) for letter in text)

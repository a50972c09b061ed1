"""Cells and table heads of a report's sheets."""

from collections.abc import Sequence
from typing import Any

from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_HEAD = PatternFill("solid", fgColor="DCE6F1")


def cell(text: Any) -> Any:
    """A text that no spreadsheet takes for a formula."""
    if isinstance(text, str) and text.startswith(_FORMULA_STARTS):
        return "'" + text
    return text


def table(sheet: Worksheet, row: int, head: Sequence[str], widths: Sequence[int]) -> None:
    """A bold head in a row, and how wide its columns are."""
    for column, (text, width) in enumerate(zip(head, widths, strict=True), start=1):
        place = sheet.cell(row, column, text)
        place.font, place.fill = Font(bold=True), _HEAD
        place.alignment = Alignment(wrap_text=True, vertical="top")
        sheet.column_dimensions[get_column_letter(column)].width = width

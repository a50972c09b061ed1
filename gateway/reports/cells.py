"""What a cell of a report's sheets may hold."""

from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: Any) -> Any:
    """What a cell may hold: a number, or text that no spreadsheet takes for a formula.

    What cannot be printed becomes ``?``: a workbook cannot hold control characters.
    """
    if value is None or type(value) in (int, float):
        return value
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return "'" + text if str(value).startswith(_FORMULA_STARTS) else text

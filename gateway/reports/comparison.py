"""What a bundle reports against what its signed rows give: record, JSON report and sheet."""

import io
import json
from collections.abc import Callable
from typing import Any, TypeVar

from openpyxl import load_workbook

from edge_agent.wire import cbor
from gateway.bundle import Bundle, BundleError
from gateway.lab import archive
from gateway.reports import render, sheets

_T = TypeVar("_T")


def compare(plain: Any, bundle: Bundle, record: Any) -> None:
    """Compare every figure, in order.

    Args:
        plain: the report as the signed rows give it (``render.to_plain``).
        bundle: what was reported.
        record: its month record.

    Raises:
        BundleError: names the first difference.
    """
    try:
        report = json.loads(bundle.files["report.json"])
    except (ValueError, RecursionError) as error:
        message = f"report.json: cannot be read: {error}"
        raise BundleError(message) from error
    xlsx = bundle.files["report.xlsx"]
    sheet = _of_sheet(lambda: _sheet_figures(xlsx))
    recomputed = cbor.decode(render.month_record(plain))
    ours = recomputed["values"]
    _compare_record(ours, record)
    if record.get("counted") != recomputed["counted"]:
        message = (
            f"month.cbor: counts {record.get('counted')}, by the records of closed days it is "
            f"{recomputed['counted']}"
        )
        raise BundleError(message)
    theirs = report["parameters"]
    if len(theirs) != len(ours) or len(sheet) < len(ours):
        message = (
            f"report.json has {len(theirs)} values and report.xlsx {len(sheet)} of {len(ours)}"
        )
        raise BundleError(message)
    for place, mine in enumerate(plain["parameters"]):
        _compare_report(mine, theirs[place], sheet[place])
    if report != json.loads(render.to_json(plain)):
        names = sorted(key for key in plain if report.get(key) != plain[key])
        message = f"report.json: differs from the signed rows in {', '.join(names)}"
        raise BundleError(message)
    if found := _of_sheet(lambda: sheets.difference(render.to_xlsx(plain), xlsx)):
        message = f"report.xlsx: {found}"
        raise BundleError(message)


def _compare_record(ours: Any, record: Any) -> None:
    for mine, theirs in zip(ours, record["values"], strict=False):
        if mine != theirs:
            message = (
                f"month.cbor: {theirs[0]} of {theirs[1]} is {theirs[2]}, "
                f"the signed rows give {mine[2]}"
            )
            raise BundleError(message)
    if len(ours) != len(record["values"]):
        message = f"month.cbor: {len(record['values'])} values, the signed rows give {len(ours)}"
        raise BundleError(message)


def _compare_report(mine: Any, theirs: Any, figure: float | None) -> None:
    for key in mine:
        if mine[key] != theirs.get(key):
            message = (
                f"report.json: {key} of {mine['id']} of {mine['scope']} is "
                f"{theirs.get(key)!r}, the signed rows give {mine[key]!r}"
            )
            raise BundleError(message)
    expected = None if mine["reported"] is None else float(mine["reported"])
    if figure != expected:
        message = (
            f"report.xlsx: {mine['id']} of {mine['scope']} is {figure}, "
            f"the signed rows give {mine['reported']}"
        )
        raise BundleError(message)


def _sheet_figures(xlsx: bytes) -> list[Any]:
    """The reported values of the first sheet; what unpacks to too much is not unpacked."""
    stored = archive.plain(xlsx, sheets.MAX_UNPACKED)
    sheet = load_workbook(io.BytesIO(stored), read_only=True, data_only=True).worksheets[0]
    sheet.reset_dimensions()  # what the file says of them could hide rows
    rows = sheet.iter_rows(min_row=5, values_only=True)
    return [row[4] if len(row) > 4 else None for row in rows if row]


def _of_sheet(read: Callable[[], _T]) -> _T:
    """What the workbook gives, or the error that names it."""
    try:
        return read()
    except archive.HostileArchive as error:
        raise BundleError(f"report.xlsx: {error}") from error
    except archive.UNREADABLE as error:
        message = f"report.xlsx: cannot be read as a workbook: {error}"
        raise BundleError(message) from error

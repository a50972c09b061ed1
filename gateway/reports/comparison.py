"""What a bundle reports against what its signed rows give: record, JSON report and sheet."""

import io
import json
from typing import Any
from zipfile import ZipFile

from openpyxl import load_workbook

from edge_agent.wire import cbor
from gateway.bundle import Bundle, BundleError
from gateway.lab.sheet import UNREADABLE
from gateway.reports import render

_MAX_UNPACKED = 256 * 2**20


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
    sheet = _sheet_figures(bundle.files["report.xlsx"])
    ours = cbor.decode(render.month_record(plain))["values"]
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
    for place, mine in enumerate(plain["parameters"]):
        _compare_report(mine, report["parameters"][place], sheet[place])
    if report != json.loads(render.to_json(plain)):
        names = sorted(key for key in plain if report.get(key) != plain[key])
        message = f"report.json: differs from the signed rows in {', '.join(names)}"
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
    try:
        with ZipFile(io.BytesIO(xlsx)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > _MAX_UNPACKED:
            message = f"report.xlsx: unpacks to {unpacked} bytes; at most {_MAX_UNPACKED} are read"
            raise BundleError(message)
        sheet = load_workbook(io.BytesIO(xlsx), read_only=True, data_only=True).worksheets[0]
        return [row[4] for row in sheet.iter_rows(min_row=5, values_only=True)]
    except UNREADABLE as error:
        message = f"report.xlsx: cannot be read as a workbook: {error}"
        raise BundleError(message) from error

"""The sheet of keys and decisions: what signed the batches, who decided what and why."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from openpyxl.styles import Alignment
from openpyxl.worksheet.worksheet import Worksheet

from edge_agent.calc.windows import to_local
from gateway.reports.cells import cell, table

_KEYS = (
    "agent 采集端",
    "key SHA-256 公钥摘要",
    "first batch 起始批次",
    "last batch 终止批次",
)
_DECISIONS = (
    "agent 采集端",
    "decision 决定",
    "",
    "time 时间",
    "by 决定人",
    "about 对象",
    "reason 理由",
    "version 版本",
    "document SHA-256 文件摘要",
)

_WIDTHS = (14, 66, 26, 24, 20, 60, 40, 10, 66)


def write(sheet: Worksheet, plain: Any) -> None:
    """Fill the sheet from a report's plain values."""
    governance, zone = plain["governance"], ZoneInfo(plain["timezone"])
    decisions = [
        (
            one["agent"],
            one["zh"],
            one["en"],
            to_local(one["at"], zone).isoformat(sep=" ", timespec="seconds"),
            one["by"],
            one["about"],
            one["reason"],
            one["version"],
            one["sha256"],
        )
        for one in governance["decisions"]
    ]
    keys = [
        (one["agent"], one["key"], one["first_seq"], one["last_seq"]) for one in governance["keys"]
    ]
    _fill(sheet, 1, _KEYS, keys)
    _fill(sheet, len(keys) + 3, _DECISIONS, decisions)


def _fill(
    sheet: Worksheet, head: int, titles: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    table(sheet, head, titles, _WIDTHS[: len(titles)])
    for row, values in enumerate(rows, start=head + 1):
        for column, value in enumerate(values, start=1):
            sheet.cell(row, column, cell(value)).alignment = Alignment(wrap_text=True)

"""A month's values as JSON, as the signed month record, and as a sheet."""

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.worksheet.worksheet import Worksheet

from edge_agent.calc.windows import to_local
from edge_agent.wire import cbor
from gateway.evidence import BatchRange, Configuration
from gateway.month import Month, MonthValue
from gateway.reports import governance_sheet, layout
from gateway.reports.cells import cell

FORMAT = "carbon-month/1"
_SAVED = re.compile(rb"(<dcterms:modified[^>]*>)[^<]*(</dcterms:modified>)")
_ROOT_CHARACTERS = 16
_LEAST_PERCENT = 0.001
_VALUES = {
    "信息项": 24,
    "parameter": 30,
    "scope 范围": 18,
    "unit 单位": 14,
    "value 数值": 12,
    "method 获取方式": 18,
    "source 数据来源": 36,
    "evidence 支撑材料": 24,
    "clause 条款": 24,
    "completeness 完整率": 15,
    "uncertainty 不确定度 (k=2)": 20,
    "recomputed 由修约值复算": 14,
    "substituted hours 替代小时数": 13,
    "batches 批次": 14,
    "root 默克尔根": 20,
    "note 备注": 30,
}
"""Columns of the first sheet and how wide they are [characters]."""


def to_plain(
    month: Month,
    configuration: Configuration,
    ranges: Sequence[BatchRange],
    governance: Mapping[str, Any],
) -> Any:
    """The report as plain values; numbers are decimal text so that nothing rounds them.

    Args:
        month: the computed values.
        configuration: what they were computed with.
        ranges: the batches behind them.
        governance: keys and decisions (``governance.to_plain``).
    """
    return {
        "format": FORMAT,
        "site": month.site,
        "month": month.month,
        "timezone": configuration.plain["timezone"],
        "sector": f"{month.form.en} {month.form.zh}",
        "form": {"id": month.form.id, "version": month.form.version, "guide": month.form.guide},
        "control_plan": _plan(configuration),
        "factor_set": {
            "id": configuration.factors.id,
            "version": configuration.factors.version,
        },
        "evidence": [
            {
                "agent": item.agent,
                "first_seq": item.first_seq,
                "last_seq": item.last_seq,
                "batches": item.count,
                "root": item.root.hex(),
                "config_sha256": item.config_sha256.hex(),
                "configurations": len(item.configs),
            }
            for item in ranges
        ],
        "parameters": [_value(value, ranges) for value in month.values],
        "effects": [_effect(event) for event in month.effects],
        "reservations": month.reservations,
        "governance": governance,
    }


def _plan(configuration: Configuration) -> dict[str, Any] | None:
    plan = configuration.plain.get("control_plan")
    return {key: plan[key] for key in ("id", "version", "valid_from", "author")} if plan else None


def _value(value: MonthValue, ranges: Sequence[BatchRange]) -> dict[str, Any]:
    parameter = value.parameter
    return {
        "id": parameter.id,
        "scope": value.scope,
        "zh": parameter.zh,
        "en": parameter.en,
        "value": None if value.value is None else str(value.value),
        "reported": None if value.reported is None else str(value.reported),
        "recomputed_from_rounded": None if value.recomputed is None else str(value.recomputed),
        "unit": value.unit,
        "method": value.method,
        "source": value.source,
        "clause": value.clause,
        "supporting": value.evidence,
        "completeness": None if value.completeness is None else f"{value.completeness:.6f}",
        "uncertainty": _uncertainty(value),
        "substitutions": [
            {
                "hour": item.start_ns,
                "method": item.method.value,
                "value": str(item.amount),
                "missing_s": str(item.missing_s),
                "source": item.source,
            }
            for item in value.substituted
        ],
        "formula": value.formula.with_numbers(value.terms) if value.formula else None,
        "inputs": [
            {"symbol": symbol, "name": term.name, "value": _text(term.value), "unit": term.unit}
            for symbol, term in value.terms
        ],
        "note": value.note,
        "evidence": {
            "series": list(value.series),
            "documents": list(value.documents),
            "batches": [
                {
                    "agent": item.agent,
                    "first_seq": item.first_seq,
                    "last_seq": item.last_seq,
                    "root": item.root.hex(),
                }
                for item in ranges
            ],
        },
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _uncertainty(value: MonthValue) -> dict[str, Any] | None:
    """Relative expanded uncertainty (k = 2) to four significant digits, and what nobody stated.

    A value that lists ``unstated`` inputs has at least this uncertainty.
    """
    given = value.uncertain
    if given is None:
        return None
    relative = value.relative_uncertainty
    return {
        "relative": None if relative is None else f"{relative:.4g}",
        "k": 2,
        "unstated": sorted(given.unstated),
    }


def _effect(event: dict[str, Any]) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, float) else value
        for key, value in event.items()
        if key not in ("t", "type")
    }


def to_json(plain: Any) -> bytes:
    """The report as JSON text."""
    return (json.dumps(plain, ensure_ascii=False, indent=2) + "\n").encode()


def month_record(plain: Any) -> bytes:
    """``month.cbor``: every reported figure as text, for comparison figure by figure."""
    return cbor.encode(
        {
            "format": FORMAT,
            "site": plain["site"],
            "month": plain["month"],
            "counted": counted(plain),
            "values": [
                [item["id"], item["scope"], item["value"], item["reported"]]
                for item in plain["parameters"]
            ],
        }
    )


def counted(plain: Any) -> list[Any] | None:
    """The rule of what the month counts: all that came until this day was closed, with this leaf last.

    None where no day is closed: then all batches that are named, and nothing is said of others.
    """
    days = plain["governance"].get("days", [])
    return [days[-1]["day"], days[-1]["last"]] if days else None


def to_xlsx(plain: Any) -> bytes:
    """The report as a workbook: values, effects, evidence."""
    book = Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)  # noqa: S101  a new workbook has one
    _values_sheet(sheet, plain)
    _substitutions_sheet(book.create_sheet("substituted 替代"), plain)
    _effects_sheet(book.create_sheet("effects 效应"), plain)
    _evidence_sheet(book.create_sheet("evidence 证据"), plain)
    governance_sheet.write(book.create_sheet("decisions 决定"), plain)
    heads = (4, 1, 1, None, None)
    for each, head_row in zip(book.worksheets, heads, strict=True):
        layout.finish(each, head_row)
    book.properties.created = datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)
    out = io.BytesIO()
    book.save(out)
    return _without_times(out.getvalue())


def _without_times(xlsx: bytes) -> bytes:
    """The workbook without the moment of saving: the same report gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(xlsx)) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name == "docProps/core.xml":
                content = _SAVED.sub(rb"\g<1>2000-01-01T00:00:00Z\g<2>", content)
            info = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            after.writestr(info, content)
    return out.getvalue()


def _values_sheet(sheet: Worksheet, plain: Any) -> None:
    sheet.title = "month 月度参数"
    sheet["A1"] = cell(f"{plain['site']}  {plain['month']}  {plain['sector']}")
    sheet["A1"].font = Font(name=layout.FONT, bold=True, size=14)
    sheet["A2"] = cell(f"{plain['factor_set']['id']} v{plain['factor_set']['version']}")
    layout.head(sheet, 4, tuple(_VALUES), tuple(_VALUES.values()))
    sheet.freeze_panes = "A5"
    for row, item in enumerate(plain["parameters"], start=5):
        batches = item["evidence"]["batches"]
        covered = item["completeness"]
        values = (
            item["zh"],
            item["en"],
            item["scope"],
            item["unit"],
            item["reported"],
            item["method"],
            item["source"],
            item["supporting"],
            item["clause"],
            "" if covered is None else f"{100 * float(covered):.2f} %",
            _percent(item["uncertainty"]),
            None,
            None,
            ", ".join(f"{part['first_seq']}-{part['last_seq']}" for part in batches),
            ", ".join(f"{part['root'][:_ROOT_CHARACTERS]}…" for part in batches),
            item["note"],
        )
        for column, text in enumerate(values, start=1):
            sheet.cell(row, column, cell(text)).alignment = layout.WRAPPED
        missing_s = sum(float(one["missing_s"]) for one in item["substitutions"])
        _numeric(sheet, row, 5, item["reported"])
        _numeric(sheet, row, 12, item["recomputed_from_rounded"])
        _numeric(sheet, row, 13, f"{missing_s / 3_600:.2f}")


def _percent(uncertainty: dict[str, Any] | None) -> str:
    if uncertainty is None or uncertainty["relative"] is None:
        return "not stated 未给出"
    least = "≥ " if uncertainty["unstated"] else ""
    percent = 100 * float(uncertainty["relative"])
    if 0 < percent < _LEAST_PERCENT:
        return f"{least}0 %" if least else f"< {_LEAST_PERCENT:g} %"
    return f"{least}{percent:.3g} %"


def _numeric(sheet: Worksheet, row: int, column: int, reported: str | None) -> None:
    """The figure as a number with the form's decimals, where there is one."""
    if reported is None:
        return
    place = sheet.cell(row, column, float(reported))
    decimals = len(reported.partition(".")[2])
    place.alignment = layout.NUMBER
    place.number_format = "0." + "0" * decimals if decimals else "0"


def _substitutions_sheet(sheet: Worksheet, plain: Any) -> None:
    """Every substituted hour: what, which hour, how, how much, from what."""
    head = (
        "parameter 信息项",
        "scope 范围",
        "hour 小时",
        "missing, s 缺失秒数",
        "method 替代方法",
        "value 替代值",
        "unit 单位",
        "source 替代依据",
    )
    layout.head(sheet, 1, head, (30, 17, 24, 14, 22, 18, 12, 60))
    zone = ZoneInfo(plain["timezone"])
    row = 1
    for item in plain["parameters"]:
        for one in item["substitutions"]:
            row += 1
            hour = to_local(one["hour"], zone).isoformat(sep=" ", timespec="seconds")
            values = (
                f"{item['zh']} {item['en']}",
                item["scope"],
                hour,
                float(one["missing_s"]),
                one["method"],
                float(one["value"]),
                item["unit"],
                one["source"],
            )
            for column, value in enumerate(values, start=1):
                sheet.cell(row, column, cell(value))


def _effects_sheet(sheet: Worksheet, plain: Any) -> None:
    head = (
        "potline 系列",
        "pot 电解槽",
        "start 开始",
        "end 结束",
        "above 8 V, s 净时间",
        "gross, s 总时间",
        "peak, V 峰值电压",
        "overvoltage, V·s 过电压积分",
        "group 组",
        "end reason 结束原因",
    )
    layout.head(sheet, 1, head, (14, 14, 27, 27, 14, 14, 14, 18, 10, 22))
    zone = ZoneInfo(plain["timezone"])
    for row, item in enumerate(plain["effects"], start=2):
        start, end = (
            to_local(item[key], zone).isoformat(sep=" ", timespec="seconds")
            for key in ("start", "end")
        )
        numbers = (float(item[key]) for key in ("net_s", "gross_s", "peak_v", "ov_vs"))
        values = (item["line"], item["pot"], start, end, *numbers, item["group"], item["reason"])
        for column, value in enumerate(values, start=1):
            sheet.cell(row, column, cell(value))
        for column, number_format in zip(range(5, 9), ("0", "0", "0.00", "0.0"), strict=True):
            sheet.cell(row, column).number_format = number_format


def _day(one: Any) -> str:
    """What the log holds of a closed day."""
    leaves = f"leaves {one['first']}-{one['last']}" if one["first"] <= one["last"] else "no leaf"
    return f"{leaves}, checkpoint of {one['size']}, {one['batches']} batches of this month"


def _evidence_sheet(sheet: Worksheet, plain: Any) -> None:
    sheet.column_dimensions["A"].width = 28
    sheet.column_dimensions["B"].width = 120
    rows = []
    for item in plain["evidence"]:
        text = f"{item['first_seq']}-{item['last_seq']} ({item['batches']})  root {item['root']}"
        rows.append((f"agent {item['agent']}", text))
        rows.append(("configuration SHA-256 配置", item["config_sha256"]))
    rows += [
        (f"day closed 日结 {one['day']}", _day(one)) for one in plain["governance"].get("days", [])
    ]
    if last := counted(plain):
        rows.append(("counted 计入范围", f"what came until {last[0]} was closed, leaf {last[1]}"))
    rows += [("reservation 保留意见", text) for text in plain["reservations"]]
    for row, (left, right) in enumerate(rows, start=1):
        sheet.cell(row, 1, cell(left)).alignment = layout.WRAPPED
        sheet.cell(row, 2, cell(right)).alignment = layout.WRAPPED

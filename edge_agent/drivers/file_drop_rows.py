"""A dropped table file to readings: configuration, and bytes in, readings and rejected rows out.

1. A file is refused as a whole for what makes all of it doubtful: wrong encoding, NUL, a missing or
   doubled column, more than the limits allow. Anything else costs its row.
2. Every row is one line: a quote that is not closed ends with its line and spoils nothing behind it.
3. A cell that a spreadsheet would run as a formula spoils its row; so does a second value of a tag
   at a time that already has another one.
4. The same bytes give the same readings: nothing depends on when a file is read, but for rows that
   lie in the future.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, field_validator, model_validator

from edge_agent.clock import NS_PER_S
from edge_agent.drivers.base import (
    Scaler,
    Seconds,
    SendingConfig,
    Tag,
    Timezone,
    Value,
    is_plausible_time,
)
from edge_agent.errors import BadAnswer
from edge_agent.readings import Sample

MAX_LINE = 65_536
MAX_ROWS = 1_000_000
_MAX_CELLS = 1_000
_AHEAD_S = 86_400
_DAY_S = 86_400.0
_NUMBERS = {
    ".": re.compile(r"[+-]?[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,2})?"),
    ",": re.compile(r"[+-]?[0-9]{1,20}(?:,[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,2})?"),
}
_SOME_TIME = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_FORMULA = ("=", "@", "+", "-", "\t", "\r", "|")

Column = (
    Annotated[str, StringConstraints(min_length=1, max_length=200)] | Annotated[int, Field(ge=1)]
)


class FileDropTag(Tag):
    """One column.

    Args:
        column: its title, or its number from 1.
        where: only rows whose cells equal these texts, by column title or number.
    """

    column: Column
    where: dict[str, str] = Field(default_factory=dict)


class FileDropConfig(SendingConfig):
    """One folder that another system puts table files into; nothing renews a folder.

    Args:
        folder: where files appear; ``done`` and ``rejected`` are made inside it.
        record: durable record of the files taken; by default in the agent's state folder.
        pattern: names of the files to take, such as ``*.csv``.
        ready: when a file is complete: its size and time did not change for ``settle_s``, it has
            its name (the writer renames it when complete), or ``NAME.ok`` stands beside it.
        scan_s: time from one look into the folder to the next [s].
        hold_s: how long after its readings were delivered a file is recorded as taken, at the
            earliest [s]; they must be durable besides.
        time: column of the time, or of date and time of day.
        time_format: as of Python's strptime; with %z the file's own offset counts.
        decimal: the sign before decimals.
        skip_rows: lines before the titles, or before the data without titles.
        titles: the first line holds the columns' titles.
    """

    driver: Literal["file_drop"]
    folder: Path = Field(exclude=True)
    record: Path | None = Field(default=None, exclude=True)
    pattern: Annotated[str, StringConstraints(pattern=r"^[^/\x00]{1,200}$")] = "*.csv"
    ready: Literal["settled", "renamed", "marked"] = "settled"
    settle_s: Seconds = 10.0
    scan_s: Seconds = 5.0
    hold_s: Seconds = 60.0
    max_file_mb: int = Field(default=50, ge=1, le=1_000)
    encoding: Literal["utf-8", "gb18030", "utf-16", "latin-1"] = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    decimal: Literal[".", ","] = "."
    titles: bool = True
    skip_rows: int = Field(default=0, ge=0, le=1_000)
    time: tuple[Column, ...] = Field(min_length=1, max_length=2)
    time_format: str = "%Y-%m-%d %H:%M:%S"
    timezone: Timezone = "Asia/Shanghai"
    renew_s: Seconds | Literal["never"] = "never"
    tags: tuple[FileDropTag, ...]

    def usual_s(self, tag: Tag) -> float:  # noqa: ARG002  the same for all tags
        """A file a day [s]."""
        return _DAY_S

    @field_validator("time_format")
    @classmethod
    def _format(cls, text: str) -> str:
        try:
            datetime.strptime(_SOME_TIME.strftime(text), text)  # noqa: DTZ007 - only tried
        except ValueError:
            raise ValueError(f"{text!r} is no time format; %Y-%m-%d %H:%M:%S is right") from None
        if not re.search(r"%[YyGcxs]", text):
            raise ValueError(f"{text!r} has no year")
        return text

    @field_validator("time", mode="before")
    @classmethod
    def _one_or_two(cls, value: object) -> object:
        return (value,) if isinstance(value, str | int) else value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.decimal == self.delimiter:
            raise ValueError("the decimal sign and the delimiter cannot both be a comma")
        columns = [*self.time, *(tag.column for tag in self.tags)]
        columns += [key for tag in self.tags for key in tag.where]
        if not self.titles and any(isinstance(c, str) and not c.isdigit() for c in columns):
            raise ValueError("without titles, columns are numbers from 1")
        return self


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was not taken."""

    line: int
    reason: str
    text: str


@dataclass(slots=True)
class Table:
    """What a file gave."""

    samples: list[Sample] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    rows: int = 0


def read(raw: bytes, config: FileDropConfig, now_ns: int) -> Table:
    """The readings of a file. Raises BadAnswer when the file as a whole is refused."""
    lines = _lines(raw, config)
    reader, table = _Rows(config), Table()
    seen: dict[tuple[str, int], tuple[Value, int]] = {}
    for number, line in lines:
        if not line.strip():
            continue
        table.rows += not reader.wants_titles
        try:
            cells = _cells(line, config)
            if reader.wants_titles:
                reader.take_titles(cells)
                continue
            found = reader.samples(cells, now_ns)
            _check_new(found, seen, number)
        except _BadRow as error:
            if reader.wants_titles:
                raise BadAnswer(f"line {number}, which should hold the titles: {error}") from None
            table.rejected.append(Rejected(number, str(error), line))
            continue
        table.samples += found
    if reader.wants_titles:
        raise BadAnswer("there is no line of titles")
    return table


class _BadRow(Exception):
    """Why a row is not taken."""


def _lines(raw: bytes, config: FileDropConfig) -> Iterator[tuple[int, str]]:
    """The lines after the skipped ones, with their numbers from 1."""
    if b"\0" in raw and config.encoding != "utf-16":
        raise BadAnswer("the file holds NUL bytes; it is no text")
    try:
        text = raw.decode("utf-8-sig" if config.encoding == "utf-8" else config.encoding)
    except UnicodeDecodeError as error:
        raise BadAnswer(f"byte {error.start} is no {config.encoding}: {error.reason}") from None
    if "\0" in text:
        raise BadAnswer("the file holds NUL characters; it is no table")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_ROWS:
        raise BadAnswer(f"the file has {len(lines)} lines; at most {MAX_ROWS} are right")
    longest = max(range(len(lines)), key=lambda place: len(lines[place]))
    if len(lines[longest]) > MAX_LINE:
        raise BadAnswer(f"line {longest + 1} has {len(lines[longest])} characters")
    yield from list(enumerate(lines, 1))[config.skip_rows :]


def _cells(line: str, config: FileDropConfig) -> list[str]:
    try:
        (cells,) = csv.reader([line], delimiter=config.delimiter, strict=True)
    except (csv.Error, ValueError) as error:
        raise _BadRow(f"no row of a table: {error}") from None
    if len(cells) > _MAX_CELLS:
        raise _BadRow(f"{len(cells)} cells")
    return [cell.strip() for cell in cells]


class _Rows:
    """Knows which column is which."""

    def __init__(self, config: FileDropConfig) -> None:
        """Prepare numbers, times and scaling."""
        self._config = config
        self._number = _NUMBERS[config.decimal]
        self._zone = ZoneInfo(config.timezone)
        self._scalers = {tag.id: Scaler(tag) for tag in config.tags}
        self._places: Mapping[str, int] = {}
        self.wants_titles = config.titles

    def take_titles(self, titles: Sequence[str]) -> None:
        """Learn the columns. Raises BadAnswer when one that is needed is missing or doubled."""
        config = self._config
        needed = [*config.time, *(tag.column for tag in config.tags)]
        needed += [key for tag in config.tags for key in tag.where]
        for title in needed:
            count = titles.count(title) if isinstance(title, str) else 1
            if count != 1:
                what = f"stands {count} times" if count else "is missing"
                raise BadAnswer(
                    f"column {title!r} {what}; the titles are {', '.join(titles)[:500]}"
                )
        self._places = {title: place for place, title in enumerate(titles)}
        self.wants_titles = False

    def samples(self, cells: Sequence[str], now_ns: int) -> list[Sample]:
        """The readings of one row; empty cells give none. Raises _BadRow."""
        for cell in cells:
            if cell.startswith(_FORMULA) and not self._number.fullmatch(cell):
                raise _BadRow(f"the cell {cell[:40]!r} begins like a formula")
        time_ns = self._time_ns(cells, now_ns)
        found: list[Sample] = []
        for tag in self._config.tags:
            if any(self._cell(cells, key) != text for key, text in tag.where.items()):
                continue
            text = self._cell(cells, tag.column)
            if text:
                found.append(Sample(tag.id, time_ns, self._value(tag, text)))
        return found

    def _cell(self, cells: Sequence[str], column: Column) -> str:
        is_number = isinstance(column, int) or (not self._config.titles and column.isdigit())
        place = int(column) - 1 if is_number else self._places[str(column)]
        if place >= len(cells):
            raise _BadRow(f"there is no column {column!r}, the row has {len(cells)} cells")
        return cells[place]

    def _value(self, tag: FileDropTag, text: str) -> Value:
        if not self._number.fullmatch(text):
            raise _BadRow(f"{text[:40]!r} in column {tag.column!r} is no number")
        plain = text.replace(",", ".")
        number: int | float = int(plain) if plain.lstrip("+-").isdigit() else float(plain)
        if tag.totaliser is not None and number != int(number):
            raise _BadRow(f"{text[:40]!r} in column {tag.column!r} is no whole count")
        value = self._scalers[tag.id](int(number) if tag.totaliser is not None else number)
        if value is None:
            raise _BadRow(f"{text[:40]!r} in column {tag.column!r} is too large")
        return value

    def _time_ns(self, cells: Sequence[str], now_ns: int) -> int:
        config = self._config
        text = " ".join(self._cell(cells, column) for column in config.time)
        try:
            instant = datetime.strptime(text, config.time_format)  # noqa: DTZ007 - zone added below
            local = instant if instant.tzinfo else instant.replace(tzinfo=self._zone)
            time_ns = round(local.timestamp() * 1_000_000) * 1_000
        except (ValueError, OverflowError):
            raise _BadRow(f"{text[:60]!r} is no time as {config.time_format}") from None
        if not is_plausible_time(time_ns):
            raise _BadRow(f"{text[:60]!r} is no plausible time")
        if now_ns > 0 and time_ns > now_ns + _AHEAD_S * NS_PER_S:
            raise _BadRow(f"{text[:60]!r} lies in the future")
        return time_ns


def _check_new(
    found: Sequence[Sample], seen: dict[tuple[str, int], tuple[Value, int]], line: int
) -> None:
    """Rule 3; notes the row's readings when all are new."""
    for sample in found:
        value, before = seen.get((sample.tag, sample.time_ns), (sample.value, line))
        if value != sample.value:
            raise _BadRow(f"tag {sample.tag} has another value at this time in line {before}")
    for sample in found:
        seen.setdefault((sample.tag, sample.time_ns), (sample.value, line))


def harmless(cell: str) -> str:
    """A cell that a spreadsheet shows instead of running it."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell

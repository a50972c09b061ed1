"""DL/T 645-2007 electricity meters, polled: configuration and driver.

1. A tag names a quantity of ``dlt645_ids`` or gives a data id with its digits. Tags of one data id
   share one question.
2. ``value * scale + offset`` works on the integer of the meter's digits. Where no scale is given it
   is the quantity's own decimals (0.01 for energy), so a value is in the meter's unit; behind
   transformers the scale carries their ratio as well. A totaliser delivers the integer itself.
3. With address AAAAAAAAAAAA the only meter on the line is asked for its address first (control code
   13H); it is held to that address until the session ends.
4. A quantity the meter refuses is BAD_DEVICE and does not stop the others.
"""

import difflib
import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, field_validator, model_validator

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.base import DeviceConfig, Host, Lines, Scaler, Seconds, Tag, Timezone, Value
from edge_agent.drivers.dlt645_frames import WILDCARD, bcd
from edge_agent.drivers.dlt645_ids import CLOCK_DATE, CLOCK_TIME, Item, named_items
from edge_agent.drivers.dlt645_line import Line, Parity, Serial, Tcp
from edge_agent.errors import DeviceError, Refused
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD, Quality, Sample

CLOCK_OFFSET = "clock_offset"  # seconds the meter's clock is ahead of ours
_MIDNIGHT = timedelta(minutes=1)
_NAMED = named_items()
_KNOWN = {item.data_id: item for item in _NAMED.values()}

DataId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{8}$")]


class Dlt645Tag(Tag):
    """One quantity: by ``quantity``, or by ``data_id`` with ``length``, ``decimals`` and sign.

    Args:
        data_id: eight hexadecimal digits DI3 DI2 DI1 DI0, such as 00010000.
        at: byte at which the number begins in the answer, for blocks such as 0201FF00.
        length: bytes of the number.
        decimals: digits behind the point.
        signed: the number's highest bit is its sign.
    """

    quantity: str | None = None
    data_id: DataId | None = None
    at: int = Field(default=0, ge=0, le=195)
    length: int | None = Field(default=None, ge=1, le=8)
    decimals: int | None = Field(default=None, ge=0, le=8)
    signed: bool = False

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: object) -> object:
        """Rule 2: decimals become the scale; a counter rolls over when its digits are full."""
        if not isinstance(value, dict):
            return value
        item = _item_of(value)
        if item is None:
            return value
        filled = dict(value)
        if "scale" not in filled:
            filled["scale"] = str(Decimal(1).scaleb(-item.decimals))
        totaliser = filled.get("totaliser")
        if isinstance(totaliser, dict) and totaliser.get("modulus") is None and item.is_counter:
            filled["totaliser"] = {**totaliser, "modulus": 100**item.number_bytes}
        filled.setdefault("unit", item.unit)
        return filled

    @field_validator("quantity")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name != CLOCK_OFFSET and name not in _NAMED:
            bases = sorted({known.split(".")[0] for known in _NAMED} | {CLOCK_OFFSET})
            base = name.split(".")[0]
            near = [known for known in _NAMED if known.split(".")[0] == base][:4]
            near = near or difflib.get_close_matches(base, bases, 3, 0.6) or bases
            raise ValueError(f"no quantity {name!r}; did you mean {', '.join(near)}?")
        return name

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.quantity is None) == (self.data_id is None):
            raise ValueError("either quantity or data_id is right")
        item = self.item
        if self.quantity == CLOCK_OFFSET:
            if self.totaliser is not None:
                raise ValueError("the clock's offset is no totaliser")
        elif item is None:
            raise ValueError(f"data_id {self.data_id} is not known: give length and decimals")
        elif self.totaliser is not None and item.is_signed:
            raise ValueError("a number with a sign can go down: it is no totaliser")
        return self

    @property
    def item(self) -> Item | None:
        """Where the number stands; None for the clock's offset."""
        return _item_of(self.__dict__)


def _item_of(fields: dict[str, object]) -> Item | None:
    name, data_id = fields.get("quantity"), fields.get("data_id")
    if isinstance(name, str):
        return _NAMED.get(name)
    if not isinstance(data_id, str):
        return None
    try:
        number = int(data_id, 16)
    except ValueError:
        return None
    length, decimals = fields.get("length"), fields.get("decimals")
    if isinstance(length, int) and isinstance(decimals, int):
        return Item(number, length, decimals, "", is_signed=bool(fields.get("signed")))
    return _KNOWN.get(number) if length is None and decimals is None else None


class Dlt645Config(DeviceConfig):
    """One meter, on a serial line or behind a transparent TCP gateway.

    Args:
        address: the twelve digits on the meter, or AAAAAAAAAAAA where it is alone on its line.
        serial: path of the serial port; else ``host`` and ``port`` of the gateway.
        baud: bits per second of the serial line (the standard's own is 2400), 8 data bits, 1 stop.
        gap_s: silence between an answer and the next question [s].
        settle_s: longest time a meter may take to begin an answer [s] (0.5 by the standard).
        timezone: zone of the meter's clock, for ``clock_offset``.
    """

    driver: Literal["dlt645"]
    address: str
    serial: str | None = Field(default=None, min_length=1)
    host: Host | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    baud: Literal[600, 1200, 2400, 4800, 9600, 19200] = 2400
    parity: Parity = "even"
    gap_s: float = Field(default=0.05, ge=0, le=5, allow_inf_nan=False)
    settle_s: Seconds = 0.5
    interval_s: Seconds
    timeout_s: Seconds = 1.5
    timezone: Timezone = "Asia/Shanghai"
    tags: tuple[Dlt645Tag, ...]

    @field_validator("address", mode="before")
    @classmethod
    def _address(cls, text: object) -> object:
        if not isinstance(text, str) or not re.fullmatch("[0-9]{12}|A{12}", text):
            right = f"twelve digits in quotation marks, or {WILDCARD} for a lone meter"
            raise ValueError(f"{text!r} is no meter address; {right}")
        return text

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        is_tcp = self.host is not None and self.port is not None
        if is_tcp == (self.serial is not None) or (self.host is None) != (self.port is None):
            raise ValueError("either serial, or host and port are right")
        return self

    @property
    def end(self) -> Serial | Tcp:
        """The line's far end."""
        if self.serial is not None:
            return Serial(self.serial, self.baud, self.parity)
        return Tcp(str(self.host).lower(), int(self.port or 0))


class Dlt645Driver:
    """One meter."""

    def __init__(self, config: Dlt645Config, clock: Clock) -> None:
        """Take the configuration; nothing is opened yet."""
        self._config = config
        self._clock = clock
        self._line = Line(config.end, clock, gap_s=config.gap_s, settle_s=config.settle_s)
        self._scalers = {tag.id: Scaler(tag) for tag in config.tags}
        self._zone = ZoneInfo(config.timezone)
        self._address = ""

    def share(self, lines: Lines) -> None:
        """Use the line that all meters of this port use. Raises ConfigError for a mixed one."""
        key = self._config.serial or f"{self._config.host}:{self._config.port}".lower()
        self._line = lines.line(("dlt645", key), lambda: self._line)
        self._line.add(self._config.address, self._config.end, self._config.id)
        self._line.slow_down(self._config.gap_s, self._config.settle_s)

    async def __aenter__(self) -> Self:
        """Join the line; it is opened with the first question."""
        self._line.join()
        self._address = "" if self._config.address == WILDCARD else self._config.address
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Leave the line."""
        self._line.leave()

    async def read(self, due: Collection[str] | None = None) -> Sequence[Sample]:
        """One poll of the tags in ``due``, of all without it.

        Raises DeviceError when nothing at all was answered; what comes after a silence is BAD_COMMS.
        """
        if not self._address:
            self._address = await self._line.read_address(self._config.timeout_s)
        samples: list[Sample] = []
        answers: dict[int, tuple[bytes, int] | Refused] = {}
        lost: DeviceError | None = None
        for tag in self._config.tags:
            if due is not None and tag.id not in due:
                continue
            try:
                samples.append(await self._sample(tag, answers, lost))
            except DeviceError as error:
                if not answers:
                    raise
                lost = error
                samples.append(self._bad(tag, BAD_COMMS))
        return samples

    async def _sample(
        self,
        tag: Dlt645Tag,
        answers: dict[int, tuple[bytes, int] | Refused],
        lost: DeviceError | None,
    ) -> Sample:
        item = tag.item
        if lost is not None and (item is None or item.data_id not in answers):
            return self._bad(tag, BAD_COMMS)
        try:
            if item is None:
                value, time_ns = await self._clock_offset(answers)
            else:
                answer, time_ns = await self._answer(item.data_id, answers)
                value = _number(answer, tag, item)
        except Refused:
            return self._bad(tag, BAD_DEVICE)
        scaled = self._scalers[tag.id](value)
        return Sample(tag.id, time_ns, scaled, BAD_DEVICE if scaled is None else GOOD)

    async def _answer(
        self, data_id: int, answers: dict[int, tuple[bytes, int] | Refused]
    ) -> tuple[bytes, int]:
        """The answer of this poll, asked for once."""
        if data_id not in answers:
            try:
                timeout_s = self._config.timeout_s
                answers[data_id] = await self._line.read(self._address, data_id, timeout_s)
            except Refused as refusal:
                answers[data_id] = refusal
        answer = answers[data_id]
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def _clock_offset(
        self, answers: dict[int, tuple[bytes, int] | Refused]
    ) -> tuple[Value, int]:
        """Seconds the meter's clock is ahead; the date is read again right after midnight."""
        date, _ = await self._answer(CLOCK_DATE, answers)
        time, time_ns = await self._answer(CLOCK_TIME, answers)
        instant = _meter_time(date, time)
        if instant is not None and instant - instant.replace(hour=0, minute=0) < _MIDNIGHT:
            del answers[CLOCK_DATE]
            date, _ = await self._answer(CLOCK_DATE, answers)
            instant = _meter_time(date, time)
        if instant is None:
            return None, time_ns
        return instant.replace(tzinfo=self._zone).timestamp() - time_ns / NS_PER_S, time_ns

    def _bad(self, tag: Dlt645Tag, quality: Quality) -> Sample:
        return Sample(tag.id, self._clock.utc_ns(), None, quality)


def _number(answer: bytes, tag: Dlt645Tag, item: Item) -> int | None:
    """The integer of the digits; None when the answer is of another length."""
    end = tag.at + item.number_bytes
    is_whole = tag.quantity is not None
    if (len(answer) != item.size) if is_whole else (len(answer) < end):
        return None
    return bcd(answer[tag.at : end], is_signed=item.is_signed)


def _meter_time(date: bytes, time: bytes) -> datetime | None:
    """``WW DD MM YY`` and ``ss mm hh`` as local time; None where it is none."""
    if len(date) != 4 or len(time) != 3:
        return None
    parts = [bcd(bytes((byte,))) for byte in (date[3], date[2], date[1], time[2], time[1], time[0])]
    numbers = [part for part in parts if part is not None]
    if len(numbers) != len(parts):
        return None
    year, month, day, hour, minute, second = numbers
    try:
        return datetime(2000 + year, month, day, hour, minute, second)  # noqa: DTZ001 - local
    except ValueError:
        return None

"""From the registers of an answer to the value of a tag: pure, prepared once per tag."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from edge_agent.drivers.base import Scaler, Value
from edge_agent.drivers.decode import Kind, Order, Words, bit
from edge_agent.drivers.modbus.config import BIT_TABLES, ModbusTag

Reader = Callable[[Words, int], Value]
"""The value that begins at this register; None when the device sent no valid one."""


def bit_reader(tag: ModbusTag) -> Callable[[bytes, int], Value]:
    """How a coil or discrete input becomes the tag's value."""
    scaler = Scaler(tag)
    return lambda answer, offset: scaler(bit(answer, offset))


def reader(tag: ModbusTag, device_order: Order) -> Reader:
    """How registers become the tag's value."""
    order, scaler = tag.order or device_order, Scaler(tag)
    if tag.type == "string":
        return _text_reader(tag, order, scaler)
    kind: Kind = tag.type
    if tag.mask is not None:
        return _mask_reader(tag, tag.mask, order, scaler)
    if tag.count is not None:
        count = tag.count
        return lambda words, offset: _counts(words.number(offset, kind, order), count)
    if tag.absent:
        absent = frozenset(tag.absent)
        return lambda words, offset: scaler(_present(words.number(offset, kind, order), absent))
    return lambda words, offset: scaler(words.number(offset, kind, order))


def is_bit(tag: ModbusTag) -> bool:
    """True when the tag stands in a table of single bits."""
    return tag.table in BIT_TABLES


def _text_reader(tag: ModbusTag, order: Order, scaler: Scaler) -> Reader:
    texts, length = tag.texts or {}, tag.length or 1

    def read(words: Words, offset: int) -> Value:
        text = words.text(offset, length, order)
        return scaler(texts.get(text) if text is not None else None)

    return read


def _mask_reader(tag: ModbusTag, mask: int, order: Order, scaler: Scaler) -> Reader:
    is_flag = tag.type == "bool"
    kind: Kind = "uint16" if is_flag or tag.type == "string" else tag.type
    shift = (mask & -mask).bit_length() - 1

    def read(words: Words, offset: int) -> Value:
        number = words.number(offset, kind, order)
        field = number & mask if isinstance(number, int) else 0
        return scaler(int(field != 0) if is_flag else field >> shift)

    return read


def _counts(number: Value, count: Decimal) -> int | None:
    """A total in a float as whole counts, so that sums of it are exact."""
    return None if number is None else round(Fraction(number) / Fraction(count))


def _present(number: Value, absent: frozenset[int]) -> Value:
    return None if number in absent else number

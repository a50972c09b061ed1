"""All values of a block in one step, where each is a plain number.

A block whose tags are neighbouring plain numbers in one byte order is one ``struct`` layout. Anything
else (bits, masks, texts, decimals, counts in floats, absent values, several orders) and any answer
with a number that is not finite is left to the way that judges tag by tag.
"""

import math
import struct
from collections.abc import Mapping

from edge_agent.drivers.base import Scaler
from edge_agent.drivers.blocks import Block
from edge_agent.drivers.decode import Order
from edge_agent.drivers.modbus.config import BIT_TABLES, ModbusTag

_CODES = {
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
_LITTLE = ("CDAB", "DCBA")  # as in decode: words of these orders are little-endian numbers ...
_SWAPPED = ("BADC", "CDAB")  # ... and those of these come with the bytes of each word swapped


class BlockReader:
    """Reads one block's values from the bytes of its answer."""

    def __init__(
        self,
        tags: tuple[str, ...],
        layout: struct.Struct,
        scalers: tuple[Scaler, ...],
        *,
        swap: bool,
    ) -> None:
        """Take what ``prepare`` found out about a block."""
        self.tags = tags
        self._layout = layout
        self._swap = swap
        self._scalers = None if all(scaler.is_identity for scaler in scalers) else scalers

    def read(self, raw: bytes) -> tuple[int | float, ...] | None:
        """The values in the order of ``tags``; None when one of them is not finite."""
        if len(raw) < self._layout.size:
            return None
        if self._swap:
            swapped = bytearray(raw)
            swapped[::2], swapped[1::2] = raw[1::2], raw[::2]
            raw = bytes(swapped)
        values = self._layout.unpack_from(raw)
        if self._scalers is not None:
            scaled = [scale(value) for scale, value in zip(self._scalers, values, strict=True)]
            values = tuple(value for value in scaled if value is not None)
        if len(values) != len(self.tags) or not math.isfinite(sum(values)):
            return None
        return values


def prepare(block: Block, tags: Mapping[str, ModbusTag], device_order: Order) -> BlockReader | None:
    """A reader of this block, None when its tags must be read one by one."""
    if block.table in BIT_TABLES:
        return None
    layout, at = "", block.address
    orders: set[tuple[bool, bool]] = set()
    items = sorted(block.items, key=lambda item: item.address)
    for item in items:
        tag = tags.get(item.key)
        if tag is None or item.address < at or not _is_plain(tag):
            return None
        order = tag.order or device_order
        orders.add((order in _LITTLE, order in _SWAPPED))
        layout += "xx" * (item.address - at) + _CODES[tag.type]
        at = item.address + item.width
    if len(orders) != 1:
        return None
    ((little, swap),) = orders
    return BlockReader(
        tuple(item.key for item in items),
        struct.Struct(("<" if little else ">") + layout),
        tuple(Scaler(tags[item.key]) for item in items),
        swap=swap,
    )


def _is_plain(tag: ModbusTag) -> bool:
    return tag.type in _CODES and tag.mask is None and tag.count is None and not tag.absent

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
from edge_agent.drivers.decode import CODES, ENDIAN, SWAPPED_BYTES, Order
from edge_agent.drivers.modbus.config import BIT_TABLES, ModbusTag

_JUDGED = ("bool", "bcd16", "bcd32")  # not every pattern of these is a value


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
    orders: set[tuple[str, bool]] = set()
    items = sorted(block.items, key=lambda item: item.address)
    for item in items:
        tag = tags.get(item.key)
        if tag is None or tag.type == "string" or item.address < at or not _is_plain(tag):
            return None
        order = tag.order or device_order
        orders.add((ENDIAN[order], SWAPPED_BYTES[order]))
        layout += "xx" * (item.address - at) + CODES[tag.type]
        at = item.address + item.width
    if len(orders) != 1:
        return None
    ((endian, swap),) = orders
    return BlockReader(
        tuple(item.key for item in items),
        struct.Struct(endian + layout),
        tuple(Scaler(tags[item.key]) for item in items),
        swap=swap,
    )


def _is_plain(tag: ModbusTag) -> bool:
    return tag.type not in _JUDGED and tag.mask is None and tag.count is None and not tag.absent

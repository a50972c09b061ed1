"""Registers to numbers: pure, all types, all four byte orders.

The order says where the bytes A (highest) to D of a 32-bit number are sent: ``ABCD`` is Modbus's
own, ``CDAB`` has its 16-bit words swapped, ``BADC`` the bytes in each word, ``DCBA`` both. 64-bit
numbers follow the same two rules over four words; a 16-bit number has only the bytes to swap.
"""

import math
import struct
from collections.abc import Sequence
from typing import Literal

from edge_agent.errors import BadAnswer

Kind = Literal[
    "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"
]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]

_CODES: dict[Kind, str] = {
    "bool": "H",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
}
# Each order is a big- or little-endian number over words that are written big- or little-endian.
_SWAPPED_BYTES: dict[Order, bool] = {"ABCD": False, "DCBA": False, "BADC": True, "CDAB": True}
_ENDIAN: dict[Order, str] = {"ABCD": ">", "DCBA": "<", "BADC": ">", "CDAB": "<"}
_STRUCTS = {
    (kind, order): struct.Struct(_ENDIAN[order] + code)
    for kind, code in _CODES.items()
    for order in _ENDIAN
}
_WIDTHS: dict[Kind, int] = {kind: struct.calcsize(">" + code) // 2 for kind, code in _CODES.items()}


def width(kind: Kind) -> int:
    """Number of registers a value of this type takes."""
    return _WIDTHS[kind]


class Words:
    """The registers of one answer, ready to be decoded."""

    __slots__ = ("_plain", "_swapped")

    def __init__(self, registers: Sequence[int]) -> None:
        """Take the registers; raises BadAnswer when one is not a 16-bit number."""
        count = len(registers)
        try:
            self._plain = struct.pack(f">{count}H", *registers)
            self._swapped = struct.pack(f"<{count}H", *registers)
        except struct.error as error:
            raise BadAnswer(f"not 16-bit registers: {error}") from error

    def number(self, offset: int, kind: Kind, order: Order) -> int | float | None:
        """The value that begins at register ``offset``.

        A float that is NaN or infinite is None; a bool is 0 or 1. Raises BadAnswer when the
        registers do not reach that far.
        """
        words = self._swapped if _SWAPPED_BYTES[order] else self._plain
        layout = _STRUCTS[kind, order]
        if offset < 0 or 2 * offset + layout.size > len(words):
            raise BadAnswer(f"{kind} at register {offset} lies outside {len(words) // 2} registers")
        value: int | float = layout.unpack_from(words, 2 * offset)[0]
        if kind == "bool":
            return int(value != 0)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value


def decode(registers: Sequence[int], kind: Kind, order: Order = "ABCD") -> int | float | None:
    """The one value that these registers hold.

    Raises BadAnswer when their number is not the type's width or one is not a 16-bit number.
    """
    if len(registers) != width(kind):
        raise BadAnswer(f"{kind} takes {width(kind)} registers, not {len(registers)}")
    return Words(registers).number(0, kind, order)

"""Registers to values: pure, all types, all four byte orders.

The order says where the bytes A (highest) to D of a 32-bit number are sent: ``ABCD`` is Modbus's
own, ``CDAB`` has its 16-bit words swapped, ``BADC`` the bytes in each word, ``DCBA`` both. 64-bit
numbers follow the same two rules over four words; a 16-bit number and a text have only the bytes
of each word to swap. Binary-coded decimals hold one digit in four bits.
"""

import math
import struct
from collections.abc import Sequence
from typing import Literal

from edge_agent.errors import BadAnswer

Kind = Literal[
    "bool",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "bcd16",
    "bcd32",
]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]

CODES: dict[Kind, str] = {
    "bool": "H",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
    "bcd16": "H",
    "bcd32": "I",
}
# Each order is a big- or little-endian number over words that are written big- or little-endian.
SWAPPED_BYTES: dict[Order, bool] = {"ABCD": False, "DCBA": False, "BADC": True, "CDAB": True}
ENDIAN: dict[Order, str] = {"ABCD": ">", "DCBA": "<", "BADC": ">", "CDAB": "<"}
_TEXT_SWAPPED: dict[Order, bool] = {"ABCD": False, "CDAB": False, "BADC": True, "DCBA": True}
_STRUCTS = {
    (kind, order): struct.Struct(ENDIAN[order] + code)
    for kind, code in CODES.items()
    for order in ENDIAN
}
_WIDTHS: dict[Kind, int] = {kind: struct.calcsize(">" + code) // 2 for kind, code in CODES.items()}


def width(kind: Kind) -> int:
    """Number of registers a value of this type takes."""
    return _WIDTHS[kind]


class Words:
    """The registers of one answer, ready to be decoded."""

    __slots__ = ("_plain", "_swapped")

    def __init__(self, registers: Sequence[int] | bytes) -> None:
        """Take the registers as numbers, or as their bytes on the wire.

        Raises BadAnswer when one is not a 16-bit number.
        """
        if isinstance(registers, bytes):
            if len(registers) % 2:
                raise BadAnswer(f"{len(registers)} bytes are no whole registers")
            self._plain = registers
        else:
            try:
                self._plain = struct.pack(f">{len(registers)}H", *registers)
            except struct.error as error:
                raise BadAnswer(f"not 16-bit registers: {error}") from error
        self._swapped = b""

    def number(self, offset: int, kind: Kind, order: Order) -> int | float | None:
        """The value that begins at register ``offset``.

        A float that is NaN or infinite, and a decimal with a digit above 9, is None; a bool is
        0 or 1. Raises BadAnswer when the registers do not reach that far.
        """
        layout = _STRUCTS[kind, order]
        if offset < 0 or 2 * offset + layout.size > len(self._plain):
            raise BadAnswer(
                f"{kind} at register {offset} lies outside {len(self._plain) // 2} registers"
            )
        words = self._byte_swapped() if SWAPPED_BYTES[order] else self._plain
        value: int | float = layout.unpack_from(words, 2 * offset)[0]
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if kind == "bool":
            return int(value != 0)
        return _decimal(value) if kind.startswith("bcd") else value

    def text(self, offset: int, count: int, order: Order) -> str | None:
        """The text in ``count`` registers from ``offset`` on, up to its first NUL, trimmed.

        None when it is not ASCII. Raises BadAnswer when the registers do not reach that far.
        """
        if offset < 0 or count < 0 or 2 * (offset + count) > len(self._plain):
            raise BadAnswer(
                f"{count} registers of text at {offset} lie outside {len(self._plain) // 2}"
            )
        words = self._byte_swapped() if _TEXT_SWAPPED[order] else self._plain
        raw = words[2 * offset : 2 * (offset + count)].split(b"\0", 1)[0].strip(b" \xff")
        return raw.decode("ascii") if raw.isascii() else None

    def _byte_swapped(self) -> bytes:
        if len(self._swapped) != len(self._plain):
            swapped = bytearray(self._plain)
            swapped[::2], swapped[1::2] = self._plain[1::2], self._plain[::2]
            self._swapped = bytes(swapped)
        return self._swapped


def decode(registers: Sequence[int], kind: Kind, order: Order = "ABCD") -> int | float | None:
    """The one value that these registers hold.

    Raises BadAnswer when their number is not the type's width or one is not a 16-bit number.
    """
    if len(registers) != width(kind):
        raise BadAnswer(f"{kind} takes {width(kind)} registers, not {len(registers)}")
    return Words(registers).number(0, kind, order)


def bit(answer: bytes, offset: int) -> int:
    """Coil or discrete input ``offset`` of an answer: 0 or 1 (lowest bit of a byte first).

    Raises BadAnswer when the answer does not reach that far.
    """
    if not 0 <= offset < 8 * len(answer):
        raise BadAnswer(f"bit {offset} lies outside {len(answer)} bytes")
    return answer[offset // 8] >> offset % 8 & 1


def _decimal(value: int) -> int | None:
    digits = f"{value:x}"
    return int(digits) if digits.isdecimal() else None

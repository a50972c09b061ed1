"""DL/T 645-2007 frames and numbers: bytes in, values out, no I/O.

A frame is ``68 A0..A5 68 C L DATA CS 16``: the address is twelve decimal digits, lowest byte first;
every data byte travels with 0x33 added; CS is the sum of all bytes before it, modulo 256. Up to four
bytes FE may precede it to wake the meter. Source: DL/T 645-2007, clause 5 (frame) and 7 (control
codes), compared with published exchanges (tests/cases/dlt645).

1. A length byte is believed only inside a frame whose checksum and end byte are right.
2. What is not a frame is skipped byte by byte: noise costs itself, never the frame behind it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.errors import BadAnswer

WILDCARD = "AAAAAAAAAAAA"
READ, READ_MORE, READ_ADDRESS = 0x11, 0x12, 0x13
ANSWER, FAILED, MORE = 0x80, 0x40, 0x20  # bits of an answer's control code
WAKE = b"\xfe\xfe\xfe\xfe"
MAX_DATA = 200  # clause 5.2.5: L is at most 200 when reading
_START, _END = 0x68, 0x16
_SHIFT = 0x33
_HEAD = 10  # start, address, start, control, length
_MAX_BUFFER = 2 * (_HEAD + MAX_DATA + 2)
_ADDRESS = re.compile(r"\d{12}|A{12}", re.ASCII)
_ERRORS = (
    "another error",
    "no such data",
    "wrong password or no right to",
    "the baud rate cannot be changed",
    "too many yearly time zones",
    "too many daily periods",
    "too many tariffs",
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``data`` is without the 0x33."""

    address: str
    control: int
    data: bytes = b""


def encode(frame: Frame) -> bytes:
    """The bytes on the line, without FE in front. Raises ValueError for an impossible frame."""
    if not _ADDRESS.fullmatch(frame.address) or len(frame.data) > MAX_DATA:
        raise ValueError(f"no frame has address {frame.address!r} and {len(frame.data)} data bytes")
    head = bytes.fromhex(frame.address)[::-1]
    shifted = bytes((byte + _SHIFT) & 0xFF for byte in frame.data)
    body = bytes((_START, *head, _START, frame.control, len(shifted))) + shifted
    return body + bytes((sum(body) & 0xFF, _END))


class Deframer:
    """Finds the frames in what a line delivers, piece by piece, in bounded memory."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """The frames that are complete now."""
        for start in range(0, len(piece), MAX_DATA):
            self._buffer += piece[start : start + MAX_DATA]
            while (frame := self._next()) is not None:
                yield frame
            del self._buffer[: max(0, len(self._buffer) - _MAX_BUFFER)]

    def _next(self) -> Frame | None:
        buffer = self._buffer
        start = buffer.find(_START)
        while start >= 0:
            size = _size(buffer, start)
            if size > len(buffer) - start:  # perhaps a frame, not all of it here
                break
            if size and (frame := _parse(bytes(buffer[start : start + size]))) is not None:
                del buffer[: start + size]
                return frame
            start = buffer.find(_START, start + 1)
        del buffer[: start if start >= 0 else len(buffer)]
        return None


def _size(buffer: bytearray, start: int) -> int:
    """Bytes of the frame that may begin here, 0 when none can; may reach beyond the buffer."""
    rest = len(buffer) - start
    if rest > 7 and buffer[start + 7] != _START:
        return 0
    if rest < _HEAD:
        return _HEAD
    length = buffer[start + 9]
    return _HEAD + length + 2 if length <= MAX_DATA else 0


def _parse(raw: bytes) -> Frame | None:
    if raw[-1] != _END or sum(raw[:-2]) & 0xFF != raw[-2]:
        return None
    address = raw[6:0:-1].hex().upper()
    if not _ADDRESS.fullmatch(address):
        return None
    data = bytes((byte - _SHIFT) & 0xFF for byte in raw[_HEAD:-2])
    return Frame(address, raw[8], data)


def data_id_bytes(data_id: int) -> bytes:
    """DI0 to DI3 as they travel, lowest first."""
    return data_id.to_bytes(4, "little")


def bcd(raw: bytes, *, is_signed: bool = False) -> int | None:
    """The integer of packed decimal digits, lowest byte first; the sign is the highest bit.

    None where a digit is none: meters send FF for what they do not have.
    """
    digits = raw[::-1].hex()
    is_negative = is_signed and bool(raw) and raw[-1] >= 0x80
    if is_negative:
        digits = f"{raw[-1] & 0x7F:02x}" + digits[2:]
    if not digits.isdecimal():
        return None
    return -int(digits) if is_negative else int(digits)


def error_text(word: bytes) -> str:
    """What the error word of a refusal says (clause 7.2, one bit a cause)."""
    if len(word) != 1:
        raise BadAnswer(f"an error word of {len(word)} bytes")
    causes = [text for bit, text in enumerate(_ERRORS) if word[0] >> bit & 1]
    return f"{', '.join(causes) or 'an error without a cause'} (error word {word[0]:02X})"

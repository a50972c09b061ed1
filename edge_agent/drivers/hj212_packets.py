"""HJ 212-2017 packets: bytes in, packets and values out, no I/O.

A packet is ``##``, four decimal digits of length, the data segment, four hexadecimal digits of CRC,
CR LF. The segment is ``QN=…;ST=…;CN=…;PW=…;MN=…;Flag=…;PNUM=…;PNO=…;CP=&&…&&``. Source: HJ 212-2017,
6.3 (packet), table 3 (segment, Flag), table 8 (data flags), annex A (CRC), annex C (examples). The
standard's print was not at hand; packets printed from it and from loggers are in tests/cases/hj212.

1. At most 9,999 bytes of segment are ever kept, whatever a length says; the standard's own limit is 1,024.
2. A packet whose length, CRC or text is wrong is told as ``Damaged`` and costs nothing behind it.
3. Of HJ 212-2025 only version 2 in ``Flag`` and ``RF=1`` (sent again) are known, from a public
   implementation; encrypted data regions are recognised and refused. The rest was not read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from edge_agent.clock import NS_PER_S
from edge_agent.errors import BadAnswer

ANSWER_WANTED, IS_PART = 0x01, 0x02  # bits of Flag; the rest is the standard's version
REALTIME, MINUTE, HOUR, DAY = "2011", "2051", "2061", "2031"
DATA_ANSWER, NOTICE_ANSWER = "9014", "9013"
REQUEST_ANSWER, EXECUTED = "9011", "9012"
SYSTEM: Final = "91"  # ST of packets between the two systems themselves
_HEAD = 6
_CRC = 4
_MAX_SEGMENT = 9_999
_MAX_PARTS = 9_999
_SEGMENT = re.compile(r"(?P<head>[^&]*)CP=&&(?P<data>.*)&&", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_TIME = re.compile(r"\d{14}", re.ASCII)
_KEYS = ("QN", "ST", "CN", "PW", "MN", "Flag", "PNUM", "PNO", "RF")


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet's segment; ``data`` is what stands between ``CP=&&`` and ``&&``.

    ``pnum`` and ``pno`` are 0 where the packet is no part of several; ``is_resent`` is RF=1.
    """

    qn: str
    st: str
    cn: str
    pw: str
    mn: str
    flag: int = 0
    pnum: int = 0
    pno: int = 0
    is_resent: bool = False
    data: str = ""

    @property
    def wants_answer(self) -> bool:
        """The sender waits for an answer."""
        return bool(self.flag & ANSWER_WANTED)


@dataclass(frozen=True, slots=True)
class Damaged:
    """What looked like a packet and is none, and why."""

    why: str


def _eight_steps(low: int) -> int:
    """What eight steps of the checksum's shift register make of its low byte."""
    for _ in range(8):
        low = (low >> 1) ^ (0xA001 if low & 1 else 0)
    return low


_EIGHT_STEPS = [_eight_steps(low) for low in range(256)]


def crc16(raw: bytes) -> int:
    """The standard's checksum (annex A): each byte is combined with the register's high byte.

    It is not the Modbus CRC, in spite of the same 0xFFFF and 0xA001.
    """
    register = 0xFFFF
    for byte in raw:
        register = (register >> 8) ^ byte
        register = (register >> 8) ^ _EIGHT_STEPS[register & 0xFF]
    return register


def encode(packet: Packet) -> bytes:
    """The bytes of a packet. Raises ValueError when it is too long."""
    parts = f"PNUM={packet.pnum};PNO={packet.pno};" if packet.flag & IS_PART else ""
    segment = (
        f"QN={packet.qn};ST={packet.st};CN={packet.cn};PW={packet.pw};MN={packet.mn};"
        f"Flag={packet.flag};{parts}CP=&&{packet.data}&&"
    ).encode("ascii")
    if len(segment) > _MAX_SEGMENT:
        raise ValueError(f"a segment of {len(segment)} bytes is longer than {_MAX_SEGMENT}")
    return b"##%04d%b%04X\r\n" % (len(segment), segment, crc16(segment))


class Splitter:
    """Finds the packets in what a connection delivers, piece by piece, in bounded memory."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[Packet | Damaged]:
        """The packets that are complete now."""
        for start in range(0, len(piece), _MAX_SEGMENT):
            self._buffer += piece[start : start + _MAX_SEGMENT]
            while (found := self._next()) is not None:
                yield found

    def _next(self) -> Packet | Damaged | None:
        buffer = self._buffer
        start = buffer.find(b"##")
        if start < 0:
            del buffer[: -1 if buffer.endswith(b"#") else len(buffer)]
            return None
        del buffer[:start]
        length = bytes(buffer[2:_HEAD])
        if len(length) == _HEAD - 2 and not length.isdigit():
            return self._skip(f"{length!r} is no length")
        if len(length) < _HEAD - 2 or len(buffer) < _HEAD + int(length) + _CRC:
            return None
        return self._packet(_HEAD + int(length))

    def _packet(self, end: int) -> Packet | Damaged:
        """What the buffer begins with; its segment ends here."""
        segment, told = bytes(self._buffer[_HEAD:end]), bytes(self._buffer[end : end + _CRC])
        if told.upper() != b"%04X" % crc16(segment):
            return self._skip(f"the CRC is {crc16(segment):04X}, not {told!r}")
        del self._buffer[: end + _CRC]
        try:
            return parse(segment)
        except BadAnswer as error:
            return Damaged(str(error))

    def _skip(self, why: str) -> Damaged:
        """Go on behind these two signs: the next packet may begin inside what was damaged."""
        del self._buffer[:2]
        return Damaged(why)


def parse(segment: bytes) -> Packet:
    """The packet of a segment. Raises BadAnswer for what is not one."""
    try:
        text = segment.decode("ascii")
    except UnicodeDecodeError:
        raise BadAnswer("the segment is no ASCII text") from None
    match = _SEGMENT.fullmatch(text)
    if match is None:
        raise BadAnswer("the segment has no CP=&&…&&")
    head: dict[str, str] = {}
    for item in filter(None, match["head"].split(";")):
        key, equals, value = item.partition("=")
        if not equals or key in head:
            raise BadAnswer(f"{item[:40]!r} is no single KEY=value")
        head[key] = value
    missing = [key for key in ("CN", "MN") if not head.get(key)]
    if missing:
        raise BadAnswer(f"{' and '.join(missing)} is missing")
    if match["data"].startswith("{0x"):
        raise BadAnswer("the data region is encrypted (HJ 212-2025), which is not supported")
    flag = _count(head, "Flag", 255)
    is_part = bool(flag & IS_PART) or {"PNUM", "PNO"} <= head.keys()  # loggers of 2005 omit Flag
    pnum, pno = (_count(head, key, _MAX_PARTS) if is_part else 0 for key in ("PNUM", "PNO"))
    if is_part and not 1 <= pno <= pnum:
        raise BadAnswer(f"there is no part {pno} of {pnum}")
    qn, st, cn, pw, mn = (head.get(key, "") for key in _KEYS[:5])
    return Packet(qn, st, cn, pw, mn, flag, pnum, pno, head.get("RF") == "1", match["data"])


def _count(head: dict[str, str], key: str, limit: int) -> int:
    text = head.get(key, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > limit:
        raise BadAnswer(f"{key}={text[:20]!r} is no number up to {limit}")
    return int(text)


def values(data: str) -> dict[tuple[str, str], str]:
    """The texts of a data region by factor and field, ``DataTime`` under an empty factor.

    ``a21026-Rtd=1.0,a21026-Flag=N;…`` gives ``("a21026", "Rtd"): "1.0"``. What stands twice with
    different texts (loggers do that) is an empty text: nobody knows which one is meant. Raises
    BadAnswer when an item has no ``=``.
    """
    found: dict[tuple[str, str], str] = {}
    for item in filter(None, re.split("[;,]", data)):
        name, equals, value = item.partition("=")
        factor, _, field = name.rpartition("-")
        if not equals:
            raise BadAnswer(f"{item[:40]!r} is no name=value")
        found[factor, field] = value if found.get((factor, field), value) == value else ""
    return found


def number(text: str) -> float | None:
    """A decimal number; None for anything else."""
    return float(text) if _NUMBER.fullmatch(text) else None


def time_ns(text: str, zone: ZoneInfo) -> int | None:
    """``YYYYMMDDhhmmss`` of the plant as UTC [ns]; None where it is no time."""
    if not _TIME.fullmatch(text):
        return None
    parts = (text[:4], *(text[place : place + 2] for place in range(4, 14, 2)))
    year, month, day, hour, minute, second = map(int, parts)
    try:
        local = datetime(year, month, day, hour, minute, second, tzinfo=zone)
        return int(local.timestamp()) * NS_PER_S
    except (ValueError, OverflowError):
        return None


def answer(packet: Packet) -> Packet:
    """The acknowledgement of a packet (annex C): data by 9014, anything else by 9013."""
    is_data = packet.cn.startswith(("20", "30"))
    return Packet(
        packet.qn,
        SYSTEM,
        DATA_ANSWER if is_data else NOTICE_ANSWER,
        packet.pw,
        packet.mn,
        packet.flag & ~ANSWER_WANTED,
        packet.pnum,
        packet.pno,
    )

"""A CEMS data logger (数采仪) that reports by HJ 212-2017 and sends again what nobody acknowledged."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACK = re.compile(r"QN=(\d+);ST=91;CN=9014;")


def checksum(text: bytes) -> str:
    """Annex A's CRC as four hexadecimal digits."""
    crc = 0xFFFF
    for byte in text:
        crc = byte ^ (crc >> 8)
        for _ in range(8):
            low = crc % 2
            crc //= 2
            if low:
                crc ^= 0xA001
    return f"{crc:04X}"


def frame(segment: str) -> bytes:
    """A segment with header, length, checksum and end."""
    body = segment.encode("ascii")
    return b"##" + f"{len(body):04d}".encode() + body + checksum(body).encode() + b"\r\n"


class DataLogger:
    """One logger with its MN and password.

    Attributes:
        waiting: the packets nobody has acknowledged yet, by QN.
        heard: everything the other side said.
    """

    def __init__(self, mn: str, password: str, *, flag: int = 5, system: int = 31) -> None:
        self.mn, self.password, self.flag, self.system = mn, password, flag, system
        self.waiting: dict[str, bytes] = {}
        self.heard = b""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, port: int, host: str = "127.0.0.1") -> Self:
        """Open a connection, in place of an older one."""
        self.close()
        self._reader, self._writer = await asyncio.open_connection(host, port)
        return self

    def close(self) -> None:
        """Break the connection."""
        if self._writer is not None:
            self._writer.transport.abort()

    def report(
        self,
        command: int,
        time: str,
        factors: Mapping[str, Mapping[str, object]],
        *,
        qn: str,
        parts: int = 1,
    ) -> None:
        """Send values, ``{"a21026": {"Rtd": 1.5, "Flag": "N"}}``, in one or several packets."""
        groups = [
            ",".join(f"{factor}-{field}={value}" for field, value in fields.items())
            for factor, fields in factors.items()
        ]
        for part in range(parts):
            mine = groups[part::parts]
            flag, numbers = self.flag, ""
            if parts > 1:
                flag, numbers = flag | 2, f"PNUM={parts};PNO={part + 1};"
            data = ";".join([*([f"DataTime={time}"] if part == 0 else []), *mine])
            self.send(
                f"QN={qn};ST={self.system};CN={command};PW={self.password};MN={self.mn};"
                f"Flag={flag};{numbers}CP=&&{data}&&",
                qn,
            )

    def send(self, segment: str, qn: str = "") -> None:
        """Send any segment; with a QN it waits for its acknowledgement."""
        raw = frame(segment)
        if qn and self.flag % 2:
            self.waiting[qn] = raw
        self.send_raw(raw)

    def send_again(self) -> None:
        """Repeat what was not acknowledged, as a logger does after its time-out."""
        for raw in self.waiting.values():
            self.send_raw(raw)

    def send_raw(self, raw: bytes) -> None:
        """Send any bytes."""
        if self._writer is not None:
            self._writer.write(raw)

    async def listen(self) -> bool:
        """Take what comes next; False when the other side closed."""
        assert self._reader is not None  # noqa: S101 - connect comes first
        try:
            piece = await self._reader.read(4096)
        except ConnectionError:
            return False
        self.heard += piece
        for qn in _ACK.findall(self.heard.decode("ascii", "replace")):
            self.waiting.pop(qn, None)
        return bool(piece)

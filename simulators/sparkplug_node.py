"""A Sparkplug B edge node with a minimal protobuf writer of its own.

It makes topics and payloads; whoever holds an MQTT connection publishes them:

    node = SparkplugNode("plant", "kiln", publish)
    node.birth({"flow": ("double", 1.5)})
    node.report({"flow": 2.5})
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DATATYPES = {"int8": 1, "int16": 2, "int32": 3, "int64": 4, "uint8": 5, "uint16": 6, "uint32": 7}
DATATYPES |= {"uint64": 8, "float": 9, "double": 10, "boolean": 11, "string": 12}


def varint(number: int) -> bytes:
    """Base-128 groups, lowest first."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def field(number: int, value: int | bytes) -> bytes:
    """A varint field, or a length-delimited one for bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def number_field(kind: str, value: Any) -> bytes:
    """The value field of a metric."""
    if kind == "double":
        return varint(13 << 3 | 1) + struct.pack("<d", value)
    if kind == "float":
        return varint(12 << 3 | 5) + struct.pack("<f", value)
    if kind == "boolean":
        return field(14, int(value))
    if kind == "string":
        return field(15, value.encode())
    if kind in ("int64", "uint64"):
        return field(11, value % 2**64)
    return field(10, value % 2**32)


def metric(  # noqa: PLR0913 - a metric has many fields
    *,
    name: str = "",
    alias: int | None = None,
    kind: str = "",
    value: Any = None,
    time_ms: int | None = None,
    historical: bool = False,
    quality: int | None = None,
    with_type: bool = True,
) -> bytes:
    """One metric; a value of None is null."""
    raw = field(1, name.encode()) if name else b""
    if alias is not None:
        raw += field(2, alias)
    if time_ms is not None:
        raw += field(3, time_ms)
    if with_type:
        raw += field(4, DATATYPES[kind])
    if historical:
        raw += field(5, 1)
    if quality is not None:
        one = field(1, 3) + field(3, quality)
        raw += field(9, field(1, b"Quality") + field(2, one))
    return raw + (field(7, 1) if value is None else number_field(kind, value))


def payload(metrics: list[bytes], *, seq: int | None, time_ms: int | None = None) -> bytes:
    """A whole payload."""
    raw = b"" if time_ms is None else field(1, time_ms)
    raw += b"".join(field(2, one) for one in metrics)
    return raw if seq is None else raw + field(3, seq)


class SparkplugNode:
    """One edge node: keeps seq, bdSeq and aliases.

    Attributes:
        time_ms: stamp of what is sent [ms UTC]; None sends none.
    """

    def __init__(self, group: str, node: str, publish: Callable[[str, bytes], object]) -> None:
        self.group, self.node, self.publish = group, node, publish
        self.seq = 0
        self.bd_seq = -1
        self.time_ms: int | None = None
        self._known: dict[tuple[str, str], tuple[int, str]] = {}

    def birth(self, metrics: Mapping[str, tuple[str, Any]], device: str = "") -> None:
        """NBIRTH, or DBIRTH of a device; values by name with their datatype."""
        rows: list[bytes] = []
        if not device:
            self.seq, self.bd_seq = 0, self.bd_seq + 1
            rows.append(metric(name="bdSeq", kind="int64", value=self.bd_seq))
            self._known = {}
        for name, (kind, value) in metrics.items():
            alias = self._known.get((device, name), (len(self._known) + 1, ""))[0]
            self._known[device, name] = (alias, kind)
            rows.append(
                metric(name=name, alias=alias, kind=kind, value=value, time_ms=self.time_ms)
            )
        self._send("DBIRTH" if device else "NBIRTH", device, rows)

    def report(self, values: Mapping[str, Any], device: str = "", **more: Any) -> None:
        """NDATA or DDATA by alias, as the specification recommends."""
        rows = []
        for name, value in values.items():
            alias, kind = self._known[device, name]
            stamp = {"time_ms": self.time_ms, **more}
            rows.append(metric(alias=alias, kind=kind, value=value, with_type=False, **stamp))
        self._send("DDATA" if device else "NDATA", device, rows)

    def death(self, device: str = "", *, bd_seq: int | None = None) -> None:
        """DDEATH of a device, or the NDEATH that is the node's last will."""
        if device:
            self._send("DDEATH", device, [])
            return
        number = self.bd_seq if bd_seq is None else bd_seq
        raw = payload([metric(name="bdSeq", kind="int64", value=number)], seq=None)
        self.publish(f"spBv1.0/{self.group}/NDEATH/{self.node}", raw)

    def skip(self) -> None:
        """Use up a number of the sequence, as if a message had been lost."""
        self.seq = (self.seq + 1) % 256

    def _send(self, kind: str, device: str, rows: list[bytes]) -> None:
        topic = f"spBv1.0/{self.group}/{kind}/{self.node}" + (f"/{device}" if device else "")
        self.publish(topic, payload(rows, seq=self.seq, time_ms=self.time_ms))
        self.seq = (self.seq + 1) % 256

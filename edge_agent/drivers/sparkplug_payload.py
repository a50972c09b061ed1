"""Sparkplug B payloads: protobuf bytes in, metrics out, no I/O.

The message types are built here from the field numbers of the Sparkplug 3.0 specification (Eclipse
Tahu's sparkplug_b.proto) and decoded by Google's protobuf runtime. Left out on purpose, and skipped
as unknown fields: templates, data sets, nested property sets; nothing here can recurse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from edge_agent.errors import BadAnswer

MAX_PAYLOAD = 262_144
REBIRTH = "Node Control/Rebirth"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}  # datatype Int8 to Int64: bits
_UNSIGNED = {5: 8, 6: 16, 7: 32, 8: 64, 13: 64}  # UInt8 to UInt64, DateTime
_FLOAT, _DOUBLE, _BOOLEAN = 9, 10, 11
_VALUES = ("int_value", "long_value", "float_value", "double_value", "boolean_value")
_Rows = Sequence[tuple[str, int, int, str]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``alias``, ``datatype`` and ``time_ms`` are None where the payload has none.

    ``raw`` is the number as the protocol carries it, None for null and for anything but numbers.
    ``quality`` is the Quality property's number (192 is good).
    """

    name: str
    alias: int | None
    datatype: int | None
    time_ms: int | None
    is_historical: bool
    is_null: bool
    raw: int | float | None
    quality: int | None


@dataclass(frozen=True, slots=True)
class Payload:
    """One message's payload."""

    time_ms: int | None
    seq: int | None
    metrics: tuple[Metric, ...]


def _message(name: str, rows: _Rows, *, oneof: str = "") -> descriptor_pb2.DescriptorProto:
    """A message type; rows are name, number, type and label or message type."""
    message = descriptor_pb2.DescriptorProto(name=name)
    if oneof:
        message.oneof_decl.add(name=oneof)
    for field, number, kind, more in rows:
        added = message.field.add(name=field, number=number, label=_FIELD.LABEL_OPTIONAL)
        added.type = kind  # type: ignore[assignment]  # a number of the enum
        if more.startswith("repeated"):
            added.label = _FIELD.LABEL_REPEATED
        if kind == _FIELD.TYPE_MESSAGE:
            added.type_name = ".carbon.sparkplug." + more.split()[-1]
        if oneof and field in (*_VALUES, "string_value", "bytes_value"):
            added.oneof_index = 0
    return message


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="carbon_sparkplug.proto", package="carbon.sparkplug", syntax="proto2"
    )
    u64, u32, text = _FIELD.TYPE_UINT64, _FIELD.TYPE_UINT32, _FIELD.TYPE_STRING
    flag, raw, message = _FIELD.TYPE_BOOL, _FIELD.TYPE_BYTES, _FIELD.TYPE_MESSAGE
    single, double = _FIELD.TYPE_FLOAT, _FIELD.TYPE_DOUBLE

    def numbers(first: int) -> list[tuple[str, int, int, str]]:
        kinds = (u32, u64, single, double, flag, text)
        names = (*_VALUES, "string_value")
        return [(names[at], first + at, kinds[at], "") for at in range(6)]

    property_value = [("type", 1, u32, ""), ("is_null", 2, flag, ""), *numbers(3)]
    metric = [
        ("name", 1, text, ""),
        ("alias", 2, u64, ""),
        ("timestamp", 3, u64, ""),
        ("datatype", 4, u32, ""),
        ("is_historical", 5, flag, ""),
        ("is_transient", 6, flag, ""),
        ("is_null", 7, flag, ""),
        ("properties", 9, message, "PropertySet"),
        *numbers(10),
        ("bytes_value", 16, raw, ""),
    ]
    payload = [
        ("timestamp", 1, u64, ""),
        ("metrics", 2, message, "repeated Metric"),
        ("seq", 3, u64, ""),
        ("uuid", 4, text, ""),
        ("body", 5, raw, ""),
    ]
    properties = [
        ("keys", 1, text, "repeated"),
        ("values", 2, message, "repeated PropertyValue"),
    ]
    file.message_type.append(_message("PropertyValue", property_value, oneof="value"))
    file.message_type.append(_message("PropertySet", properties))
    file.message_type.append(_message("Metric", metric, oneof="value"))
    file.message_type.append(_message("Payload", payload))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("carbon.sparkplug.Payload"))


_PAYLOAD = _payload_class()


def decode(raw: bytes) -> Payload:
    """The payload of a message. Raises BadAnswer for what is none or too large."""
    if len(raw) > MAX_PAYLOAD:
        raise BadAnswer(f"a payload of {len(raw)} bytes is larger than {MAX_PAYLOAD}")
    message = _PAYLOAD()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise BadAnswer(f"no Sparkplug payload: {error}") from error
    return Payload(
        _optional(message, "timestamp"),
        _optional(message, "seq"),
        tuple(_metric(metric) for metric in message.metrics),
    )


def rebirth_request(time_ms: int) -> bytes:
    """The payload of the NCMD that asks a node for its births again."""
    message = _PAYLOAD()
    message.timestamp = time_ms
    metric = message.metrics.add()
    metric.name, metric.timestamp, metric.datatype = REBIRTH, time_ms, _BOOLEAN
    metric.boolean_value = True
    return bytes(message.SerializeToString())


def value_of(metric: Metric, datatype: int | None) -> int | float | None:
    """The metric's number by its datatype; None where it is none or does not fit.

    Signed integers travel as two's complement in unsigned fields (specification 6.4.16).
    """
    raw = metric.raw
    if metric.is_null or raw is None or datatype is None:
        return None
    if datatype in (_FLOAT, _DOUBLE):
        return float(raw)
    return _integer(raw, datatype) if isinstance(raw, int) else None


def _integer(raw: int, datatype: int) -> int | None:
    if datatype == _BOOLEAN:
        return int(bool(raw))
    if datatype in _UNSIGNED:
        return raw if raw < 1 << _UNSIGNED[datatype] else None
    if datatype not in _SIGNED:
        return None
    bits = _SIGNED[datatype]
    sent = raw & ((1 << bits) - 1)  # some clients send 32 or 64 bits of sign for an Int8
    signed = sent - (1 << bits) if sent >> (bits - 1) else sent
    fits = raw in (sent, signed + (1 << 32), signed + (1 << 64))
    return signed if fits else None


def _optional(message: Any, field: str) -> int | None:
    return int(getattr(message, field)) if message.HasField(field) else None


def _metric(metric: Any) -> Metric:
    which = metric.WhichOneof("value")
    return Metric(
        metric.name,
        _optional(metric, "alias"),
        _optional(metric, "datatype"),
        _optional(metric, "timestamp"),
        bool(metric.is_historical),
        bool(metric.is_null),
        getattr(metric, which) if which in _VALUES else None,
        _quality(metric.properties) if metric.HasField("properties") else None,
    )


def _quality(properties: Any) -> int | None:
    for key, value in zip(properties.keys, properties.values, strict=False):
        if key == "Quality" and not value.is_null and value.WhichOneof("value") == "int_value":
            return int(value.int_value)
    return None

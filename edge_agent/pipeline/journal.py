"""Readings as bytes for the journal, and back.

One CBOR array of entries: ``[tag, time, value, quality]`` for a sample, ``[tag, time, period,
bytes]`` for a waveform, ``[tags, [time, ...], [values, ...]]`` for the scans of the same tags.
"""

from collections.abc import Sequence
from typing import Any

import cbor2

from edge_agent.errors import StoreError
from edge_agent.later import Later
from edge_agent.readings import Quality, Sample, Scan, Waveform

Reading = Sample | Waveform | Scan
_FROMBUFFER = Later("numpy", "frombuffer")


def encode_readings(readings: Sequence[Reading]) -> bytes:
    """Readings as bytes for the journal."""
    plain: list[Any] = []
    scans: dict[tuple[str, ...], tuple[list[int], list[tuple[int | float, ...]]]] = {}
    for reading in readings:
        if isinstance(reading, Scan):
            times, rows = scans.setdefault(reading.tags, ([], []))
            times.append(reading.time_ns)
            rows.append(reading.values)
        elif isinstance(reading, Waveform):
            values = reading.values.astype("float64", copy=False).tobytes()
            plain.append((reading.tag, reading.time_ns, reading.period_ns, values))
        else:
            plain.append((reading.tag, reading.time_ns, reading.value, int(reading.quality)))
    plain += [(tags, *table) for tags, table in scans.items()]
    return cbor2.dumps(plain)


def decode_readings(journal: bytes) -> list[Reading]:
    """The readings that ``encode_readings`` wrote, those of scans last.

    Raises:
        StoreError: these are other bytes.
    """
    try:
        return [reading for entry in cbor2.loads(journal) for reading in _decoded(*entry)]
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"an entry of the journal cannot be read: {error!r}"[:300]
        raise StoreError(message) from error


def _decoded(name: Any, time: Any, third: Any, quality: Any = None) -> list[Reading]:
    if isinstance(name, list):
        tags = tuple(map(str, name))
        return [
            Scan(tags, _whole(time_ns), tuple(map(_number, values)))
            for time_ns, values in zip(time, third, strict=True)
            if _fits(tags, values)
        ]
    if not isinstance(name, str):
        message = f"{name!r} is no tag"
        raise TypeError(message)
    if isinstance(quality, bytes):
        values = _FROMBUFFER(quality, "float64")
        return [Waveform(name, _whole(time), _whole(third), values)]
    code = Quality(_whole(quality))
    _ = code.severity, code.reason  # both exist
    return [Sample(name, _whole(time), None if third is None else _number(third), code)]


def _fits(tags: Sequence[str], values: Sequence[Any]) -> bool:
    if len(tags) != len(values):
        message = f"{len(values)} values for {len(tags)} tags"
        raise ValueError(message)
    return True


def _whole(value: Any) -> int:
    if type(value) is not int:
        message = f"{value!r} is no whole number"
        raise TypeError(message)
    return value


def _number(value: Any) -> int | float:
    if type(value) is not int and type(value) is not float:
        message = f"{value!r} is no number"
        raise TypeError(message)
    return value

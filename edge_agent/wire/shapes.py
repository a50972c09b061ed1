"""Reads batches whose series came before, minute after minute, at a fraction of the cost.

In a payload's order of keys (q, s, v, x, dt, sw ... events, series) three stretches rarely change
from one batch to the next: the head up to ``x``, the column ``dt`` and the names of the series. A
``Shape`` keeps their bytes, as they stood in a payload that was read in full, with what they say.
A payload that has the same bytes in these places is deterministic if what lies between them is,
because a deterministic map is its entries one after the other: so only ``x`` and the short entries
are decoded and checked. Whatever is not plainly good is read in full, by ``batch.read``, which
alone refuses and flags.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import BadProfile
from edge_agent.readings import Columns
from edge_agent.wire import batch, batch_rules, cbor
from edge_agent.wire.batch import Batch
from edge_agent.wire.batch_rules import NS_PER_MS, Fields

_MAX_BYTES = 16 * 2**20
_KEY_BYTES = 64
_STRETCHES = frozenset({"q", "s", "v", "x", "dt", "series"})
_CLOCK_KEYS = ("err", "off", "src", "sync", "steps")
_NEGATIVE_ZERO = b"\xf9\x80\x00"


@dataclass(frozen=True, slots=True)
class Shape:
    """The stretches of a payload that come again, and what they say."""

    head: bytes
    steps: bytes
    tail: bytes
    short_map: bytes
    short_keys: tuple[str, ...]
    columns: Fields
    series: tuple[str, ...]
    index: list[int]
    offsets_ns: list[int]
    quality: list[int]
    first_ns: int
    last_ns: int

    @property
    def room(self) -> int:
        """Memory that it takes, roughly [bytes]."""
        return 4 * (len(self.head) + len(self.steps) + len(self.tail))


class Shapes:
    """Reads payloads and remembers their shapes; belongs to one thread."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._known: OrderedDict[bytes, Shape] = OrderedDict()

    def read(self, encoded: bytes) -> tuple[Batch, tuple[str, ...]]:
        """What ``batch.read`` finds in a payload.

        Raises:
            BadProfile: as there.
        """
        key = encoded[-_KEY_BYTES:]
        shape = self._known.get(key)
        if shape is not None:
            self._known.move_to_end(key)
            found = _read_between(encoded, shape)
            if found is not None:
                return found, ()
        found, flags = batch.read(encoded)
        if not flags and len(found.columns):
            self._remember(key, encoded, found)
        return found, flags

    def _remember(self, key: bytes, encoded: bytes, found: Batch) -> None:
        shape = _shape_of(encoded, found)
        if shape is None or shape.room > self._max_bytes:
            return
        before = self._known.pop(key, None)
        self._known[key] = shape
        self._bytes += shape.room - (before.room if before else 0)
        while self._bytes > self._max_bytes:
            self._bytes -= self._known.popitem(last=False)[1].room


def _shape_of(encoded: bytes, found: Batch) -> Shape | None:
    """The shape of a payload that was read; None when its entries are not where they usually are."""
    columns = found.columns
    offsets = [(time_ns - found.first_ns) // NS_PER_MS for time_ns in columns.time_ns]
    steps = [now - before for before, now in zip([0, *offsets], offsets, strict=False)]
    repeated = {
        "q": columns.quality, "s": columns.index, "v": 1, "dt": steps, "series": columns.series
    }  # fmt: skip
    entries = {key: cbor.encode(key) + cbor.encode(value) for key, value in repeated.items()}
    head = encoded[:1] + entries["q"] + entries["s"] + entries["v"] + cbor.encode("x")
    start, end = len(head), len(encoded) - len(entries["series"])
    at = encoded.find(entries["dt"], start, end)
    if at < 0 or not (encoded.startswith(head) and encoded.endswith(entries["series"])):
        return None
    short_map = bytes([encoded[0] - len(_STRETCHES)])
    try:
        short_keys = tuple(cbor.load(short_map + encoded[at + len(entries["dt"]) : end]))
    except BadProfile:
        return None
    offsets_ns = [offset * NS_PER_MS for offset in offsets]
    return Shape(
        head=head,
        steps=entries["dt"] + cbor.encode(short_keys[0]),
        tail=entries["series"],
        short_map=short_map + cbor.encode(short_keys[0]),
        short_keys=short_keys,
        columns=repeated | {"series": list(columns.series), "x": []},
        series=columns.series,
        index=columns.index,
        offsets_ns=offsets_ns,
        quality=columns.quality,
        first_ns=min(offsets_ns),
        last_ns=max(offsets_ns),
    )


def _read_between(encoded: bytes, shape: Shape) -> Batch | None:
    """The batch of a payload that has a shape and keeps every rule; None for any other."""
    start, end = len(shape.head), len(encoded) - len(shape.tail)
    at = encoded.find(shape.steps, start, end)
    if at < 0 or not (encoded.startswith(shape.head) and encoded.endswith(shape.tail)):
        return None
    try:
        values = _values(encoded[start:at], shape)
        fields = _short_entries(shape.short_map + encoded[at + len(shape.steps) : end], shape)
    except BadProfile:
        return None
    if values is None or fields is None or fields["t0"] + shape.last_ns > fields["t1"]:
        return None
    first_ns = fields["t0"]
    if shape.first_ns == shape.last_ns:
        times = [first_ns + shape.first_ns] * len(values)
    else:
        times = [first_ns + offset_ns for offset_ns in shape.offsets_ns]
    columns = Columns(shape.series, shape.index, times, values, shape.quality)
    return batch.whole(fields, columns)


def _values(encoded: bytes, shape: Shape) -> list[Any] | None:
    """The column of values; None when not plainly good."""
    values = cbor.load(encoded)
    good = (
        type(values) is list
        and len(values) == len(shape.index)
        and _NEGATIVE_ZERO not in encoded
        and not batch_rules.check_values(values, shape.quality)
    )
    return values if good else None


def _short_entries(encoded: bytes, shape: Shape) -> Fields | None:
    """The short entries of a payload, with those of the shape; None when not plainly good."""
    fields = cbor.load(encoded, canonical=False)
    if type(fields) is not dict or tuple(fields) != shape.short_keys or fields["events"]:
        return None
    fields.update(shape.columns)
    if batch_rules.check_schema(fields) or tuple(fields["clock"]) != _CLOCK_KEYS:
        return None
    # Every other text must match a stricter pattern, or is a key that is known.
    cbor.check([fields["sw"], fields["clock"]["src"]], finite=True)
    batch_rules.check_chain(fields)
    return fields

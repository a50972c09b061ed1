"""The journal's decoder: gives back what was written, and refuses everything else as StoreError."""

import math

import cbor2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import StoreError
from edge_agent.pipeline.journal import decode_readings, encode_readings
from edge_agent.readings import Quality, Reason, Sample, Scan, Severity, Waveform

quick = settings(deadline=None, max_examples=300)
times = st.integers(0, 2**62)
numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False))
tags = st.text(min_size=1, max_size=8)
qualities = st.builds(Quality.of, st.sampled_from(Severity), st.sampled_from(Reason))
samples = st.builds(Sample, tags, times, st.one_of(st.none(), numbers), qualities)
waves = st.builds(
    Waveform,
    tags,
    times,
    st.integers(1, 10**12),
    st.lists(st.floats(), min_size=1, max_size=5).map(lambda v: np.array(v, dtype=np.float64)),
)
scans = st.lists(st.tuples(tags, numbers), min_size=1, max_size=5).flatmap(
    lambda pairs: times.map(
        lambda at: Scan(tuple(t for t, _ in pairs), at, tuple(v for _, v in pairs))
    )
)


def plain(reading):
    if isinstance(reading, Waveform):
        return ("wave", reading.tag, reading.time_ns, reading.period_ns, reading.values.tobytes())
    if isinstance(reading, Scan):
        kinds = tuple(map(type, reading.values))
        return ("scan", reading.tags, reading.time_ns, reading.values, kinds)
    return (reading.tag, reading.time_ns, reading.value, type(reading.value), int(reading.quality))


@quick
@given(readings=st.lists(st.one_of(samples, waves, scans), max_size=6))
def test_what_was_written_is_read_back_exactly(readings):
    back = decode_readings(encode_readings(readings))
    assert sorted(map(repr, map(plain, back))) == sorted(map(repr, map(plain, readings)))


def decoded(raw):
    try:
        return decode_readings(raw)
    except StoreError:
        return None


@quick
@given(raw=st.binary(max_size=60))
def test_any_bytes_are_readings_or_a_store_error(raw):
    decoded(raw)


plain_cbor = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=2)
    ),
    max_leaves=12,
)


@quick
@given(value=plain_cbor)
def test_any_cbor_is_readings_or_a_store_error(value):
    for reading in decoded(cbor2.dumps([value])) or ():
        assert isinstance(reading, Sample | Waveform | Scan)
        assert isinstance(reading.time_ns, int)


@quick
@given(
    readings=st.lists(st.one_of(samples, waves, scans), min_size=1, max_size=4),
    place=st.integers(0, 10**6),
    flip=st.integers(1, 255),
    cut=st.booleans(),
)
def test_a_torn_or_damaged_entry_is_readings_or_a_store_error(readings, place, flip, cut):
    raw = bytearray(encode_readings(readings))
    at = place % len(raw)
    raw[at] ^= flip
    for reading in decoded(bytes(raw[: at + 1] if cut else raw)) or ():
        assert reading.time_ns >= 0 or math.isfinite(reading.time_ns)

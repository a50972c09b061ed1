"""Any data value of a server becomes a reading or a bad one: never an exception, never a wrong number."""

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import numpy as np
import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua import ua_binary
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.drivers.opcua import OpcUaTag
from edge_agent.drivers.opcua.audit import Audit
from edge_agent.drivers.opcua.client import _has_long_frame
from edge_agent.drivers.opcua.decoding import UNREADABLE
from edge_agent.drivers.opcua.nodes import name_of, node_id
from edge_agent.drivers.opcua.values import Reader, quality_of, stamp_of, time_of
from edge_agent.readings import GOOD, Quality, Reason, Sample, Severity, Waveform

NOW_NS = 1_790_000_000_123_456_000
BITS = {
    ua.VariantType.SByte: (8, True), ua.VariantType.Byte: (8, False),
    ua.VariantType.Int16: (16, True), ua.VariantType.UInt16: (16, False),
    ua.VariantType.Int32: (32, True), ua.VariantType.UInt32: (32, False),
    ua.VariantType.Int64: (64, True), ua.VariantType.UInt64: (64, False),
}  # fmt: skip
ANY_VALUE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.one_of(st.floats(), st.integers(), st.text(max_size=3), st.none()), max_size=5),
    st.lists(st.lists(st.floats(), max_size=3), max_size=3),
    st.datetimes(),
)
STAMPS = st.one_of(
    st.none(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
)


def tag(**fields):
    return OpcUaTag(id="v", node="i=1", **fields)


def answer(value, kind, status=0, stamp=None):
    variant = ua.Variant()
    variant.Value, variant.VariantType = value, kind
    return ua.DataValue(Value=variant, StatusCode=ua.StatusCode(status), SourceTimestamp=stamp)


@st.composite
def integers_of_a_type(draw):
    kind = draw(st.sampled_from(list(BITS)))
    bits, is_signed = BITS[kind]
    low = -(2 ** (bits - 1)) if is_signed else 0
    return kind, draw(st.integers(low, low + 2**bits - 1))


@given(integers_of_a_type())
def test_an_integer_survives_the_wire_and_the_reading_exactly(case):
    kind, value = case
    wire = ua_binary.struct_to_binary(ua.DataValue(Value=ua.Variant(value, kind)))
    decoded = ua_binary.struct_from_binary(ua.DataValue, Buffer(wire))
    got = Reader((tag(),), trusts_source=False).read(tag(), decoded, NOW_NS)
    assert (got.value, got.quality, got.time_ns) == (value, GOOD, NOW_NS)
    assert isinstance(got.value, int)


@given(integers_of_a_type(), st.decimals("-1000", "1000", places=3).filter(bool))
def test_a_scaled_integer_is_the_nearest_float_to_the_exact_product(case, scale):
    kind, value = case
    if scale == 1:
        return
    scaled = tag(scale=str(scale))
    got = Reader((scaled,), trusts_source=False).read(scaled, answer(value, kind), NOW_NS)
    assert got.value == float(value * Fraction(scale))


@given(st.floats())
def test_a_double_is_itself_or_bad(value):
    got = Reader((tag(),), trusts_source=False).read(
        tag(), answer(value, ua.VariantType.Double), NOW_NS
    )
    assert got.value == value if math.isfinite(value) else got.value is None
    assert got.quality.usable == math.isfinite(value)


@given(
    value=ANY_VALUE,
    kind=st.sampled_from(list(ua.VariantType)),
    status=st.integers(0, 2**32 - 1),
    stamp=STAMPS,
    period=st.sampled_from([None, 0.1]),
    trusts=st.booleans(),
)
@settings(max_examples=400)
def test_nothing_a_server_says_raises_or_passes_as_a_number_it_is_not(
    value, kind, status, stamp, period, trusts
):
    one = tag(period_s=period)
    got = Reader((one,), trusts_source=trusts).read(one, answer(value, kind, status, stamp), NOW_NS)
    if isinstance(got, Waveform):
        assert period is not None
        assert len(got) == len(value)
        assert not np.isinf(got.values).any()
        return
    assert isinstance(got, Sample)
    if got.value is None:
        assert got.quality.severity is Severity.BAD
    else:
        assert math.isfinite(got.value)
        assert got.quality.usable
        assert status >> 30 < 2
        assert got.value == value
    assert 946_684_800 * 10**9 <= got.time_ns < 4_102_444_800 * 10**9


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_bytes_that_are_no_data_value_raise_only_what_the_driver_translates(raw):
    try:
        decoded = ua_binary.struct_from_binary(ua.DataValue, Buffer(raw))
    except (UaError, *UNREADABLE):
        return
    Reader((tag(),), trusts_source=True).read(tag(), decoded, NOW_NS)


@pytest.mark.parametrize("kind", [b"\x0c", b"\x0f", b"\x8b", b"\x8c", b"\x97"])
def test_a_negative_length_does_not_read_backwards(kind):
    stream = Buffer(b"\0" * 8 + kind + (-4).to_bytes(4, "little", signed=True))
    stream.skip(8)
    with pytest.raises(UaError):
        ua_binary.variant_from_binary(stream)


@given(st.integers(946_684_800 * 10**6, 4_102_444_800 * 10**6 - 1))
def test_a_plausible_time_survives_to_the_microsecond(time_us):
    assert time_of(stamp_of(time_us * 1000)) == time_us * 1000


@pytest.mark.parametrize(
    ("name", "severity", "reason"),
    [
        ("Good", Severity.GOOD, Reason.NONE),
        ("GoodClamped", Severity.GOOD, Reason.NONE),
        ("GoodLocalOverride", Severity.SUBSTITUTED, Reason.NONE),
        ("UncertainSubstituteValue", Severity.SUBSTITUTED, Reason.NONE),
        ("Uncertain", Severity.UNCERTAIN, Reason.NONE),
        ("UncertainLastUsableValue", Severity.UNCERTAIN, Reason.STUCK),
        ("UncertainSensorNotAccurate", Severity.UNCERTAIN, Reason.CALIBRATION),
        ("UncertainEngineeringUnitsExceeded", Severity.UNCERTAIN, Reason.RANGE),
        ("UncertainSubNormal", Severity.UNCERTAIN, Reason.PARTIAL),
        ("Bad", Severity.BAD, Reason.DEVICE),
        ("BadSensorFailure", Severity.BAD, Reason.DEVICE),
        ("BadNotConnected", Severity.BAD, Reason.COMMS),
        ("BadNoCommunication", Severity.BAD, Reason.COMMS),
        ("BadOutOfService", Severity.BAD, Reason.MAINTENANCE),
        ("BadOutOfRange", Severity.BAD, Reason.RANGE),
    ],
)
def test_a_status_code_becomes_severity_and_reason(name, severity, reason):
    code = getattr(StatusCodes, name)
    assert quality_of(ua.StatusCode(code)) == Quality.of(severity, reason)
    assert quality_of(ua.StatusCode(code | 0x0480)) == Quality.of(severity, reason)


@given(
    st.sampled_from(["i=85", "s=Line1.Pot001;odd=x", "g=72962b91-fa75-4ae6-8d28-b404dc7daf63"]),
    st.integers(1, 3),
)
def test_a_node_is_found_again_by_its_name_when_the_indexes_changed(text, index):
    before = ["http://opcfoundation.org/UA/", "urn:a", "urn:b", "urn:c"]
    node = ua.NodeId.from_string(f"ns={index};{text}")
    name = name_of(node, before)
    after = [before[0], "urn:new", *reversed(before[1:])]
    found = node_id(name, after)
    assert after[found.NamespaceIndex] == before[index]
    assert found.Identifier == node.Identifier


@given(st.lists(st.integers(8, 65_535), max_size=5), st.integers(0, 40))
def test_frames_of_a_fair_length_pass_wherever_they_are_torn(sizes, torn):
    stream = b"".join(b"MSGF" + size.to_bytes(4, "little") + b"\0" * (size - 8) for size in sizes)
    assert not _has_long_frame(stream[: len(stream) - torn])
    assert _has_long_frame(stream + b"MSGF" + (65_536).to_bytes(4, "little"))
    assert _has_long_frame(stream + b"MSGF" + (7).to_bytes(4, "little"))


def value(number, *, stamp=None, status=0):
    return answer(number, ua.VariantType.Double, status, stamp)


def test_a_change_that_was_not_reported_is_suspect_once_and_certain_twice():
    audit, one = Audit(), tag()
    audit.heard("v", value(1.5))
    assert not audit.unreported(one, value(1.5))
    assert not audit.unreported(one, value(2.5))
    assert audit.unreported(one, value(2.5))
    audit.heard("v", value(2.5))
    assert not audit.unreported(one, value(3.5))
    assert not audit.unreported(one, value(2.5))
    assert not audit.unreported(one, value(3.5))


def test_a_change_within_the_deadband_nan_and_a_repeat_are_no_change():
    audit, one = Audit(), tag(server_deadband={"absolute": 0.5})
    audit.heard("v", value(1.0))
    for number in (1.5, 0.5, 1.5):
        assert not audit.unreported(one, value(number))
    for _ in range(2):
        found = audit.unreported(one, value(1.6))
    assert found
    audit.heard("v", value(math.nan))
    assert not any(audit.unreported(one, value(math.nan)) for _ in range(3))


def test_only_tags_that_were_silent_since_the_last_time_are_read():
    audit, nodes = Audit(), {"v": ua.NodeId(1, 1), "w": ua.NodeId(2, 1)}
    assert audit.due(nodes) == {}
    audit.heard("w", value(1.5))
    assert audit.due(nodes) == {"v": nodes["v"]}
    assert audit.due(nodes) == nodes


def test_the_days_of_the_library_are_not_ours_to_trust():
    assert time_of(datetime(1601, 1, 1, tzinfo=UTC)) is None
    assert time_of(datetime.max.replace(tzinfo=UTC)) is None
    assert time_of(datetime(2000, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)) is None
    assert time_of(None) is None

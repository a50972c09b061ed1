"""Device configurations, scaling, and the values of OPC UA variables."""

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edge_agent.clock import SystemClock
from edge_agent.drivers import DRIVERS, AnyDeviceConfig
from edge_agent.drivers.base import UNCERTAIN_CLOCK, Lines, Scaler, Tag, Totaliser
from edge_agent.drivers.opcua import OpcUaConfig, OpcUaTag
from edge_agent.drivers.opcua.nodes import node_id
from edge_agent.drivers.opcua.subscriber import QUEUE_LIMIT, OpcUaSubscriber
from edge_agent.drivers.opcua.values import MAX_ARRAY, Reader
from edge_agent.errors import NoAnswer
from edge_agent.readings import BAD_DEVICE, GOOD, Quality, Reason, Sample, Severity

DEVICE = TypeAdapter(AnyDeviceConfig)
MODBUS = {"driver": "modbus", "id": "kiln", "host": "h", "unit": 1, "interval_s": 0.005}
OPCUA = {"driver": "opcua", "id": "p", "url": "opc.tcp://h:1", "insecure": True}
TAG = {"id": "t", "address": 7, "type": "uint16"}
NOW_NS = 1_790_000_000_123_456_000
STAMP = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
STAMP_NS = 1_772_366_400_250_000_000


def test_every_kind_of_device_is_told_by_its_driver():
    kiln = DEVICE.validate_python({**MODBUS, "tags": [TAG]})
    line = DEVICE.validate_python({**OPCUA, "tags": [{"id": "v", "node": "i=1"}]})
    assert type(kiln) is not type(line)
    assert {kiln.driver, line.driver} <= set(DRIVERS)


@pytest.mark.parametrize(
    ("device", "tag"),
    [
        ({"unit": 0}, {}),
        ({"unit": 248}, {}),
        ({"interval_s": 0}, {}),
        ({"interval_s": float("nan")}, {}),
        ({"order": "ABDC"}, {}),
        ({"driver": "profibus"}, {}),
        ({"max_registers": 126}, {}),
        ({"surprise": 1}, {}),
        ({"id": "Kiln 1"}, {}),
        ({"clock_register": {"address": 65_533}}, {}),
        ({}, {"address": 65_536}),
        ({}, {"address": 65_535, "type": "uint32"}),
        ({}, {"table": "coil"}),
        ({}, {"scale": "0"}),
        ({}, {"scale": "1e400"}),
        ({}, {"scale": "fast"}),
        ({}, {"scale": "NaN"}),
        ({}, {"range": [5, 5]}),
        ({}, {"type": "float32", "totaliser": {}}),
        ({}, {"totaliser": {"modulus": 0}}),
        ({}, {"surprise": 1}),
    ],
)
def test_a_wrong_value_is_refused(device, tag):
    with pytest.raises(ValidationError):
        DEVICE.validate_python({**MODBUS, **device, "tags": [{**TAG, **tag}]})


@pytest.mark.parametrize("tags", [[], [TAG, TAG]])
def test_tags_are_at_least_one_and_distinct(tags):
    with pytest.raises(ValidationError):
        DEVICE.validate_python({**MODBUS, "tags": tags})


@given(raw=st.integers(-(2**63), 2**64 - 1))
def test_an_integer_without_scale_stays_the_same_integer(raw):
    assert Scaler(Tag(id="t"))(raw) == raw
    assert isinstance(Scaler(Tag(id="t"))(raw), int)
    counter = Tag(id="t", scale="0.1", totaliser=Totaliser(modulus=2**32))
    assert Scaler(counter)(raw) == raw


@given(
    raw=st.integers(-(2**63), 2**64 - 1),
    scale=st.decimals("-1000", "1000", places=4).filter(bool),
    offset=st.decimals("-1000", "1000", places=3),
)
def test_a_scaled_integer_is_the_nearest_float(raw, scale, offset):
    tag = Tag(id="t", scale=str(scale), offset=str(offset))
    if scale != 1 or offset != 0:
        assert Scaler(tag)(raw) == float(raw * Decimal(str(scale)) + Decimal(str(offset)))


def test_a_float_that_overflows_by_scaling_is_none():
    assert Scaler(Tag(id="t", scale="1e10"))(1.7e308) is None
    assert Scaler(Tag(id="t", scale="2", offset="0.5"))(1.25) == 3.0


def test_a_line_has_one_owner():
    lines = Lines()
    first = lines.line(("modbus", "h", 1), object)
    assert lines.line(("modbus", "h", 1), object) is first
    assert lines.line(("modbus", "h", 2), object) is not first


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "ns=x;i=1", "nsu=urn:a;ns=2;i=1", "nsu=urn:a", "i=", "i=abc", "i=4294967296"]
    + ["ns=65536;i=1", "g=no-guid", "b=%%%", "x=1", "i=１"],
)
def test_what_is_not_a_node_is_refused(text):
    with pytest.raises(ValidationError):
        OpcUaTag(id="t", node=text)


def test_a_namespace_uri_is_looked_up_in_the_servers_own_array():
    spaces = ["http://opcfoundation.org/UA/", "urn:plc", "urn:pot;line"]
    assert node_id("nsu=urn:pot;line;s=P1.V", spaces) == ua.NodeId("P1.V", 2)
    assert node_id("nsu=urn:plc;i=42", spaces) == ua.NodeId(42, 1)
    assert node_id("nsu=urn:gone;i=42", spaces) is None
    assert node_id("ns=5;s=x", spaces) == ua.NodeId("x", 5)


def answer(value, kind=ua.VariantType.Double, *, status=0, stamp=STAMP):
    return ua.DataValue(
        Value=ua.Variant(value, kind), StatusCode=ua.StatusCode(status), SourceTimestamp=stamp
    )


def read(value, *, tag=None, trust=True, now_ns=NOW_NS):
    tag = OpcUaTag(id="v", node="i=1", **(tag or {}))
    return Reader((tag,), trusts_source=trust).read(tag, value, now_ns)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (answer(4.25), Sample("v", STAMP_NS, 4.25, GOOD)),
        (answer(2**62 + 1, ua.VariantType.Int64), Sample("v", STAMP_NS, 2**62 + 1, GOOD)),
        (answer(True, ua.VariantType.Boolean), Sample("v", STAMP_NS, 1, GOOD)),
        (answer(4.25, status=0x80000000), Sample("v", STAMP_NS, None, BAD_DEVICE)),
        (
            answer(4.25, status=0x40000000),
            Sample("v", STAMP_NS, 4.25, Quality.of(Severity.UNCERTAIN)),
        ),
        (answer(float("nan")), Sample("v", STAMP_NS, None, BAD_DEVICE)),
        (answer("4.25", ua.VariantType.String), Sample("v", STAMP_NS, None, BAD_DEVICE)),
        (answer([4.25]), Sample("v", STAMP_NS, None, BAD_DEVICE)),
        (ua.DataValue(SourceTimestamp=STAMP), Sample("v", STAMP_NS, None, BAD_DEVICE)),
        (answer(4.25, stamp=None), Sample("v", NOW_NS, 4.25, UNCERTAIN_CLOCK)),
        (
            answer(4.25, stamp=datetime(1999, 12, 31, tzinfo=UTC)),
            Sample("v", NOW_NS, 4.25, Quality.of(Severity.UNCERTAIN, Reason.CLOCK)),
        ),
        (
            answer(4.25, stamp=datetime(2100, 1, 1, tzinfo=UTC)),
            Sample("v", NOW_NS, 4.25, UNCERTAIN_CLOCK),
        ),
    ],
)
def test_a_variable_becomes_a_sample(value, expected):
    got = read(value)
    assert got == expected
    assert type(got.value) is type(expected.value)


def test_an_untrusted_source_time_is_replaced_without_doubt_on_the_value():
    assert read(answer(4.25), trust=False) == Sample("v", NOW_NS, 4.25, GOOD)


def test_a_total_in_a_float_is_a_count_only_when_it_is_whole():
    total = {"totaliser": {"modulus": 1000}, "scale": "0.01"}
    assert read(answer(412.0), tag=total).value == 412
    assert read(answer(412.5), tag=total).value is None
    assert read(answer(float("inf")), tag=total).value is None


def test_an_array_is_a_waveform_that_begins_at_its_source_time():
    got = read(answer([1.5, float("inf"), 3.5]), tag={"period_s": 0.1, "scale": "2"})
    assert (got.time_ns, got.period_ns) == (STAMP_NS, 100_000_000)
    np.testing.assert_array_equal(got.values, [3.0, np.nan, 7.0])
    late = read(answer([1, 2], ua.VariantType.Int32, stamp=None), tag={"period_s": 0.5})
    assert late.time_ns == NOW_NS - 1_000_000_000


@pytest.mark.parametrize("value", [[], [0.0] * (MAX_ARRAY + 1), 3.5])
def test_an_array_of_a_wrong_shape_is_bad(value):
    assert read(answer(value), tag={"period_s": 1}) == Sample("v", STAMP_NS, None, BAD_DEVICE)


def test_an_array_that_a_new_subscription_repeats_is_not_delivered_twice():
    tag = OpcUaTag(id="v", node="i=1", period_s=1)
    reader = Reader((tag,), trusts_source=True)
    assert reader.read(tag, answer([1.5]), NOW_NS) is not None
    assert reader.read(tag, answer([1.5]), NOW_NS + 9) is None
    other = answer([1.5], stamp=STAMP.replace(second=1))
    assert reader.read(tag, other, NOW_NS) is not None


async def test_an_overflowing_subscription_loses_its_oldest_counts_and_says_so_once(caplog):
    tag = OpcUaTag(id="v", node="i=1")
    config = OpcUaConfig(**OPCUA, tags=(tag,))
    driver = OpcUaSubscriber(config, SystemClock())
    driver._put(Sample("v", n, n) for n in range(QUEUE_LIMIT + 3))
    readings = await anext(driver.samples())
    assert [readings[0].value, readings[-1].value] == [3, QUEUE_LIMIT + 2]
    assert driver.dropped == 3
    assert sum("readings_dropped" in message for message in caplog.messages) == 1


async def test_a_subscription_that_falls_silent_on_a_living_server_is_no_answer():
    subscription = SimpleNamespace(last_publish_at=None)

    class Turning(SystemClock):
        now_s = 0.0

        def monotonic_ns(self):
            return round(self.now_s * 1e9)

        async def sleep(self, seconds):
            self.now_s += seconds
            if self.now_s < 100:
                subscription.last_publish_at = self.now_s // 5  # a keep-alive every 5 s

    tag = OpcUaTag(id="v", node="i=1")
    clock = Turning()
    config = OpcUaConfig(**OPCUA, tags=(tag,))
    with pytest.raises(NoAnswer, match="nothing heard for 8 s"):
        await OpcUaSubscriber(config, clock)._watch(subscription, 8.0)
    assert 103 <= clock.now_s <= 105

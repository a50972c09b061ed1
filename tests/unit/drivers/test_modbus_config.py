"""What a user may write about a Modbus device, and what becomes of a raw value."""

import struct
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.drivers import check_lines
from edge_agent.drivers.decode import Words
from edge_agent.drivers.modbus import ModbusConfig, ModbusDriver, ModbusTag
from edge_agent.drivers.modbus.values import reader
from edge_agent.errors import ConfigError

TAG = {"id": "t", "address": 7, "type": "uint16"}
BASE = {"driver": "modbus", "id": "d", "unit": 1, "interval_s": 1, "tags": [TAG]}
TLS = {"ca": "ca.pem", "cert": "c.pem", "key": "c.key"}
SERIAL = {"port": "/dev/ttyS0"}


def device(**fields):
    return ModbusConfig.model_validate(BASE | fields)


@pytest.mark.parametrize(
    ("fields", "port"),
    [
        ({"host": "h"}, 502),
        ({"host": "h", "transport": "tls", "tls": TLS}, 802),
        ({"host": "h", "transport": "udp", "port": 5020}, 5020),
        ({"host": "h", "transport": "rtu_over_tcp", "port": 4001}, 4001),
        ({"transport": "rtu", "serial": SERIAL}, None),
    ],
)
def test_a_transport_takes_what_belongs_to_it(fields, port):
    assert device(**fields).port == port


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "transport tcp needs host"),
        ({"transport": "rtu"}, "transport rtu needs serial"),
        ({"transport": "rtu", "serial": SERIAL, "host": "h"}, "host does not belong to"),
        ({"transport": "rtu", "serial": SERIAL, "port": 502}, "port does not belong to"),
        ({"host": "h", "serial": SERIAL}, "serial does not belong to transport tcp"),
        ({"host": "h", "tls": TLS}, "tls does not belong to transport tcp"),
        ({"host": "h", "transport": "tls"}, "transport tls needs tls"),
        ({"host": "h", "transport": "ascii"}, "Input should be 'tcp', 'rtu'"),
        ({"transport": "rtu", "serial": SERIAL | {"baud": 9601}}, "Input should be 1200"),
        ({"host": "h", "forbidden": [{"first": 9, "last": 8}]}, "first is not above last"),
    ],
)
def test_a_transport_refuses_what_does_not(fields, said):
    with pytest.raises(ValidationError, match=said):
        device(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "string"}, "needs length"),
        ({"type": "string", "length": 2}, "needs length"),
        ({"length": 2}, "belong to a string"),
        ({"type": "int16", "mask": 1}, "unsigned"),
        ({"mask": 0x1_0000}, "wider than uint16"),
        ({"type": "float32", "totaliser": {}}, "count belongs to, and is needed by"),
        ({"count": "0.1"}, "count belongs to, and is needed by"),
        ({"type": "float32", "totaliser": {}, "count": "0"}, "greater than 0"),
        ({"table": "coil", "type": "bool", "mask": 1}, "no mask"),
        ({"type": "string", "length": 2, "texts": {"a": 1}, "totaliser": {}}, "not in a string"),
    ],
)
def test_a_tag_that_makes_no_sense_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        ModbusTag.model_validate(TAG | fields)


def test_a_tag_on_a_forbidden_register_is_a_configuration_error():
    fields = {"host": "h", "forbidden": [{"first": 7, "last": 7}]}
    with pytest.raises(ConfigError, match="t: addresses 7 to 7 touch the forbidden 7 to 7"):
        ModbusDriver(device(**fields), clock=None)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"transport": "rtu", "serial": SERIAL},
            {"transport": "rtu", "serial": SERIAL | {"baud": 19200}},
        ),
        (
            {"transport": "rtu", "serial": SERIAL},
            {"transport": "rtu", "serial": SERIAL | {"parity": "even"}},
        ),
        ({"host": "H", "port": 4001}, {"host": "h", "port": 4001, "transport": "rtu_over_tcp"}),
        ({"host": "h", "port": 802}, {"host": "h", "transport": "tls", "tls": TLS}),
    ],
)
def test_two_devices_that_set_one_line_differently_are_both_named(first, second):
    devices = [device(id="left", **first), device(id="right", unit=2, **second)]
    with pytest.raises(ConfigError, match="'left' and 'right' share"):
        check_lines(devices)


def test_devices_of_one_line_may_differ_in_what_is_their_own():
    check_lines(
        [
            device(host="h", timeout_s=1),
            device(id="e", host="h", unit=2, timeout_s=5, pause_s=1),
            device(id="f", host="h", transport="udp"),
        ]
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        # 125 registers: 8 bytes asked, 255 answered, 11 bits each, 3.5 characters twice
        ({"baud": 1200}, "125 registers takes 2.4"),
        ({"baud": 9600, "timeout_s": 0.3}, "takes 0.31 s"),
        ({"baud": 9600, "pause_s": 0.7}, "takes 1.01 s"),
    ],
)
def test_a_time_out_that_no_answer_can_keep_is_a_configuration_error(fields, said):
    serial = SERIAL | {"baud": fields.pop("baud")}
    tags = [TAG | {"id": f"t{place}", "address": place} for place in (0, 60, 124)]
    wanted = device(transport="rtu", serial=serial, tags=tags, max_gap=121, **fields)
    with pytest.raises(ConfigError, match=said):
        check_lines([wanted])


def test_two_names_of_one_serial_port_are_one_line(tmp_path):
    port, link = tmp_path / "ttyUSB0", tmp_path / "by-id"
    port.touch()
    link.symlink_to(port)
    first, second = (device(transport="rtu", serial={"port": str(path)}) for path in (port, link))
    assert first.line_key == second.line_key


def test_local_paths_do_not_travel_with_the_configuration():
    assert "tls" not in device(host="h", transport="tls", tls=TLS).model_dump(mode="json")


def value(registers, **fields):
    tag = ModbusTag.model_validate(TAG | fields)
    return reader(tag, "ABCD")(Words(registers), 0)


@pytest.mark.parametrize(
    ("registers", "fields", "expected"),
    [
        ([0xABCD], {"mask": 0x0FF0}, 0xBC),
        ([0xABCD], {"mask": 0x8000}, 1),
        ([0xABCD], {"type": "bool", "mask": 0x0032}, 0),
        ([0xABCD], {"type": "bool", "mask": 0x0034}, 1),
        ([0xABCD, 0x1234], {"type": "uint32", "mask": 0x00FF_0000, "scale": "0.5"}, 102.5),
        ([0x5255, 0x4E00], {"type": "string", "length": 2, "texts": {"RUN": 1, "STOP": 2}}, 1),
        ([0x5354, 0x4F50], {"type": "string", "length": 2, "texts": {"RUN": 1, "STOP": 2}}, 2),
        ([0x5354, 0x4F4F], {"type": "string", "length": 2, "texts": {"RUN": 1, "STOP": 2}}, None),
        ([0xE954, 0x4F4F], {"type": "string", "length": 2, "texts": {"RUN": 1}}, None),
        ([0x9307], {"type": "bcd16", "scale": "0.1"}, 930.7),
        ([0xFFFF], {"absent": [65535, 32768]}, None),
        ([0xFFFE], {"absent": [65535]}, 65534),
    ],
)
def test_a_raw_value_becomes_what_the_tag_says(registers, fields, expected):
    got = value(registers, **fields)
    assert got == expected
    assert type(got) is type(expected)


@given(
    raw=st.floats(0, 1e12, allow_nan=False),
    count=st.sampled_from(("1", "0.01", "0.1", "100", "0.001")),
)
def test_a_total_in_a_float_becomes_the_nearest_whole_count(raw, count):
    registers = struct.unpack(">4H", struct.pack(">d", raw))
    got = value(registers, type="float64", totaliser={}, count=count)
    assert type(got) is int
    assert abs(Decimal(raw) / Decimal(count) - got) <= Decimal("0.5000000001")


def test_a_total_that_is_not_a_number_is_none():
    assert value([0x7FC0, 0], type="float32", totaliser={}, count=1) is None

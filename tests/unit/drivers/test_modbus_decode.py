"""Registers to numbers, against byte strings made here and not by the code under test."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.decode import Words, bit, decode, width
from edge_agent.errors import BadAnswer

VALUES = {
    "bool": ("H", 1),
    "int16": ("h", -30_583),
    "uint16": ("H", 51_459),
    "int32": ("i", -2_023_406_815),
    "uint32": ("I", 4_009_738_480),
    "int64": ("q", -8_613_303_245_920_329_199),
    "uint64": ("Q", 17_279_655_951_921_914_625),
    "float32": ("f", struct.unpack(">f", bytes.fromhex("4048f5c3"))[0]),
    "float64": ("d", -273.15),
    "bcd16": ("H", 0x9_307),
    "bcd32": ("I", 0x8_142_5036),
}
DECIMAL = {"bcd16": 9_307, "bcd32": 81_425_036}
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


def on_the_wire(number: bytes, order: str) -> list[int]:
    """Registers as a device with this order sends a big-endian number, byte by byte."""
    pairs = [number[i : i + 2] for i in range(0, len(number), 2)]
    if order in ("CDAB", "DCBA"):
        pairs.reverse()
    if order in ("BADC", "DCBA"):
        pairs = [pair[::-1] for pair in pairs]
    return [pair[0] * 256 + pair[1] for pair in pairs]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", VALUES)
def test_a_value_survives_every_order(kind, order):
    code, value = VALUES[kind]
    registers = on_the_wire(struct.pack(">" + code, value), order)
    got = decode(registers, kind, order)
    assert got == DECIMAL.get(kind, value)
    assert isinstance(got, float) is kind.startswith("float")
    assert width(kind) == len(registers)


@pytest.mark.parametrize(
    ("order", "registers"),
    [
        ("ABCD", [0x1234, 0x5678]),
        ("CDAB", [0x5678, 0x1234]),
        ("BADC", [0x3412, 0x7856]),
        ("DCBA", [0x7856, 0x3412]),
    ],
)
def test_the_orders_mean_what_their_names_say(order, registers):
    assert decode(registers, "uint32", order) == 0x12345678


def test_a_value_inside_an_answer_is_found_by_its_offset():
    words = Words([0xFFFF, *on_the_wire(struct.pack(">q", -7), "CDAB"), 0x1234])
    assert words.number(1, "int64", "CDAB") == -7
    assert words.number(5, "uint16", "ABCD") == 0x1234
    for offset in (-1, 3, 6):
        with pytest.raises(BadAnswer):
            words.number(offset, "int64", "ABCD")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "code"), [("float32", ">f"), ("float64", ">d")])
def test_a_float_that_is_not_a_number_is_none(kind, code, value):
    assert decode(on_the_wire(struct.pack(code, value), "CDAB"), kind, "CDAB") is None


@given(
    registers=st.lists(st.integers(-5, 70_000), max_size=6),
    kind=st.sampled_from(sorted(VALUES)),
    order=st.sampled_from(ORDERS),
)
def test_any_registers_give_a_number_none_or_bad_answer(registers, kind, order):
    try:
        value = decode(registers, kind, order)
    except BadAnswer:
        assert len(registers) != width(kind) or not all(0 <= r <= 65535 for r in registers)
    else:
        assert value is None or math.isfinite(value)


@pytest.mark.parametrize(("kind", "registers"), [("bcd16", [0x12A4]), ("bcd32", [0x1234, 0xF678])])
def test_a_decimal_with_a_digit_above_nine_is_none(kind, registers):
    assert decode(registers, kind) is None


@pytest.mark.parametrize(
    ("raw", "order", "text"),
    [
        (b"PAC3200\0\xff\xff", "ABCD", "PAC3200"),
        (b"PAC4200 ", "CDAB", "PAC4200"),
        (b"AP4C23\x000", "BADC", "PAC4320"),
        (b"\xe9t\xe9 ", "ABCD", None),
        (b"", "ABCD", ""),
    ],
)
def test_a_text_ends_at_its_first_nul_and_has_its_bytes_in_order(raw, order, text):
    assert Words(raw).text(0, len(raw) // 2, order) == text


def test_bytes_on_the_wire_and_numbers_are_the_same_registers():
    raw = bytes.fromhex("0102aabb4048f5c3")
    numbers = Words([0x0102, 0xAABB, 0x4048, 0xF5C3])
    for order in ORDERS:
        assert Words(raw).number(1, "uint32", order) == numbers.number(1, "uint32", order)
    with pytest.raises(BadAnswer):
        Words(raw[:3])


def test_the_first_bit_of_an_answer_is_the_lowest_of_its_first_byte():
    # Modbus application protocol V1.1b3, 6.1: 0xCD is coils 27 to 20, 1100 1101
    answer = bytes.fromhex("cd6b05")
    assert [bit(answer, n) for n in range(8)] == [1, 0, 1, 1, 0, 0, 1, 1]
    assert [bit(answer, 16 + n) for n in range(3)] == [1, 0, 1]
    for offset in (-1, 24):
        with pytest.raises(BadAnswer):
            bit(answer, offset)


@given(raw=st.binary(max_size=12), offset=st.integers(-3, 9), count=st.integers(-2, 9))
def test_any_bytes_give_a_text_none_or_bad_answer(raw, offset, count):
    try:
        text = Words(raw).text(offset, count, "BADC")
    except BadAnswer:
        assert len(raw) % 2 or offset < 0 or count < 0 or 2 * (offset + count) > len(raw)
    else:
        assert 0 <= offset <= offset + count <= len(raw) // 2
        assert text is None or text.isascii()


def test_a_text_inside_an_answer_is_found_by_its_offset():
    words = Words(b"\x12\x34RUN \xab\xcd")
    assert words.text(1, 2, "ABCD") == "RUN"
    assert words.text(2, 1, "BADC") == "N"

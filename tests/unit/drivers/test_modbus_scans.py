"""A block decoded in one step gives the values that its tags give one by one, or says it cannot."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.drivers.blocks import Block, Item
from edge_agent.drivers.decode import Words
from edge_agent.drivers.modbus import values
from edge_agent.drivers.modbus.config import ModbusTag
from edge_agent.drivers.modbus.scans import prepare

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
KINDS = ("int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def tag(name, kind, address, **fields):
    return ModbusTag(id=name, type=kind, address=address, **fields)


def block_of(tags, start):
    items = tuple(Item(t.id, t.table, t.address, t.width) for t in tags)
    end = max(item.end for item in items)
    return Block("holding", start, end - start, items)


@st.composite
def blocks(draw):
    start = at = draw(st.integers(0, 50))
    tags = []
    for number in range(draw(st.integers(1, 8))):
        at += draw(st.integers(0, 3)) if number else 0
        one = tag(
            f"t{number}",
            draw(st.sampled_from(KINDS)),
            at,
            scale=draw(st.sampled_from(["1", "0.1", "1000"])),
            offset=draw(st.sampled_from(["0", "-40"])),
        )
        tags.append(one)
        at += one.width
    return tags, start, draw(st.binary(min_size=2 * (at - start), max_size=2 * (at - start)))


@settings(deadline=None, max_examples=300)
@given(drawn=blocks(), order=st.sampled_from(ORDERS))
def test_a_scan_equals_its_tags_read_one_by_one(drawn, order):
    tags, start, raw = drawn
    reader = prepare(block_of(tags, start), {t.id: t for t in tags}, order)
    assert reader is not None
    found = reader.read(raw)
    one_by_one = [values.reader(t, order)(Words(raw), t.address - start) for t in tags]
    if found is None:
        assert None in one_by_one or not abs(sum(map(float, one_by_one))) < 1e308
    else:
        assert reader.tags == tuple(t.id for t in tags)
        assert list(found) == one_by_one
        assert [type(v) for v in found] == [type(v) for v in one_by_one]


def test_a_float_that_is_not_finite_is_left_to_the_way_that_judges_each_tag():
    tags = [tag("a", "float32", 0), tag("b", "float32", 2)]
    reader = prepare(block_of(tags, 0), {t.id: t for t in tags}, "ABCD")
    assert reader.read(struct.pack(">2f", 1.5, 2.5)) == (1.5, 2.5)
    assert reader.read(struct.pack(">2f", 1.5, float("nan"))) is None
    assert reader.read(struct.pack(">2f", float("inf"), float("-inf"))) is None
    assert reader.read(struct.pack(">f", 1.5)) is None


@pytest.mark.parametrize(
    "tags",
    [
        [tag("a", "uint16", 0, mask=6)],
        [tag("a", "bcd16", 0)],
        [tag("a", "bool", 0)],
        [tag("a", "uint16", 0, absent=[65_535])],
        [tag("a", "uint32", 0), tag("b", "uint16", 1)],
        [tag("a", "uint32", 0, order="ABCD"), tag("b", "uint32", 2, order="CDAB")],
    ],
    ids=("mask", "decimal", "bool", "absent", "overlap", "two_orders"),
)
def test_a_block_that_is_not_plain_numbers_is_not_scanned(tags):
    assert prepare(block_of(tags, 0), {t.id: t for t in tags}, "ABCD") is None


def test_a_block_with_a_device_clock_is_not_scanned():
    block = Block("holding", 0, 5, (Item("", "holding", 0, 4), Item("a", "holding", 4, 1)))
    assert prepare(block, {"a": tag("a", "uint16", 4)}, "ABCD") is None

"""Deterministic CBOR, held to RFC 8949 section 4.2.1 by an encoder written here."""

import math
import struct
import unicodedata

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import BadProfile
from edge_agent.wire import cbor

clean = st.text(st.characters(categories=("L", "N", "P")), max_size=30).map(
    lambda text: unicodedata.normalize("NFC", text)
)
keys = clean | st.text("ab", max_size=300)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda v: v != 0 or math.copysign(1, v) > 0
    )
    | st.binary(max_size=300)
    | clean
)
level1 = st.lists(scalars, max_size=30) | st.dictionaries(keys, scalars, max_size=8)
level2 = st.lists(scalars | level1, max_size=4) | st.dictionaries(
    keys, scalars | level1, max_size=8
)
values = scalars | level1 | level2


def head(major, number):
    for info, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 24:
            return bytes([major << 5 | number])
        if number < 1 << 8 * width:
            return bytes([major << 5 | info]) + number.to_bytes(width, "big")
    raise AssertionError(number)


def shortest_float(value):
    for code, form in ((b"\xf9", ">e"), (b"\xfa", ">f")):
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return code + packed
    return b"\xfb" + struct.pack(">d", value)


def by_the_rfc(value):
    """4.2.1: shortest heads, shortest floats, keys in bytewise order of their encodings."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", True: b"\xf5", False: b"\xf4"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return shortest_float(value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(by_the_rfc, value))
    pairs = sorted((by_the_rfc(key), by_the_rfc(item)) for key, item in value.items())
    return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)


@given(values)
def test_encoding_is_that_of_the_rfc(value):
    assert cbor.encode(value) == by_the_rfc(value)


@given(values)
def test_decoding_gives_the_value_and_its_types_back(value):
    decoded = cbor.decode(by_the_rfc(value))
    assert decoded == value
    assert repr(decoded) == repr(value) or isinstance(value, dict | list)


def test_keys_of_equal_beginning_come_short_first_and_lengths_cross_head_sizes():
    value = {"b" * 23: 1, "a" * 24: 2, "a": 3, "aa": 4, "b": 5, "a" * 256: 6, "b" * 24: 7}
    assert cbor.encode(value) == by_the_rfc(value)
    assert list(cbor.decode(by_the_rfc(value))) == sorted(value, key=by_the_rfc)


@given(st.binary(max_size=60))
def test_random_bytes_are_decoded_to_the_same_bytes_or_refused(encoded):
    try:
        value = cbor.decode(encoded)
    except BadProfile:
        return
    assert by_the_rfc(value) == encoded


@given(data=st.data(), value=level2)
def test_a_changed_byte_gives_another_value_or_is_refused(data, value):
    encoded = bytearray(by_the_rfc(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        decoded = cbor.decode(bytes(encoded))
    except BadProfile:
        return
    assert by_the_rfc(decoded) == bytes(encoded)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused_unless_asked_for(value):
    encoded = cbor.encode([value])
    with pytest.raises(BadProfile):
        cbor.decode(encoded)
    assert repr(cbor.decode(encoded, finite=False)) == repr([value])


@pytest.mark.parametrize("value", [-0.0, [-0.0], [1, -0.0], {"a": [None, 0, -0.0]}, ["a", -0.0]])
def test_negative_zero_is_refused_wherever_it_stands(value):
    with pytest.raises(BadProfile):
        cbor.decode(cbor2.dumps(value, canonical=True))


def test_zero_of_either_type_is_accepted_beside_the_other():
    assert repr(cbor.decode(cbor.encode([0, 0.0, None]))) == "[0, 0.0, None]"

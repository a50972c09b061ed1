"""Packed at rest, given back to the last bit; a bomb or junk stays what it is."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.wire.cose import MAX_MESSAGE
from gateway.ledger.packing import pack, unpack


@given(st.binary(max_size=3_000).map(lambda rest: b"\xd2" + rest * 3))
def test_every_message_comes_back(raw):
    assert unpack(pack(raw)) == raw
    assert len(pack(raw)) <= len(raw)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x78",
        b"\x78\x9cjunk",
        zlib.compress(b"\xd2" * 100)[:-3],
        zlib.compress(b"\xd2" * 100) + b"more",
        zlib.compress(b"\xd2" * (MAX_MESSAGE + 1)),
    ],
)
def test_what_is_no_packed_message_stays_as_it_stands(stored):
    assert unpack(stored) == stored

"""Packed at rest, given back to the last bit; a bomb or junk stays what it is."""

import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.wire.cose import MAX_MESSAGE
from gateway.ledger.packing import Packer, unpack

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


_streamed = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
WIDE = _streamed.compress(b"\xd2" * 100) + _streamed.flush()


@given(st.binary(max_size=3_000).map(lambda rest: b"\xd2" + rest * 3))
def test_every_message_comes_back(raw):
    packed = Packer().pack(raw)
    assert unpack(packed) == raw
    assert len(packed) <= len(raw)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x78",
        b"\x78\x9cjunk",
        zlib.compress(b"\xd2" * 100)[:-3],
        zlib.compress(b"\xd2" * 100) + b"more",
        zlib.compress(b"\xd2" * (MAX_MESSAGE + 1)),
        b"\x28",
        b"\x28\xb5\x2f\xfdjunk",
        zstd.compress(b"\xd2" * 100)[:-3],
        zstd.compress(b"\xd2" * 100) + b"more",
        zstd.compress(b"\xd2" * (MAX_MESSAGE + 1)),
        WIDE,
    ],
)
def test_what_is_no_packed_message_stays_as_it_stands(stored):
    assert unpack(stored) == stored


def test_a_packer_packs_one_message_after_the_other():
    packer = Packer()
    raws = [b"\xd2" + bytes([n]) * 500 for n in range(5)]
    assert [unpack(packer.pack(raw)) for raw in raws] == raws


def test_what_older_ledgers_hold_is_still_read():
    raw = b"\xd2" * 300
    assert unpack(zlib.compress(raw, 6)) == raw

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


SOURCE = ("al-001", "gw-01")
MESSAGES = st.binary(max_size=3_000).map(lambda rest: b"\xd2" + rest * 3)


@given(st.lists(MESSAGES, max_size=6))
def test_every_message_comes_back(raws):
    packer, bases = Packer(), {None: None}
    for id_, raw in enumerate(raws, 1):
        packed, base = packer.pack(SOURCE, raw, id_)
        bases[id_] = raw
        assert unpack(packed, bases[base]) == raw


def alike(count):
    names = bytes(range(1, 250)) * 4
    return [b"\xd2" + bytes([n % 256, n // 256]) * 40 + names + bytes(66) for n in range(count)]


def test_a_batch_like_one_before_is_packed_against_it():
    packer = Packer()
    (first, alone), (second, base) = (packer.pack(SOURCE, r, n) for n, r in enumerate(alike(2), 5))
    assert (alone, base) == (None, 5)
    assert len(second) < len(first) / 4
    assert unpack(second) == second


def test_a_base_carries_a_bounded_number_and_only_its_own_agents():
    packer = Packer()
    bases = [packer.pack(SOURCE, raw, n)[1] for n, raw in enumerate(alike(600))]
    assert [place for place, base in enumerate(bases) if base is None] == [0, 256, 512]
    assert packer.pack(("al-001", "gw-02"), alike(1)[0], 1000)[1] is None


def test_after_an_error_no_base_is_used_that_may_not_have_been_kept():
    packer = Packer()

    def fail():
        with packer.forgetting():
            packer.pack(SOURCE, alike(1)[0], 1)
            message = "disk full"
            raise OSError(message)

    with pytest.raises(OSError, match="full"):
        fail()
    with packer.forgetting():
        assert packer.pack(SOURCE, alike(2)[1], 1)[1] is None
    assert packer.pack(SOURCE, alike(3)[2], 2)[1] == 1


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


def test_what_older_ledgers_hold_is_still_read():
    raw = b"\xd2" * 300
    assert unpack(zlib.compress(raw, 6)) == raw

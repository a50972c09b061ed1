"""Signed bytes at rest: deflated where that is smaller, given back to the last bit.

A signed message begins with 0xD2 (COSE tag 18), a zlib stream with 0x78, so the first byte tells.
What cannot be unpacked is given as it stands: it then fails its signature, which names it.
"""

import zlib

from edge_agent.wire.cose import MAX_MESSAGE

_LEVEL = 6
_ZLIB = 0x78


def pack(raw: bytes) -> bytes:
    """The bytes to keep."""
    packed = zlib.compress(raw, _LEVEL)
    return packed if len(packed) < len(raw) and raw[:1] != packed[:1] else raw


def unpack(stored: bytes) -> bytes:
    """The bytes that were packed; never more than a message may be long."""
    if stored[:1] != bytes([_ZLIB]):
        return stored
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(stored, MAX_MESSAGE)
    except zlib.error:
        return stored
    return raw if stream.eof and not stream.unused_data else stored

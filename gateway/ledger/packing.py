"""Signed bytes at rest: packed with Zstandard (RFC 8878) where that is smaller.

A signed message begins with 0xD2 (COSE tag 18), a Zstandard frame with 0x28, a zlib stream, which
ledgers from before hold, with 0x78: the first byte tells. What cannot be unpacked is given as it
stands: it then fails its signature, which names it.
"""

import sys
import zlib

from edge_agent.wire.cose import MAX_MESSAGE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = 3
_ZSTD, _ZLIB = 0x28, 0x78
_WINDOW_LOG = 19
"""Window of 512 KiB at most: no message needs more, whatever a frame says of itself."""


class Packer:
    """Packs messages; belongs to one thread."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(level=_LEVEL)

    def pack(self, raw: bytes) -> bytes:
        """The bytes to keep."""
        packed = self._compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)
        return packed if len(packed) < len(raw) and raw[:1] != packed[:1] else raw


def unpack(stored: bytes) -> bytes:
    """The bytes that were packed; never more than a message may be long."""
    stream: zstd.ZstdDecompressor | zlib._Decompress
    if stored[:1] == bytes([_ZSTD]):
        options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG}
        stream = zstd.ZstdDecompressor(options=options)
    elif stored[:1] == bytes([_ZLIB]):
        stream = zlib.decompressobj()
    else:
        return stored
    try:
        raw = stream.decompress(stored, MAX_MESSAGE)
    except (zlib.error, zstd.ZstdError):
        return stored
    return raw if stream.eof and not stream.unused_data else stored

"""Signed bytes at rest: packed with Zstandard (RFC 8878) where that is smaller.

An agent's batches are much alike, so most are packed against an earlier batch of the same series,
their *base*, whose bytes serve as the dictionary: a third of the bytes at half the cost. A base is
packed by itself and carries a bounded number of others, which bounds what one damaged row takes
with it.

A signed message begins with 0xD2 (COSE tag 18), a Zstandard frame with 0x28, a zlib stream, which
ledgers from before hold, with 0x78: the first byte tells. What cannot be unpacked is given as it
stands: it then fails its signature, which names it.
"""

import sys
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edge_agent.wire.cose import MAX_MESSAGE

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = 1
_ZSTD, _ZLIB = 0x28, 0x78
_WINDOW_LOG = 19
"""Window of 512 KiB at most: no message needs more, whatever a frame says of itself."""
_ON_A_BASE = 255
_LEAST_BASE = 200
_BASES = 256
_NAMES = slice(-130, -66)
"""Where the last names of a batch's series stand, before the signature."""


@dataclass(slots=True)
class _Base:
    id: int
    raw: bytes
    used: int = 0
    compressor: zstd.ZstdCompressor | None = None

    def pack(self, raw: bytes) -> bytes:
        """A message packed against this one."""
        if self.compressor is None:
            dictionary = zstd.ZstdDict(self.raw, is_raw=True)
            self.compressor = zstd.ZstdCompressor(
                level=_LEVEL, zstd_dict=dictionary.as_undigested_dict
            )
        self.used += 1
        return self.compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)


class Packer:
    """Packs messages; belongs to one thread."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(level=_LEVEL)
        self._bases: OrderedDict[tuple[str, str, bytes], _Base] = OrderedDict()

    def pack(self, source: tuple[str, str], raw: bytes, id_: int) -> tuple[bytes, int | None]:
        """The bytes to keep under a number, and the number of the base they need.

        Args:
            source: whose message it is; only its own earlier ones are bases.
            raw: the message.
            id_: the number under which the result will be kept.
        """
        key = (*source, raw[_NAMES])
        base = self._bases.get(key)
        if base is not None and base.used < _ON_A_BASE:
            self._bases.move_to_end(key)
            return base.pack(raw), base.id
        if len(raw) >= _LEAST_BASE:
            self._bases[key] = _Base(id_, raw)
            self._bases.move_to_end(key)
            if len(self._bases) > _BASES:
                self._bases.popitem(last=False)
        packed = self._compressor.compress(raw, zstd.ZstdCompressor.FLUSH_FRAME)
        return (packed if len(packed) < len(raw) else raw), None

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Forget all bases when the block is left by an error: they may not have been kept."""
        done = False
        try:
            yield
            done = True
        finally:
            if not done:
                self._bases.clear()


def unpack(stored: bytes, base: bytes | None = None) -> bytes:
    """The bytes that were packed, against a base's bytes; never more than a message may be long."""
    stream: zstd.ZstdDecompressor | zlib._Decompress
    try:
        if stored[:1] == bytes([_ZSTD]):
            options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG}
            dictionary = zstd.ZstdDict(base, is_raw=True) if base else None
            stream = zstd.ZstdDecompressor(zstd_dict=dictionary, options=options)
        elif stored[:1] == bytes([_ZLIB]):
            stream = zlib.decompressobj()
        else:
            return stored
        raw = stream.decompress(stored, MAX_MESSAGE)
    except (zlib.error, zstd.ZstdError, ValueError):
        return stored
    return raw if stream.eof and not stream.unused_data else stored

"""Bounds for the library's binary decoder, which trusts the lengths it reads.

1. A list of structures declares at most ``MAX_ELEMENTS``, one of nothing (Null) no element: each
   would cost memory that the message did not pay for.
2. A negative length other than -1 (none) is an error: it would read backwards.
"""

import functools
import struct
from collections.abc import Callable
from typing import Any

from asyncua import ua
from asyncua.ua import ua_binary
from asyncua.ua.uaerrors import UaError

MAX_ELEMENTS = 100_000
UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
    TypeError, ValueError, struct.error,
)  # fmt: skip
"""What decoding a malformed answer can raise inside the library, beside UaError."""


@functools.cache
def bound() -> None:
    """Put the checks before the library's decoders, once."""
    names = vars(ua_binary)
    names["unpack_uatype_array"] = _bounded_array(names["unpack_uatype_array"])
    names["_create_list_deserializer"] = _bounded_list(names["_create_list_deserializer"])
    text = names["_Bytes"]
    text.unpack = staticmethod(_bounded_bytes(text.unpack))


def _length(stream: Any, most: int | None) -> None:
    """Check the length at the head of the stream; it stays there."""
    length = int(ua_binary.Primitives.Int32.unpack(stream.copy(4)))
    if length < -1 or (most is not None and length > most):
        raise UaError(f"a list or text of {length} elements")


def _bounded_array(decode: Callable[..., Any]) -> Callable[..., Any]:
    primitives = vars(ua_binary.Primitives1)

    def bounded(vtype: ua.VariantType, stream: Any) -> Any:
        if vtype is ua.VariantType.Null:
            _length(stream, 0)
        else:  # a primitive is paid for by its bytes
            _length(stream, None if getattr(vtype, "name", "") in primitives else MAX_ELEMENTS)
        return decode(vtype, stream)

    return bounded


def _bounded_list(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.cache
    def bounded(uatype: Any) -> Callable[[Any], Any]:
        decode = make(uatype)

        def read(stream: Any) -> Any:
            _length(stream, MAX_ELEMENTS)
            return decode(stream)

        return read

    return bounded


def _bounded_bytes(decode: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(stream: Any) -> Any:
        _length(stream, None)
        return decode(stream)

    return bounded

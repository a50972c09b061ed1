"""Deterministic CBOR (RFC 8949 section 4.2.1) of the wire's profile.

Allowed: integers in 64 bits, byte strings, NFC text without control characters, arrays, maps
with text keys, false, true, null, floats in their shortest form; depth at most 6. Forbidden:
tags, indefinite lengths, other simple values, negative zero, duplicate keys. For text-only keys
the length-first order that the library writes and the bytewise order of 4.2.1 agree.
Non-finite floats are refused unless the caller asks to see them.
"""

import math
import unicodedata
from typing import Any

import cbor2

from edge_agent.errors import BadProfile

MAX_DEPTH = 6
_TAGS_REFUSED = 512
_TEXT = frozenset({str})
_PLAIN_NUMBERS = frozenset({int, float, type(None)})


def _refuse_tag(*_args: object, **_kwargs: object) -> Any:
    message = "CBOR tags are not allowed"
    raise BadProfile(message)


_NO_TAGS: Any = dict.fromkeys(range(_TAGS_REFUSED), _refuse_tag)


def encode(value: Any) -> bytes:
    """Deterministic bytes of a value built from the profile's types.

    Negative zero must not be in it: ``decode`` of the result would refuse it.
    """
    return cbor2.dumps(value, canonical=True)


def decode(encoded: bytes, *, finite: bool = True) -> Any:
    """The value of profile-conforming bytes; every other byte string is refused.

    Args:
        encoded: the whole message, nothing behind it.
        finite: refuse NaN and infinities too.

    Raises:
        BadProfile: the bytes are not deterministic CBOR of the profile.
    """
    value = load(encoded)
    check(value, finite=finite)
    return value


def load(encoded: bytes, *, canonical: bool = True) -> Any:
    """The value of deterministic bytes, which ``check`` has still to see.

    Decodes with tags, indefinite lengths and duplicate keys refused, encodes the value again and
    compares bytes, so that one value has one encoding.

    Args:
        encoded: the whole message, nothing behind it.
        canonical: False is much faster for maps, and leaves it to the caller to see that their
            keys are in order; only floats that need 64 bits are then taken.

    Raises:
        BadProfile: the bytes are not deterministic CBOR, or hold tags.
    """
    try:
        value = cbor2.loads(
            encoded,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            tag_hook=_refuse_tag,
            semantic_decoders=_NO_TAGS,
        )
    except (cbor2.CBORDecodeError, ValueError, OverflowError, MemoryError) as error:
        message = f"not decodable: {error}"
        raise BadProfile(message) from error
    if cbor2.dumps(value, canonical=canonical) != encoded:
        message = "not in deterministic form"
        raise BadProfile(message)
    return value


def clean(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A value of the profile that says the same as far as the profile can.

    Texts come from devices and libraries: they are put in NFC, what cannot be printed becomes
    ``?``. Floats that are not finite become null, negative zero becomes zero, integers beyond 64
    bits and what lies deeper than ``depth`` become text.
    """
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value)
        return "".join(letter if letter.isprintable() else "?" for letter in text)
    if isinstance(value, float):
        return (value or 0.0) if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, list | tuple | dict):
        return _clean_container(value, depth)
    return value


def _clean_container(value: Any, depth: int) -> Any:
    if depth <= 1:
        return clean(str(value))
    if isinstance(value, dict):
        return {clean(str(key)): clean(item, depth - 1) for key, item in value.items()}
    return [clean(item, depth - 1) for item in value]


def all_finite(value: Any) -> bool:
    """Whether no float inside is NaN or infinite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(all_finite, value.values()))
    return not isinstance(value, list) or all(map(all_finite, value))


def check(value: Any, *, finite: bool) -> None:
    """Refuse every item outside the profile; depth is bounded by the decoder already.

    Raises:
        BadProfile: there is one.
    """
    kind = type(value)
    if kind is float:
        _check_floats((value,), finite=finite)
    elif kind is str:
        _check_text(value)
    elif kind is list:
        _walk_list(value, finite=finite)
    elif kind is dict:
        _walk_map(value, finite=finite)
    elif kind not in (int, bool, bytes, type(None)):
        message = f"{kind.__name__} is not allowed"
        raise BadProfile(message)


def _walk_list(value: list[Any], *, finite: bool) -> None:
    kinds = set(map(type, value))
    if kinds == _TEXT:
        _check_texts(value)
    elif not kinds <= _PLAIN_NUMBERS:
        for item in value:
            check(item, finite=finite)
    elif float in kinds:
        _check_floats(value, finite=finite)


def _walk_map(value: dict[Any, Any], *, finite: bool) -> None:
    for key, item in value.items():
        if type(key) is not str:
            message = "map keys must be text"
            raise BadProfile(message)
        _check_text(key)
        check(item, finite=finite)


def _check_floats(values: Any, *, finite: bool) -> None:
    if 0.0 in values and any(
        value == 0.0 and type(value) is float and math.copysign(1.0, value) < 0 for value in values
    ):
        message = "negative zero"
        raise BadProfile(message)
    if finite and not all(value is None or math.isfinite(value) for value in values):
        message = "a number is not finite"
        raise BadProfile(message)


def _check_texts(texts: list[str]) -> None:
    """Many texts at once: they are printable ASCII if what they make together is."""
    together = "".join(texts)
    if not (together.isascii() and together.isprintable()):
        for text in texts:
            _check_text(text)


def _check_text(text: str) -> None:
    if text.isascii():
        if text.isprintable():
            return
    elif text.isprintable() and unicodedata.is_normalized("NFC", text):
        return
    message = "text must be NFC and free of control characters"
    raise BadProfile(message)

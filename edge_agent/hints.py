"""What would be right, for the mistakes that people make most when they write YAML by hand."""

import unicodedata
from collections.abc import Mapping

_WIDE = dict(zip("：，　“”‘’｛｝［］（）＃－", ":, \"\"''{}[]()#-", strict=True))
_ENCODINGS = ("gb18030", "utf-16")
_IN_WORDS = {
    "list_type": "a list is right: lines that begin with -, or [a, b]",
    "tuple_type": "a list is right: lines that begin with -, or [a, b]",
    "dict_type": "a map of keys is right",
    "model_type": "a map of keys is right",
    "model_attributes_type": "a map of keys is right",
    "string_type": "a text is right; in quotes a number or a date is one",
    "float_parsing": "a number is right, without its unit",
    "int_parsing": "a whole number is right, without its unit",
    "bool_parsing": "true or false is right",
}
_PROBLEMS = {
    "found a tab character": "spaces are right, tabs are not",
    "did not find expected '-' indicator": "the keys of one map begin in one column",
    "did not find expected key": "the keys of one map begin in one column",
    "mapping values are not allowed": "one key a line, and the keys of one map in one column",
    "could not find expected ':'": "'key: value' is right, with a space after the colon",
    "found undefined alias": "a text that begins with * or & must be quoted",
    "found another document": "one document a file is right, without ---",
    "unexpected end of stream": "a quote that is opened must be closed",
    "did not find expected ',' or '}'": "'{a: 1, b: 2}' is right, with both braces",
    "did not find expected ',' or ']'": "'[a, b]' is right, with both brackets",
}


def of_yaml(text: str, line: int, problem: str) -> tuple[str, str]:
    """The text of the line where YAML ends to be YAML (from 1), and what would be right.

    A full-width sign is often noticed a line after it stands.
    """
    lines = text.splitlines()
    for number in (line, line - 1):
        written = lines[number - 1].partition(" #")[0] if 0 < number <= len(lines) else ""
        for column, sign in enumerate(written, 1):
            if sign in _WIDE:
                name = unicodedata.name(sign).lower()
                right = f"line {number}, column {column} holds {sign!r} ({name}): "
                return written.strip(), right + f"{_WIDE[sign]!r} is right"
    written = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    hints = [right for told, right in _PROBLEMS.items() if told in problem]
    return written, hints[0] if hints else ""


def of_bytes(raw: bytes, place: int) -> tuple[int, str]:
    """The line of a byte that is no UTF-8 (from 1), and what the file may be instead."""
    line = raw.count(b"\n", 0, place) + 1
    for encoding in _ENCODINGS:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if ":" in text:
            return line, f"it looks like {encoding.upper()}; save it as UTF-8"
    return line, "save it as UTF-8"


def of_value(kind: str, context: Mapping[str, object]) -> str:
    """What would be right for a kind of error of pydantic's; empty when its message says it."""
    pattern = str(context.get("pattern", ""))
    if kind == "string_pattern_mismatch" and pattern.startswith("^[a-z0-9]["):
        signs = "digits, _ and -" if "." not in pattern else "digits, _, . and -"
        return f"small letters, {signs} are right, a letter or digit first"
    return _IN_WORDS.get(kind, "")


def of_key(key: object, hint: str) -> str:
    """What to say of an unknown key, when the nearest known one is the key itself."""
    return "other parts have it, this one does not" if repr(key) in hint else hint

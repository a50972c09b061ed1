"""A tag with ``repeat: {from: 1, to: 24}`` stands for one tag a number.

``{n}`` (or ``{n:03d}``) in its texts is the number.
"""

from typing import Any

from edge_agent import documents
from edge_agent.documents import Document

_MAX_REPEAT = 2_000


def expand(document: Document) -> Document:
    """The document with every repeated tag written out.

    Raises:
        ConfigError: a ``repeat`` is none, or a text holds other braces.
    """
    origins: dict[documents.Path_, documents.Path_] = {}
    devices = document.value.get("devices")
    for place, device in enumerate(devices if isinstance(devices, list) else []):
        if not isinstance(device, dict) or not isinstance(device.get("tags"), list):
            continue
        if not any(isinstance(tag, dict) and "repeat" in tag for tag in device["tags"]):
            continue
        tags: list[Any] = []
        for number, tag in enumerate(device["tags"]):
            key = ("devices", place, "tags", number)
            for copy in _repeated(tag, key, document):
                origins[("devices", place, "tags", len(tags))] = key
                tags.append(copy)
        device["tags"] = tags
    return document.rearranged(origins)


def _repeated(tag: Any, key: documents.Path_, document: Document) -> list[Any]:
    if not isinstance(tag, dict) or "repeat" not in tag:
        return [tag]
    repeat = tag["repeat"]
    right = "repeat: {from: 1, to: 24} is right"
    if not isinstance(repeat, dict) or repeat.keys() != {"from", "to"}:
        raise document.error((*key, "repeat"), f"found {repeat!r}", right)
    first, last = repeat["from"], repeat["to"]
    if type(first) is not int or type(last) is not int or not 0 <= last - first < _MAX_REPEAT:
        raise document.error((*key, "repeat"), f"found {repeat!r}", right)
    rest = {name: value for name, value in tag.items() if name != "repeat"}
    try:
        return [
            {
                name: documents.numbered(value, n) if isinstance(value, str) else value
                for name, value in rest.items()
            }
            for n in range(first, last + 1)
        ]
    except ValueError as error:
        raise document.error(key, str(error), "{n} or {n:03d} is right") from None

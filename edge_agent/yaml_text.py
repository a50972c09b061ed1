"""YAML text to plain values, event by event, without a tree of the whole file in between.

The tree that PyYAML's composer makes takes some fifty times the memory of the text, and the allocator
keeps the room for as long as the program runs. What is written in a way that needs the tree
(aliases), or is wrong, is left to it: it can say where.
"""

import sys
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C: a tenth of the time and half the memory
MOST_DEPTH = 40
_STR = "tag:yaml.org,2002:str"
_SCALARS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "binary", "timestamp", "str")
}


class Unusual(Exception):
    """The text needs the tree."""


def plain(text: str) -> Any:
    """The value of a YAML text; an empty one is an empty map.

    Raises:
        Unusual: only the tree can tell.
    """
    loader = LOADER(text)
    try:
        loader.get_event()  # the stream begins
        if loader.check_event(yaml.StreamEndEvent):
            return {}
        loader.get_event()  # the document begins
        value = _value(loader, loader.get_event(), 0)
        loader.get_event()  # the document ends
        if not loader.check_event(yaml.StreamEndEvent):
            raise Unusual
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Unusual from error
    else:
        return value
    finally:
        loader.dispose()


def _value(loader: Any, event: Any, depth: int) -> Any:
    if depth > MOST_DEPTH:
        raise Unusual
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(loader, event)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(item := loader.get_event(), yaml.SequenceEndEvent):
            items.append(_value(loader, item, depth + 1))
        return items
    if isinstance(event, yaml.MappingStartEvent):
        return _map(loader, depth)
    raise Unusual


def _map(loader: Any, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not isinstance(key := loader.get_event(), yaml.MappingEndEvent):
        if not isinstance(key, yaml.ScalarEvent) or key.value in found:
            raise Unusual
        found[sys.intern(key.value)] = _value(loader, loader.get_event(), depth + 1)
    return found


def _scalar(loader: Any, event: Any) -> Any:
    tag = event.tag
    if tag is None or tag == "!":
        tag = loader.resolve(yaml.ScalarNode, event.value, event.implicit)
    if tag == _STR:
        return event.value
    if tag not in _SCALARS:
        raise Unusual
    node = yaml.ScalarNode(tag, event.value)
    return loader.yaml_constructors[tag](loader, node)

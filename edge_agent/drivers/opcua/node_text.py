"""How a node is written: ``nsu=URI;s=name``, ``ns=2;s=name`` or plain; ids i, s, g and b.

Read without the OPC UA library (OPC 10000-6, 5.3.1.10), which a plant without OPC UA never loads.
"""

import base64
import binascii
import re
import uuid
from dataclasses import dataclass

_NODE = re.compile(
    r"(?:nsu=(?P<uri>.+?);|ns=(?P<index>[0-9]+);)?(?P<kind>[isgb])=(?P<id>.+)", re.DOTALL
)
_INDEX_TOO = re.compile(r";ns=[0-9]+\Z")
_NUMBER = re.compile(r"[0-9]+")
_MAX_NUMBER = 2**32 - 1
_MAX_INDEX = 2**16 - 1


@dataclass(frozen=True, slots=True)
class NodeText:
    """A node's namespace, by URI or by index (0 where none is written), and ``s=name`` behind it."""

    uri: str | None
    index: int
    rest: str


def node_text(text: str) -> NodeText:
    """The parts of a node's text.

    Raises:
        ValueError: it is not a node.
    """
    match = _NODE.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a node: nsu=URI;s=name or ns=2;s=name (or i=, g=, b=)"
        raise ValueError(message)
    index = int(match["index"] or 0)
    wrong = _wrong_id(match["kind"], match["id"])
    if match["uri"] is not None and _INDEX_TOO.search(match["uri"]):
        wrong = "either nsu= or ns= is right, not both"
    if index > _MAX_INDEX:
        wrong = f"ns={index} is above {_MAX_INDEX}"
    if wrong:
        message = f"{text!r} is not a node: {wrong}"
        raise ValueError(message)
    return NodeText(match["uri"], index, f"{match['kind']}={match['id']}")


def _wrong_id(kind: str, text: str) -> str:
    if kind == "i" and not (_NUMBER.fullmatch(text) and int(text) <= _MAX_NUMBER):
        return f"i= takes a whole number of at most {_MAX_NUMBER}"
    try:
        if kind == "g":
            uuid.UUID(text)
        elif kind == "b":
            base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        return f"{kind}= takes a {'GUID' if kind == 'g' else 'text in base64'} ({error})"
    return ""

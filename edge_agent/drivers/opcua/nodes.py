"""Names of nodes: ``nsu=URI;s=name``, resolved against the namespaces of one connection."""

import re
from collections.abc import Sequence

from asyncua import ua
from asyncua.ua.uaerrors import UaError

_NODE = re.compile(r"(?:nsu=(?P<uri>.+?);)?(?P<rest>(?:ns=\d+;)?[isgb]=.+)", re.DOTALL)


def node_id(text: str, namespaces: Sequence[str] | None) -> ua.NodeId | None:
    """The node id; None when its ``nsu=`` URI is not among the namespaces.

    Without namespaces the text is only checked. Raises ValueError when it is not a node id.
    """
    match = _NODE.fullmatch(text)
    uri = match["uri"] if match else None
    if match is None or (uri is not None and match["rest"].startswith("ns=")):
        message = f"{text!r} is not a node: nsu=URI;s=name or ns=2;s=name (or i=, g=, b=)"
        raise ValueError(message)
    index = ""
    if uri is not None:
        if namespaces is not None and uri not in namespaces:
            return None
        index = f"ns={namespaces.index(uri) if namespaces is not None else 0};"
    try:
        return ua.NodeId.from_string(index + match["rest"])
    except (UaError, ValueError) as error:
        message = f"{text!r} is not a node: {error}"
        raise ValueError(message) from error


def name_of(node: ua.NodeId, namespaces: Sequence[str]) -> str:
    """The text that finds this node again on a server whose indexes changed."""
    plain = node.to_string()
    index = int(node.NamespaceIndex)
    if index == 0:
        return plain
    rest = plain.partition(";")[2]
    if not 0 < index < len(namespaces):
        return plain
    return f"nsu={namespaces[index]};{rest}"

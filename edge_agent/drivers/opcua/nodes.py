"""Names of nodes: ``nsu=URI;s=name``, resolved against the namespaces of one connection."""

from collections.abc import Sequence

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from edge_agent.drivers.opcua.node_text import node_text


def node_id(text: str, namespaces: Sequence[str]) -> ua.NodeId | None:
    """The node id; None when its ``nsu=`` URI is not among the namespaces.

    Raises:
        ValueError: it is not a node id.
    """
    node = node_text(text)
    if node.uri is not None and node.uri not in namespaces:
        return None
    index = node.index if node.uri is None else namespaces.index(node.uri)
    try:
        return ua.NodeId.from_string(f"ns={index};{node.rest}")
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

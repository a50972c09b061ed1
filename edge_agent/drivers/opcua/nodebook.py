"""Which node each tag is on this connection, and which tags are missing."""

import logging
from collections.abc import Iterable, Sequence

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge_agent.drivers.base import Reading
from edge_agent.drivers.opcua.client import BoundedClient
from edge_agent.drivers.opcua.config import OpcUaConfig, OpcUaTag
from edge_agent.drivers.opcua.nodes import node_id
from edge_agent.readings import BAD_DEVICE, Sample

MAX_NAMESPACES = 10_000
_GONE = frozenset({StatusCodes.BadNodeIdUnknown, StatusCodes.BadNodeIdInvalid})
_log = logging.getLogger(__name__)


def is_gone(status: ua.StatusCode | None) -> bool:
    """True when the server says that it has no such node."""
    return status is not None and status.value in _GONE


class Nodebook:
    """The nodes of a device's tags; ``nsu=`` names are resolved anew on every connection."""

    def __init__(self, config: OpcUaConfig) -> None:
        """Nothing is resolved yet."""
        self._device = config.id
        self._tags = config.tags
        self.nodes: dict[str, ua.NodeId] = {}
        self.missing: dict[str, OpcUaTag] = {}

    def forget(self) -> None:
        """A new connection begins."""
        self.nodes.clear()
        self.missing.clear()

    async def resolve(self, client: BoundedClient) -> list[OpcUaTag]:
        """Look up the namespaces; gives the tags that have a node now and had none before."""
        namespaces = (await client.get_namespace_array())[:MAX_NAMESPACES]
        found = []
        for tag in self._tags:
            if tag.id in self.nodes:
                continue
            node = node_id(tag.node, namespaces)
            if node is None:
                self.lose(tag, "its namespace is not on the server")
            else:
                self.nodes[tag.id] = node
                found.append(tag)
        return found

    def lose(self, tag: OpcUaTag, why: str) -> None:
        """This tag's node is not there; said once."""
        self.nodes.pop(tag.id, None)
        if tag.id not in self.missing:
            self.missing[tag.id] = tag
            fields = {"device": self._device, "tag": tag.id, "node": tag.node, "why": why}
            _log.warning("node_missing %s", fields)

    def find(self, tags: Iterable[OpcUaTag]) -> None:
        """These tags' nodes are there."""
        for tag in tags:
            if self.missing.pop(tag.id, None) is not None:
                fields = {"device": self._device, "tag": tag.id, "node": tag.node}
                _log.info("node_found %s", fields)

    def bad(self, now_ns: int) -> Sequence[Reading]:
        """One bad sample for each tag that is missing."""
        return [Sample(tag, now_ns, None, BAD_DEVICE) for tag in self.missing]

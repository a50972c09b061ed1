"""Service calls on many nodes: read and monitor in portions that the server accepts."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from asyncua import ua
from asyncua.common.subscription import Subscription
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from edge_agent.drivers.opcua.client import BoundedClient
from edge_agent.drivers.opcua.config import Deadband, OpcUaConfig, OpcUaTag
from edge_agent.errors import BadAnswer

_PER_CALL = 500
_TOO_MANY = frozenset({StatusCodes.BadTooManyOperations, StatusCodes.BadResponseTooLarge})
_NO_FILTER = frozenset(
    {
        StatusCodes.BadFilterNotAllowed,
        StatusCodes.BadMonitoredItemFilterUnsupported,
        StatusCodes.BadMonitoredItemFilterInvalid,
        StatusCodes.BadDeadbandFilterInvalid,
    }
)


class Portions:
    """How many nodes a call may name; halved when the server finds them too many."""

    def __init__(self) -> None:
        """Begin with as many as servers usually take."""
        self.size = _PER_CALL

    def shrink(self, error: UaStatusCodeError) -> bool:
        """True when a smaller portion is worth a try."""
        if error.code not in _TOO_MANY or self.size == 1:
            return False
        self.size //= 2
        return True


async def read_values(
    client: BoundedClient, nodes: Mapping[str, ua.NodeId], portions: Portions
) -> dict[str, ua.DataValue]:
    """The current value of each tag's node.

    Raises BadAnswer when the server answers for more or fewer nodes than were asked.
    """
    waiting, answers = list(nodes.items()), dict[str, ua.DataValue]()
    while waiting:
        part = waiting[: portions.size]
        parameters = ua.ReadParameters(
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            NodesToRead=[
                ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for _, node in part
            ],
        )
        try:
            results = await client.uaclient.session.read(parameters)
        except UaStatusCodeError as error:
            if portions.shrink(error):
                continue
            raise
        if len(results) != len(part):
            raise BadAnswer(f"{len(results)} values for {len(part)} nodes")
        answers.update(zip((tag for tag, _ in part), results, strict=True))
        waiting = waiting[len(part) :]
    return answers


class Monitor:
    """Creates the monitored items of a subscription, one a tag."""

    def __init__(self, config: OpcUaConfig, subscription: Subscription, portions: Portions) -> None:
        """The subscription exists; nothing is monitored yet."""
        self._config = config
        self._subscription = subscription
        self._portions = portions
        self._handle = 0
        self.tags: dict[int, OpcUaTag] = {}
        self._items: dict[str, int] = {}

    async def add(
        self, tags: Sequence[OpcUaTag], nodes: Mapping[str, ua.NodeId]
    ) -> dict[str, ua.StatusCode]:
        """Monitor these tags; gives the status of those that were refused.

        A filter that the server does not know is left out: it would only have saved traffic.
        """
        refused = await self._add(tags, nodes, with_filter=True)
        again = [
            tag
            for tag in tags
            if tag.server_deadband and tag.id in refused and _no_filter(refused[tag.id])
        ]
        if again:
            for tag in again:
                refused.pop(tag.id)
            refused |= await self._add(again, nodes, with_filter=False)
        return refused

    async def drop(self, tag: OpcUaTag) -> None:
        """Monitor this tag no longer, whatever the server says to that."""
        item = self._items.pop(tag.id, None)
        if item is not None:
            with contextlib.suppress(UaError):
                await self._subscription.unsubscribe(item)

    async def _add(
        self, tags: Sequence[OpcUaTag], nodes: Mapping[str, ua.NodeId], *, with_filter: bool
    ) -> dict[str, ua.StatusCode]:
        refused: dict[str, ua.StatusCode] = {}
        waiting = list(tags)
        while waiting:
            part = waiting[: self._portions.size]
            requests = [self._request(tag, nodes[tag.id], with_filter=with_filter) for tag in part]
            try:
                results = await self._subscription.create_monitored_items(requests)
            except UaStatusCodeError as error:
                if self._portions.shrink(error):
                    continue
                raise
            if len(results) != len(part):
                raise BadAnswer(f"{len(results)} monitored items for {len(part)} nodes")
            for tag, result in zip(part, results, strict=True):
                if isinstance(result, ua.StatusCode):
                    refused[tag.id] = result
                else:
                    self._items[tag.id] = result
            waiting = waiting[len(part) :]
        return refused

    def _request(self, tag: OpcUaTag, node: ua.NodeId, *, with_filter: bool) -> Any:
        config = self._config
        self._handle += 1
        self.tags[self._handle] = tag
        sampling_ms = config.sampling_ms if tag.sampling_ms is None else tag.sampling_ms
        parameters = ua.MonitoringParameters(
            ClientHandle=self._handle,
            SamplingInterval=sampling_ms,
            QueueSize=tag.queue_size or config.queue_size,
            DiscardOldest=tag.discard == "oldest",
        )
        if with_filter and tag.server_deadband is not None:
            parameters.Filter = _filter(tag.server_deadband)
        return ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=parameters,
        )


def _no_filter(status: ua.StatusCode) -> bool:
    return status.value in _NO_FILTER


def _filter(deadband: Deadband) -> ua.DataChangeFilter:
    kind = ua.DeadbandType.Absolute if deadband.absolute is not None else ua.DeadbandType.Percent
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValue,
        DeadbandType=kind,
        DeadbandValue=deadband.absolute or deadband.percent or 0.0,
    )

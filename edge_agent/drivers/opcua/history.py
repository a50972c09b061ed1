"""Raw history of variables, page by page (OPC 10000-11, ReadRaw).

A server that has no history for a node, loses its place, or does not come to an end costs that
node's history, nothing else; places it keeps for us (continuation points) are given back.
"""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence

from asyncua import ua
from asyncua.ua.uaerrors import UaStatusCodeError

from edge_agent.drivers.opcua.client import BoundedClient
from edge_agent.drivers.opcua.values import stamp_of, time_of
from edge_agent.errors import BadAnswer

MAX_PAGES = 1_000
_log = logging.getLogger(__name__)


async def read_history(
    client: BoundedClient,
    nodes: Mapping[str, ua.NodeId],
    starts_ns: Mapping[str, int],
    end_ns: int,
    page: int,
) -> AsyncGenerator[tuple[str, Sequence[ua.DataValue]], None]:
    """Tag id and values, rising in source time, from the tag's start up to ``end_ns``.

    A value outside the stretch, without a source time or not later than the one before is left
    out. Raises what the library raises when the connection is lost.
    """
    for tag, node in nodes.items():
        newest_ns, place = starts_ns[tag] - 1, None
        for _ in range(MAX_PAGES):
            values, place = await _page(client, node, (newest_ns + 1, end_ns), page, place)
            kept = []
            for value in values:
                time_ns = time_of(value.SourceTimestamp)
                if time_ns is not None and newest_ns < time_ns < end_ns:
                    kept.append(value)
                    newest_ns = time_ns
            if kept:
                yield tag, kept
            if place is None or not kept:  # the end, or no progress
                break
        if place is not None:
            _log.warning("history_unfinished %s", {"tag": tag, "until_ns": newest_ns})
            await _page(client, node, (newest_ns + 1, end_ns), page, place, release=True)


async def _page(
    client: BoundedClient,
    node: ua.NodeId,
    span_ns: tuple[int, int],
    page: int,
    place: bytes | None,
    *,
    release: bool = False,
) -> tuple[Sequence[ua.DataValue], bytes | None]:
    """One answer: the values and where the next page begins."""
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False,
        StartTime=stamp_of(span_ns[0]),
        EndTime=stamp_of(span_ns[1]),
        NumValuesPerNode=page,
        ReturnBounds=False,
    )
    parameters = ua.HistoryReadParameters(
        HistoryReadDetails=details,
        TimestampsToReturn=ua.TimestampsToReturn.Both,
        ReleaseContinuationPoints=release,
        NodesToRead=[ua.HistoryReadValueId(NodeId=node, ContinuationPoint=place)],
    )
    try:
        results = await client.uaclient.session.history_read(parameters)
    except UaStatusCodeError as error:
        _log.warning("history_refused %s", {"node": node.to_string(), "why": str(error)})
        return (), None
    if release:
        return (), None
    if len(results) != 1:
        raise BadAnswer(f"{len(results)} histories for one node")
    result = results[0]
    if not result.StatusCode.is_good():
        fields = {"node": node.to_string(), "why": result.StatusCode.name}
        _log.warning("history_refused %s", fields)
        return (), None
    values = result.HistoryData.DataValues if isinstance(result.HistoryData, ua.HistoryData) else ()
    return values or (), result.ContinuationPoint or None

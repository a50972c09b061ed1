"""What a server has: a walk over its variables, bounded in nodes, depth and time.

1. Nodes are visited once, breadth first; what is not visited because a bound was reached is said.
2. A server that goes on with continuation points that bring nothing new is left; so is a list that
   does not end.
3. Texts from the server are shortened and stripped of control characters before they are shown.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import cast

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaStatusCodeError

from edge_agent.drivers.opcua.client import BoundedClient
from edge_agent.drivers.opcua.nodes import name_of

_PAGE = 1_000
_MAX_PAGES = 100
_LONGEST_TEXT = 80
_WANTED = (
    AttributeIds.Value,
    AttributeIds.AccessLevel,
    AttributeIds.DataType,
    AttributeIds.ValueRank,
)
_WRITE_BIT = 2  # AccessLevelType, OPC 10000-3: CurrentWrite


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a walk ends; ``seconds`` for all of it."""

    nodes: int = 2_000
    depth: int = 8
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One node; the later fields are filled for variables only."""

    depth: int
    name: str
    node: str
    is_variable: bool
    data_type: str = ""
    value: str = ""
    unit: str = ""
    is_writable: bool = False
    is_array: bool = False


@dataclass(slots=True)
class Walk:
    """A walk in progress; ``cut`` names the bound that ended it early."""

    client: BoundedClient
    bounds: Bounds = Bounds()
    cut: str = ""
    _namespaces: Sequence[str] = ()
    _seen: set[ua.NodeId] = field(default_factory=set)

    async def entries(self) -> AsyncGenerator[Entry, None]:
        """All nodes below Objects, except the server's own, parents before children."""
        self._namespaces = await self.client.get_namespace_array()
        waiting = deque([(0, _standard(ObjectIds.ObjectsFolder))])
        self._seen.add(_standard(ObjectIds.Server))
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.bounds.seconds
        shown = 0
        while waiting:
            depth, node = waiting.popleft()
            for child in await self._children(node):
                if shown >= self.bounds.nodes or loop.time() >= ends:
                    what = "nodes" if shown >= self.bounds.nodes else "seconds"
                    self.cut = f"{getattr(self.bounds, what):g} {what}"
                    return
                target = ua.NodeId(
                    child.NodeId.Identifier, child.NodeId.NamespaceIndex, child.NodeId.NodeIdType
                )
                if target in self._seen or child.ReferenceTypeId == _HAS_PROPERTY:
                    continue
                self._seen.add(target)
                shown += 1
                yield await self._entry(depth, target, child)
                if depth + 1 < self.bounds.depth:
                    waiting.append((depth + 1, target))
                elif child.NodeClass != ua.NodeClass.Variable:
                    self.cut = self.cut or f"{self.bounds.depth} levels"

    async def _children(self, node: ua.NodeId) -> list[ua.ReferenceDescription]:
        description = ua.BrowseDescription(
            NodeId=node,
            BrowseDirection=ua.BrowseDirection.Forward,
            ReferenceTypeId=_standard(ObjectIds.HierarchicalReferences),
            IncludeSubtypes=True,
            NodeClassMask=ua.NodeClass.Object | ua.NodeClass.Variable,
            ResultMask=ua.BrowseResultMask.All,
        )
        session = self.client.uaclient.session
        parameters = ua.BrowseParameters(
            RequestedMaxReferencesPerNode=_PAGE, NodesToBrowse=[description]
        )
        results = await session.browse(parameters)
        children: list[ua.ReferenceDescription] = []
        for _ in range(_MAX_PAGES):
            if not results:
                return children
            found, place = results[0].References or [], results[0].ContinuationPoint
            children += found
            if not place:
                return children
            if not found or len(children) > self.bounds.nodes:
                break  # rule 2
            results = await session.browse_next(ua.BrowseNextParameters(False, [place]))
        self.cut = f"{len(children)} children of {node.to_string()}"
        return children

    async def _entry(self, depth: int, node: ua.NodeId, child: ua.ReferenceDescription) -> Entry:
        name = shown_text(child.DisplayName.Text or child.BrowseName.Name)
        found = name_of(node, self._namespaces)
        if child.NodeClass != ua.NodeClass.Variable:
            return Entry(depth, name, found, is_variable=False)
        value, access, kind, rank = await self._attributes(node, _WANTED)
        variant = value.Value if value.Value is not None else ua.Variant()
        status = value.StatusCode
        is_bad = status is not None and not status.is_good()
        level = access.Value.Value if access.Value is not None else 0
        return Entry(
            depth,
            name,
            found,
            is_variable=True,
            data_type=_type_name(kind, variant),
            value=status.name if is_bad and status else shown_value(variant.Value),
            unit=await self._unit(node),
            is_writable=isinstance(level, int) and bool(level & _WRITE_BIT),
            is_array=rank.Value is not None and rank.Value.Value == 1,
        )

    async def _attributes(
        self, node: ua.NodeId, wanted: Sequence[AttributeIds]
    ) -> list[ua.DataValue]:
        parameters = ua.ReadParameters(
            NodesToRead=[ua.ReadValueId(NodeId=node, AttributeId=what) for what in wanted]
        )
        answers = list(await self.client.uaclient.session.read(parameters))
        return (answers + [ua.DataValue()] * len(wanted))[: len(wanted)]

    async def _unit(self, node: ua.NodeId) -> str:
        """The display name of EngineeringUnits, where the variable has that property."""
        path = ua.BrowsePath(
            StartingNode=node,
            RelativePath=ua.RelativePath(
                [
                    ua.RelativePathElement(
                        ReferenceTypeId=_standard(ObjectIds.HasProperty),
                        IsInverse=cast("ua.Boolean", False),
                        IncludeSubtypes=cast("ua.Boolean", True),
                        TargetName=ua.QualifiedName("EngineeringUnits", 0),
                    )
                ]
            ),
        )
        session = self.client.uaclient.session
        with contextlib.suppress(UaStatusCodeError):
            results = await session.translate_browsepaths_to_nodeids([path])
            if results and results[0].Targets:
                (unit,) = await self._attributes(
                    results[0].Targets[0].TargetId, [AttributeIds.Value]
                )
                information = unit.Value.Value if unit.Value is not None else None
                if isinstance(information, ua.EUInformation):
                    return shown_text(information.DisplayName.Text)
        return ""


def _standard(number: int) -> ua.NodeId:
    return ua.NodeId(ua.Int32(number))


_HAS_PROPERTY = _standard(ObjectIds.HasProperty)


def _type_name(declared: ua.DataValue, variant: ua.Variant) -> str:
    """The built-in type that the value has, or, while it has none, the declared one."""
    kind = variant.VariantType
    if kind is ua.VariantType.Null and declared.Value is not None:
        node = declared.Value.Value
        if isinstance(node, ua.NodeId) and node.NamespaceIndex == 0:
            with contextlib.suppress(ValueError):
                kind = ua.VariantType(int(str(node.Identifier)))
    return getattr(kind, "name", str(kind))


def shown_text(text: object) -> str:
    """A server's text as it may be shown (rule 3)."""
    clean = "".join(
        letter if letter.isprintable() else "�" for letter in str(text or "")[: _LONGEST_TEXT + 1]
    )
    return clean if len(clean) <= _LONGEST_TEXT else clean[: _LONGEST_TEXT - 1] + "…"


def shown_value(value: object) -> str:
    """A value as it may be shown: an array by its length."""
    if isinstance(value, list):
        return f"{len(value)} values"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return shown_text(value) if value is not None else "no value"

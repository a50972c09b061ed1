"""What a Sparkplug B host knows about one edge node: births, aliases, order, deaths. Pure.

1. Values are taken only between a birth and a death. Names, aliases and datatypes are those of the
   newest birth; a node's birth makes its devices unknown until their own.
2. ``seq`` goes 0 to 255 and round again, beginning at the node's birth. A gap means that a birth
   may have been missed, so what an alias means is unknown: nothing is taken until the node has
   been born again, and a rebirth is asked for.
3. A death counts only with the ``bdSeq`` of the birth it ends: a late will of an earlier session
   ends nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_agent.drivers.sparkplug_payload import Metric, Payload, value_of

MAX_METRICS = 100_000
_BD_SEQ = "bdSeq"
Kind = Literal["NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH"]
KINDS: tuple[Kind, ...] = ("NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH")


@dataclass(frozen=True, slots=True)
class Update:
    """A metric's new value, as its birth names it; ``value`` None for null and unusable ones."""

    device: str
    name: str
    value: int | float | None
    metric: Metric


@dataclass(slots=True)
class Outcome:
    """What one message brought: values, devices that died ("" is the node), a reason to ask again."""

    updates: list[Update] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    rebirth: str = ""


@dataclass(slots=True)
class Node:
    """One edge node's session."""

    is_online: bool = False
    bd_seq: int | float | None = None
    next_seq: int = 0
    datatypes: dict[str, dict[str, int | None]] = field(default_factory=dict)
    aliases: dict[int, tuple[str, str]] = field(default_factory=dict)

    def take(self, kind: Kind, device: str, payload: Payload) -> Outcome:
        """Apply one message; ``device`` is "" for the node itself."""
        if kind == "NBIRTH":
            return self._born(payload)
        if kind == "NDEATH":
            return self._dead(payload)
        if not self.is_online:
            return Outcome(rebirth=f"{kind} before NBIRTH")
        if payload.seq != self.next_seq:
            outcome, expected = self._lost(), self.next_seq
            outcome.rebirth = f"seq {payload.seq} in {kind}, expected {expected}"
            return outcome
        self.next_seq = (self.next_seq + 1) % 256
        return self._in_order(kind, device, payload)

    def _in_order(self, kind: Kind, device: str, payload: Payload) -> Outcome:
        if kind == "DBIRTH":
            return self._learn(device, payload)
        if kind == "DDEATH":
            self._forget(device)
            return Outcome(died=[device])
        if device not in self.datatypes:
            return Outcome(rebirth=f"{kind} of {device!r} before its birth")
        return self._values(device, payload.metrics)

    def _born(self, payload: Payload) -> Outcome:
        gone = [device for device in self.datatypes if device]
        self.is_online = payload.seq == 0
        self.datatypes, self.aliases = {}, {}
        self.next_seq = 1
        self.bd_seq = next((m.raw for m in payload.metrics if m.name == _BD_SEQ), None)
        if not self.is_online:
            return Outcome(died=["", *gone], rebirth=f"NBIRTH with seq {payload.seq}")
        outcome = self._learn("", payload)
        outcome.died = gone
        return outcome

    def _dead(self, payload: Payload) -> Outcome:
        bd_seq = next((m.raw for m in payload.metrics if m.name == _BD_SEQ), None)
        if self.is_online and bd_seq == self.bd_seq:
            return self._lost()
        return Outcome()

    def _lost(self) -> Outcome:
        died = list(self.datatypes)
        self.is_online = False
        self.datatypes, self.aliases = {}, {}
        return Outcome(died=died)

    def _learn(self, device: str, payload: Payload) -> Outcome:
        self._forget(device)
        known = sum(map(len, self.datatypes.values())) + len(payload.metrics)
        if known > MAX_METRICS:
            return Outcome(died=[device])
        table = self.datatypes[device] = {}
        for metric in payload.metrics:
            if metric.name:
                table[metric.name] = metric.datatype
                if metric.alias is not None:
                    self.aliases[metric.alias] = (device, metric.name)
        return self._values(device, payload.metrics)

    def _forget(self, device: str) -> None:
        self.datatypes.pop(device, None)
        self.aliases = {alias: of for alias, of in self.aliases.items() if of[0] != device}

    def _values(self, device: str, metrics: Sequence[Metric]) -> Outcome:
        outcome = Outcome()
        for metric in metrics:
            name = metric.name
            if not name and metric.alias is not None:
                owner, name = self.aliases.get(metric.alias, ("", ""))
                if owner != device:
                    name = ""
            if name not in self.datatypes[device]:
                outcome.rebirth = f"metric {metric.name or metric.alias!r} is in no birth"
                continue
            datatype = self.datatypes[device][name]
            if metric.datatype is not None and datatype != metric.datatype:
                outcome.rebirth = f"metric {name!r} changed its datatype"
                continue
            outcome.updates.append(Update(device, name, value_of(metric, datatype), metric))
        return outcome

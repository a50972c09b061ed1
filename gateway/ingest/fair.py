"""Messages that wait for the ledger's thread: every sender in turn, within limits.

A sender is the enrolled agent that the topic names; whatever names nobody enrolled shares one
place. Messages are taken one a sender and round, so a flood delays only the flooder. What does not
fit is dropped from the sender that has most messages or bytes waiting, whichever there are too many
of, and counted; an agent sends again
what no signed ack covers, so dropping loses nothing of an honest one.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from gateway.ingest.chains import Source
from gateway.ingest.intake import Message
from gateway.ledger import Overflow

FLOOD = "flood"
NOBODY: Source = ("", "")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and what is needed to acknowledge it to the broker."""

    message: Message
    number: int = 0
    qos: int = 1
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait of one sender and of all, in messages and bytes."""

    sender_messages: int = 1_024
    sender_bytes: int = 16_777_216
    messages: int = 8_192
    bytes: int = 67_108_864


@dataclass(slots=True)
class _Line:
    """What waits of one sender."""

    items: deque[Delivery] = field(default_factory=deque)
    size: int = 0


@dataclass(slots=True)
class _Dropped:
    messages: int = 0
    size: int = 0
    last: bytes = b""
    last_ns: int = 0


class FairQueue:
    """Filled by the network thread, emptied by the event loop."""

    def __init__(self, known: Callable[[Source], bool], limits: Limits | None = None) -> None:
        self._known = known
        self._limits = limits or Limits()
        self._lines: dict[Source, _Line] = {}
        self._turns: deque[Source] = deque()
        self._dropped: dict[Source, _Dropped] = {}
        self._messages = self._size = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return self._messages

    def put(self, item: Delivery) -> list[Delivery]:
        """Let a message wait; gives those that had to go for it, perhaps itself."""
        source = self._sender(item.message.topic)
        limits, gone = self._limits, list[Delivery]()
        with self._lock:
            line = self._lines.get(source)
            if line is None:
                line = self._lines[source] = _Line()
                self._turns.append(source)
            self._add(line, item)
            while len(line.items) > limits.sender_messages or line.size > limits.sender_bytes:
                gone.append(self._drop(source))
            while self._messages > limits.messages or self._size > limits.bytes:
                gone.append(self._drop(self._longest()))
        return gone

    def take(self, most: int) -> list[Delivery]:
        """At most so many messages, one of each sender in turn; each sender's own in order."""
        taken: list[Delivery] = []
        with self._lock:
            while self._turns and len(taken) < most:
                source = self._turns.popleft()
                line = self._lines[source]
                item = line.items.popleft()
                self._remove(line, item)
                taken.append(item)
                if line.items:
                    self._turns.append(source)
                else:
                    del self._lines[source]
        return taken

    def overflows(self) -> list[Overflow]:
        """What was dropped since the last call, by sender."""
        with self._lock:
            dropped, self._dropped = self._dropped, {}
        return [
            Overflow(
                source, FLOOD, one.messages, one.size, one.last_ns,
                hashlib.sha256(one.last).digest(),
            )
            for source, one in dropped.items()
        ]  # fmt: skip

    def _sender(self, topic: str) -> Source:
        parts = topic.split("/", 4)[2:4]
        source = (parts[0], parts[1]) if len(parts) == 2 else NOBODY
        return source if self._known(source) else NOBODY

    def _add(self, line: _Line, item: Delivery) -> None:
        line.items.append(item)
        line.size += len(item.message.payload)
        self._messages += 1
        self._size += len(item.message.payload)

    def _remove(self, line: _Line, item: Delivery) -> None:
        line.size -= len(item.message.payload)
        self._messages -= 1
        self._size -= len(item.message.payload)

    def _longest(self) -> Source:
        """Who has most of what there is too much of, messages or bytes."""
        if self._messages > self._limits.messages:
            return max(self._lines, key=lambda one: (len(self._lines[one].items), one))
        return max(self._lines, key=lambda one: (self._lines[one].size, one))

    def _drop(self, source: Source) -> Delivery:
        """The sender's newest message goes, and is counted."""
        line = self._lines[source]
        item = line.items.pop()
        self._remove(line, item)
        if not line.items:
            del self._lines[source]
            self._turns.remove(source)
        known = self._dropped.setdefault(source, _Dropped())
        known.messages += 1
        known.size += len(item.message.payload)
        known.last, known.last_ns = item.message.payload, item.message.received_ns
        return item

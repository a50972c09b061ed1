"""Which MQTT messages wait for their acknowledgement, and which were kept already.

1. Messages are acknowledged in the order in which they came, each when all that was delivered up to
   it is durable; what brought no readings waits for what came before it.
2. A message that the broker marks as sent again, with the id and content of one that was delivered,
   is the same one: ids are not used again before 65,535 others, and fewer are remembered.
3. A broker that does not know our session has begun to count anew: nothing is remembered then.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence

from edge_agent.drivers.base import MARK_BYTES, REMEMBERED
from edge_agent.drivers.mqtt_link import Message, MqttLink


class Receipts:
    """The acknowledgements that one driver owes."""

    def __init__(self) -> None:
        """Owe nothing."""
        self._unkept: deque[tuple[int, MqttLink, list[Message]]] = deque()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._delivered = self._kept = 0
        self.marks: list[bytes] = []

    def fresh(self, messages: Sequence[Message]) -> list[Message]:
        """Those that were not delivered before (rule 2)."""
        return [
            message
            for message in messages
            if not (message.qos and message.is_repeat and _mark(message) in self._known)
        ]

    def wait(self, link: MqttLink, messages: list[Message], *, is_delivery: bool) -> None:
        """These messages are acknowledged once what was delivered with them is durable."""
        self._delivered += is_delivery
        self.marks = [_mark(message) for message in messages if message.qos]
        if is_delivery:
            self.remember(self.marks)
        if self.marks:
            owed = [message for message in messages if message.qos]
            self._unkept.append((self._delivered, link, owed))
        self._settle()

    def remember(self, marks: Sequence[bytes]) -> None:
        """Know messages by their marks, the oldest first."""
        for mark in marks:
            self._known[mark] = None
            self._known.move_to_end(mark)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def forget(self) -> None:
        """Rule 3."""
        self._known.clear()

    def kept(self, deliveries: int) -> None:
        """So many deliveries are durable."""
        self._kept = deliveries
        self._settle()

    def _settle(self) -> None:
        while self._unkept and self._unkept[0][0] <= self._kept:
            _, link, messages = self._unkept.popleft()
            link.acknowledge(messages)


def _mark(message: Message) -> bytes:
    """What tells a QoS 1 message from all others that a broker may send again."""
    text = f"{message.mid}\0{message.topic}\0".encode()
    return hashlib.sha256(text + message.payload).digest()[:MARK_BYTES]

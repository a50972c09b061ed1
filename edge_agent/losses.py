"""What could not be kept, summed up for the next batch that can; durable until it is told."""

from collections.abc import Mapping, Sequence

from edge_agent.readings import Columns, Event
from edge_agent.wire import cbor

LOST = "lost_records"


class Losses:
    """The rows that were refused since the last batch, as one ``lost_records`` event."""

    def __init__(self, stored: bytes | None = None) -> None:
        """Begin with what an earlier life left untold (from ``kept``)."""
        self.events: list[Event] = []
        if stored:
            now_ns, count, first_ns, last_ns = cbor.decode(stored)
            self._tell(now_ns, count, first_ns, last_ns)

    def add(self, pieces: Sequence[Columns], events: Sequence[Event], now_ns: int) -> int:
        """Take up rows and events that there was no room for; gives the number of rows."""
        times = [time_ns for columns in pieces for time_ns in columns.time_ns]
        rows = len(times)
        times += [int(event["t"]) for event in events]
        count = rows
        for before in self.events:
            count += int(before["count"])
            times += [int(before["from"]), int(before["to"])]
        self._tell(now_ns, count, min(times), max(times))
        return rows

    def kept(self) -> Mapping[str, bytes]:
        """The durable value, to be written together with the state that comes after the loss."""
        fields = [[event[key] for key in ("t", "count", "from", "to")] for event in self.events]
        return {LOST: cbor.encode(*fields)} if fields else {}

    def told(self) -> Mapping[str, bytes]:
        """The durable value once a batch tells the loss, to be written together with that batch."""
        return {LOST: b""} if self.events else {}

    def _tell(self, now_ns: int, count: int, first_ns: int, last_ns: int) -> None:
        span = {"from": first_ns, "to": last_ns}
        self.events = [{"t": now_ns, "type": "lost_records", "count": count, **span}]

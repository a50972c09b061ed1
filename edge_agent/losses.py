"""What could not be kept, summed up for the next batch that can."""

from collections.abc import Sequence

from edge_agent.readings import Columns, Event


class Losses:
    """The rows that were refused since the last batch, as one ``lost_records`` event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, pieces: Sequence[Columns], events: Sequence[Event], now_ns: int) -> int:
        """Take up rows and events that there was no room for; gives the number of rows."""
        times = [time_ns for columns in pieces for time_ns in columns.time_ns]
        rows = len(times)
        times += [int(event["t"]) for event in events]
        count = rows
        for before in self.events:
            count += int(before["count"])
            times += [int(before["from"]), int(before["to"])]
        span = {"from": min(times), "to": max(times)}
        self.events = [{"t": now_ns, "type": "lost_records", "count": count, **span}]
        return rows

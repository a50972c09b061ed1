"""Rows and events cut into what a batch can carry."""

from collections.abc import Sequence

from edge_agent.pipeline.rows import MAX_SPAN_NS
from edge_agent.readings import Columns, Event

_EVENTS_A_BATCH = 500


def cut(
    pieces: Sequence[Columns], events: Sequence[Event]
) -> list[tuple[Columns, Sequence[Event]]]:
    """Rows and events cut so that each part fits a batch in size and span of time."""
    parts: list[tuple[Columns, Sequence[Event]]] = [(columns, ()) for columns in pieces]
    for chunk in _event_chunks(events):
        for place, (columns, taken) in enumerate(parts):
            if not taken and _fits(columns, chunk):
                parts[place] = (columns, chunk)
                break
        else:
            parts.append((Columns(()), chunk))
    return parts


def _event_chunks(events: Sequence[Event]) -> list[list[Event]]:
    chunks: list[list[Event]] = []
    for event in sorted(events, key=lambda item: int(item["t"])):
        last = chunks[-1] if chunks else []
        if last and len(last) < _EVENTS_A_BATCH and event["t"] - last[0]["t"] <= MAX_SPAN_NS:
            last.append(event)
        else:
            chunks.append([event])
    return chunks


def _fits(columns: Columns, chunk: Sequence[Event]) -> bool:
    if not len(columns):
        return False
    first_ns = min(columns.time_ns[0], int(chunk[0]["t"]))
    last_ns = max(columns.time_ns[-1], int(chunk[-1]["t"]))
    return last_ns - first_ns <= 2 * MAX_SPAN_NS

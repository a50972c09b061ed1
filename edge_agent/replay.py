"""Takes up a stored state and the journal behind it, a long journal in pieces.

Y1  a journal that memory has room for is fed whole: the first step after it accounts for it, with
what the devices still have to tell
Y2  beyond that, whole minutes are accounted for on the way. Each time the state is stored, and the
entries that are in it go: a stop in the middle neither loses nor doubles anything
Y3  the newest reading is the clock on the way, less what a device's clock may be ahead
"""

import logging
from collections.abc import Callable

from edge_agent.errors import StoreError
from edge_agent.outbox import Outbox
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.journal import decode_readings
from edge_agent.pipeline.pipeline import FUTURE_NS, Produce

log = logging.getLogger(__name__)


def replay(
    outbox: Outbox,
    pipeline: Pipeline,
    limit_bytes: int,
    account: Callable[[int, Produce], None],
    tell_damaged: Callable[[], None],
) -> None:
    """Bring a new pipeline to where the outbox is.

    Args:
        outbox: holds state and journal.
        pipeline: takes them up.
        limit_bytes: memory that readings may take which wait for their minute.
        account: keeps what came of the readings up to an entry of the journal.
        tell_damaged: notes that an entry could not be read and is lost.

    Raises:
        OutboxDamaged: the outbox is not as it was written.
    """
    state, place = outbox.state(), 0
    if state is not None:
        pipeline.restore(state)
    while (entry := outbox.journaled(place)) is not None:
        place, content = entry
        try:
            readings = decode_readings(content)
        except StoreError:  # one entry is lost and told, the agent comes up
            log.exception("journal_damaged")
            tell_damaged()
            continue
        pipeline.feed(readings, 2**62)
        if pipeline.held_bytes > limit_bytes:
            due_ns = pipeline.due_ns(pipeline.memory.newest_ns - FUTURE_NS)
            if due_ns is not None:
                account(place, pipeline.advance(due_ns))

"""What a wall clock that moved makes of the accounting.

set forward by less than a day    a gap, as after an outage
set forward by more               a new state begins at the new time; nothing is between
set back within the last stretch  waited for: what comes again under accounted times is late
set back to before it             a new state begins behind the stretch before (``lived``)
at an island                      a new state begins behind it
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.calc.windows import MINUTE_NS, NS_PER_S
from edge_agent.pipeline.lived import TOLERANCE_NS
from edge_agent.pipeline.pipeline import Pipeline, Produce, Reading

_FAR_NS = 24 * 3600 * NS_PER_S
_ANY_TIME_NS = 2**62


@dataclass(frozen=True, slots=True)
class Turn:
    """What was accounted under the old time, and the pipeline that goes on.

    ``readings`` are those of the new time; ``back_ns`` is how far behind the newest reading it is.
    """

    pipeline: Pipeline
    produce: Produce
    readings: Sequence[Reading]
    back_ns: int = 0


def follow(
    pipeline: Pipeline, readings: Sequence[Reading], now_ns: int, step_ns: int
) -> Turn | None:
    """Whether accounting has to begin anew; None when it simply goes on.

    Args:
        pipeline: which accounted so far.
        readings: what just came, partly read under the time before the step.
        now_ns: the agent's UTC.
        step_ns: how far it just stepped, 0 where nothing was seen.
    """
    lived, done_ns = pipeline.memory.lived, pipeline.memory.done_ns
    if pipeline.device_time or done_ns < 0:
        return None
    if lived.is_ahead(now_ns):
        return _turn(pipeline, readings, now_ns, step_ns)
    if step_ns > _FAR_NS:
        return _turn(pipeline, readings, now_ns, step_ns)
    island_ns = lived.next_ns()
    if island_ns is not None and done_ns >= island_ns:
        return Turn(pipeline.anew(lived.leap(done_ns)), Produce((), ()), readings)
    if step_ns > TOLERANCE_NS:
        lived.split(now_ns)
    return None


def _turn(pipeline: Pipeline, readings: Sequence[Reading], now_ns: int, step_ns: int) -> Turn:
    """Account for everything of the old time, and begin at the new one."""
    back_ns = max(pipeline.memory.newest_ns - now_ns, 0)
    before, rest = _parted(readings, now_ns - step_ns, now_ns)
    urgent = pipeline.feed(before, _ANY_TIME_NS)
    end_ns = (pipeline.memory.newest_ns // MINUTE_NS + 1) * MINUTE_NS
    produce = pipeline.finish(max(end_ns, pipeline.memory.done_ns))
    start_ns = pipeline.memory.lived.go_to(now_ns)
    whole = Produce(produce.pieces, [*urgent, *produce.events])
    return Turn(pipeline.anew(start_ns), whole, rest, back_ns)


def _parted(
    readings: Sequence[Reading], old_ns: int, new_ns: int
) -> tuple[list[Reading], list[Reading]]:
    """Readings of the time before a step of the clock, and of the time after it."""
    parts: tuple[list[Reading], list[Reading]] = ([], [])
    for one in readings:
        parts[abs(one.time_ns - old_ns) >= abs(one.time_ns - new_ns)].append(one)
    return parts

"""A pot's status stands until the next one, also when it comes late."""

from edge_agent.pipeline.pot_status import StatusBuffer
from edge_agent.readings import BAD_DEVICE, Sample


def filled(*readings, done_ns=-1):
    buffer = StatusBuffer(done_ns)
    for time_ns, status in readings:
        buffer.add(Sample("status", time_ns, status))
    return buffer


def test_readings_are_given_in_order_of_time_and_once():
    buffer = filled((30, 0), (10, 1), (50, 2), (10, 1))
    assert buffer.take(40) == [(10, 1), (30, 0)]
    assert buffer.take(60) == [(50, 2)]
    assert buffer.take(80) == []


def test_a_late_status_counts_from_the_first_moment_not_yet_accounted_for():
    """The server repeats the standing status after a restart, with the time of its change."""
    buffer = filled((10, 0))
    assert buffer.take(100) == [(10, 0)]
    buffer.add(Sample("status", 60, 1))
    assert buffer.take(200) == [(100, 1)]


def test_of_several_late_ones_the_newest_counts():
    buffer = filled((10, 0))
    buffer.take(100)
    for time_ns, status in ((60, 1), (70, 2), (120, 0)):
        buffer.add(Sample("status", time_ns, status))
    assert buffer.take(200) == [(100, 2), (120, 0)]


def test_a_late_one_that_is_older_than_what_stands_changes_nothing():
    buffer = filled((10, 0), (80, 1))
    buffer.take(100)
    for time_ns, status in ((80, 1), (60, 2), (10, 0)):
        buffer.add(Sample("status", time_ns, status))
    assert buffer.take(200) == []


def test_a_bad_reading_is_none():
    buffer = StatusBuffer()
    buffer.add(Sample("status", 10, 0, BAD_DEVICE))
    buffer.add(Sample("status", 11, None))
    assert buffer.take(100) == []


def test_a_stored_buffer_goes_on():
    buffer = filled((10, 0), (150, 2))
    buffer.take(100)
    loaded = StatusBuffer.load(buffer.dump())
    assert loaded == buffer
    loaded.add(Sample("status", 60, 1))
    assert loaded.take(200) == [(100, 1), (150, 2)]

"""What batches say of their clocks and software, as a report and a verifier tell it (rows 40, 41, 101)."""

import pytest

from edge_agent.wire.batch import ClockState, VerifiedBatch
from gateway.evidence import BatchMarks

HOUR = 3600 * 10**9
T0 = 1_767_196_800 * 10**9  # 2025-12-31T16:00 UTC
GOOD = ClockState("ntp", sync=True)
LOST = ClockState("ntp", sync=False)


@pytest.fixture
def marks(make_batch):
    def of(clocks, mono_s=60, **changes):
        made = BatchMarks()
        for hour, clock in clocks:
            first_ns = T0 + hour * HOUR
            batch = make_batch(
                seq=hour + 1, clock=clock, first_ns=first_ns, last_ns=first_ns + 60 * 10**9,
                mono=(0, mono_s * 10**9), **changes,
            )  # fmt: skip
            made.add(VerifiedBatch(batch, b"", bytes(32), bytes(32)))
        return made

    return of


def test_a_good_clock_is_nothing_to_tell(marks):
    assert marks([(hour, GOOD) for hour in range(24)]).reservations() == []


def test_a_day_without_synchronisation_is_listed_by_its_hours(marks):
    clocks = [(hour, LOST if 3 <= hour < 27 or hour == 40 else GOOD) for hour in range(48)]
    (text,) = marks(clocks).reservations()
    assert text.startswith("25 hours with batches from an unsynchronised clock 时钟未同步: ")
    assert text.endswith(": 2025-12-31T19 - 2026-01-01T18, 2026-01-02T08")


def test_hours_whose_two_clocks_disagree_are_listed(marks):
    (text,) = marks([(2, GOOD), (3, GOOD)], mono_s=61).reservations()
    assert (
        text
        == "2 hours with batches whose two clocks disagree 时钟不一致: 2025-12-31T18 - 2025-12-31T19"
    )


def test_many_stretches_are_cut_and_counted(marks):
    (text,) = marks([(2 * place, LOST) for place in range(30)]).reservations()
    assert text.startswith("30 hours")
    assert text.endswith("and 6 more")


def test_software_is_told_by_its_first_and_last_batch(marks):
    made = marks([(0, GOOD), (4, GOOD)], legal_sha256=bytes(32))
    ((key, found),) = made.software.items()
    assert key == ("gw-01", "edge-agent/0.1.0", bytes(32))
    assert (found.first_seq, found.last_seq, found.count) == (1, 5, 2)

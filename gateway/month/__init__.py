"""A month's values from records, configuration, factors and entries.

Pure: the store, the ledger and the evidence bundle feed the same function and must get the same
answer. All sums are ``math.fsum`` (independent of order) or exact integers and decimals.
"""

from collections.abc import Callable, Mapping, Sequence

from edge_agent.readings import Event
from gateway.month.cross_checks import tell_cross_checks
from gateway.month.entries import Entries, Entry
from gateway.month.hours import LOOKBACK_NS
from gateway.month.incidents import reservations, tell_events
from gateway.month.kilns import plant
from gateway.month.model import Basis, Month, MonthValue, Points, Reader, Work
from gateway.month.smelter import smelter
from gateway.month.works import works

__all__ = [
    "LOOKBACK_NS",
    "Basis",
    "Entries",
    "Entry",
    "Month",
    "MonthValue",
    "Points",
    "Reader",
    "compute",
]

_SECTORS: Mapping[str, Callable[[Work], None]] = {
    "aluminium": smelter,
    "cement": plant,
    "steel": works,
}


def compute(basis: Basis, month: str, reader: Reader, events: Sequence[Event]) -> Month:
    """All values of a plant's month.

    Args:
        basis: configuration document, factor set, the sector's form, and people's entries.
        month: ``YYYY-MM`` in plant local time.
        reader: rows of the month and ``LOOKBACK_NS`` around it.
        events: events of the same stretch.
    """
    work = Work(basis, month, reader)
    _SECTORS[basis.form.id](work)
    tell_events(work, events)
    tell_cross_checks(work)
    reservations(work)
    return work.result

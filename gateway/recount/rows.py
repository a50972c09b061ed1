"""The rows that sums need, in the order in which they were signed: agent, seq, row."""

from edge_agent.wire.batch import VerifiedBatch

_SUMMED = frozenset(
    {"observed_s", "ae_s", "ae_count", "ae_ov_vs", "count", "amount"},
)
"""Last parts of the names of series whose rows are added up or subtracted."""
_BAD = 2
Row = tuple[int, int | float]
"""Time [ns UTC] and value."""


class Rows:
    """Usable rows by series; bad quality and null are none."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Row]] = {}

    def add(self, verified: VerifiedBatch) -> None:
        """Take up the next batch."""
        columns = verified.batch.columns
        wanted = {
            place: self._rows.setdefault(name, [])
            for place, name in enumerate(columns.series)
            if name.rpartition(".")[2] in _SUMMED
        }
        if not wanted:
            return
        for place, time_ns, value, quality in zip(
            columns.index, columns.time_ns, columns.value, columns.quality, strict=True
        ):
            if place in wanted and value is not None and quality // 16 != _BAD:
                wanted[place].append((time_ns, value))

    def between(self, series: str, start_ns: int, end_ns: int) -> list[Row]:
        """Rows of a series with start <= time < end, in the order in which they were signed."""
        return [row for row in self._rows.get(series, ()) if start_ns <= row[0] < end_ns]

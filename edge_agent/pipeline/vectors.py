"""Sums over vectors of samples, for tags whose samples are looked at one by one, and for pots."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.calc.windows import MINUTE_NS
from edge_agent.pipeline.judging import Flag, Teller
from edge_agent.pipeline.rows import Sink, Span, partial
from edge_agent.readings import BAD_DEVICE, GOOD

Times = NDArray[np.int64]
Values = NDArray[np.float64]


def given_quality(times: Times, values: Values, marks: Mapping[int, int]) -> NDArray[np.int64]:
    """The qualities that came with samples; a missing value without one is the device's word."""
    given = np.where(np.isnan(values), int(BAD_DEVICE), int(GOOD)).astype(np.int64)
    if marks and len(times):
        at = np.fromiter(marks.keys(), np.int64, len(marks))
        place = np.searchsorted(times, at)
        place[place == len(times)] = 0
        hit = times[place] == at
        codes = np.fromiter(marks.values(), np.int64, len(marks))
        given[place[hit]] = np.maximum(given[place[hit]], codes[hit])
    return given


def minute_means(
    times: NDArray[np.int64], values: NDArray[np.float64], span: Span, period_s: float
) -> Iterable[tuple[list[int], list[float], list[int]]]:
    """Minute starts, means (to float32) and qualities of the minutes that hold samples.

    A minute with less than nine tenths of its samples is uncertain (partial).
    """
    if len(times) == 0:
        return
    place = (times - span.start_ns) // MINUTE_NS
    counts = np.bincount(place)
    sums = np.bincount(place, weights=values)
    full = np.flatnonzero(counts)
    means = (sums[full] / counts[full]).astype(np.float32).astype(np.float64)
    yield (
        (span.start_ns + full * MINUTE_NS).tolist(),
        means.tolist(),
        partial(counts[full].tolist(), period_s),
    )


def worst_by_minute(
    times: NDArray[np.int64], quality: NDArray[np.int64], span: Span
) -> dict[int, int]:
    """The largest quality of each minute that holds samples, by the minute's start [ns]."""
    if len(times) == 0:
        return {}
    place = (times - span.start_ns) // MINUTE_NS
    worst = np.full(int(place.max()) + 1, -1, dtype=np.int64)
    np.maximum.at(worst, place, quality)
    full = np.flatnonzero(worst >= 0)
    starts = (span.start_ns + full * MINUTE_NS).tolist()
    return dict(zip(starts, worst[full].tolist(), strict=True))


def flags_at(flag: Flag | None, times: Times) -> NDArray[np.bool_] | None:
    """Whether a maintenance flag was set at each time; None without a flag."""
    if flag is None:
        return None
    return np.fromiter(map(flag.at, times.tolist()), np.bool_, len(times))


def tell_worst(teller: Teller, times: Times, quality: NDArray[np.int64], sink: Sink) -> None:
    """Compare the worst judgement of a span's samples with what was told last."""
    if len(times) == 0:
        return
    worst = int(quality.max())
    if worst != teller.told:
        where = np.flatnonzero(quality == worst)
        teller.tell(int(times[where[0]]), worst, len(where), sink)

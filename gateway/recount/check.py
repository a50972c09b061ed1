"""The second sums against the reported ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from edge_agent.errors import CarbonError
from gateway.recount import aluminium, cement, fuels, steel
from gateway.recount.inputs import Inputs, Name, NotCounted, bounds, entries
from gateway.recount.rows import Rows
from gateway.recount.values import Count, Rule, Value

TOLERANCE = 1e-9
"""Greatest relative difference: what floats may lose by adding in another order, many times over."""


_RULES: Mapping[str, Mapping[str, Rule]] = {
    "aluminium": fuels.RULES | aluminium.RULES,
    "cement": fuels.RULES | cement.RULES,
    "steel": fuels.RULES | steel.RULES,
}


class Difference(CarbonError):
    """The second sums give another figure than was reported; names it."""


@dataclass(frozen=True, slots=True)
class Recounted:
    """How many values agree, and the parameters that the second computation has no rule for."""

    agree: int
    left: tuple[str, ...]


def recount(
    config: Mapping[str, Any],
    documents: Iterable[bytes],
    rows: Rows,
    record: Mapping[str, Any],
    report: Sequence[Mapping[str, Any]],
) -> Recounted:
    """Work out the month's values again and compare.

    Args:
        config: the signed configuration document.
        documents: signed lab documents, already checked.
        rows: of all the month's batches.
        record: the month record: month, and values as [id, scope, value, reported].
        report: the report's parameters, for units and the list of substituted hours.

    Raises:
        Difference: at the first value that differs by more than ``TOLERANCE``.
    """
    start_ns, end_ns = bounds(record["month"], config["timezone"])
    units = {(one["id"], one["scope"]): one["unit"] for one in report}
    inputs = Inputs(config, start_ns, end_ns, entries(documents), units, _substituted(report))
    rules = _RULES[config.get("sector", "aluminium")]
    count, agree, left = Count(inputs, rows, rules), 0, dict[str, None]()
    for parameter, scope, value, _ in record["values"]:
        try:
            found = count.get(parameter, scope)
        except NotCounted:
            left[parameter] = None
            continue
        if not _same(found, value):
            message = f"{parameter} of {scope}: reported as {value}, the second sums give {found}"
            raise Difference(message)
        agree += 1
    return Recounted(agree, tuple(left))


def _substituted(report: Iterable[Mapping[str, Any]]) -> dict[Name, float]:
    return {
        (one["id"], one["scope"]): math.fsum(float(part["value"]) for part in one["substitutions"])
        for one in report
        if one["substitutions"]
    }


def _same(found: Value, reported: str | None) -> bool:
    if found is None or reported is None:
        return found is None and reported is None
    if isinstance(found, int):
        return Decimal(found) == Decimal(reported)
    return math.isclose(float(found), float(reported), rel_tol=TOLERANCE)

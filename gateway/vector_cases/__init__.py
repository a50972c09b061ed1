"""``carbon-gateway calc`` for files of worked cases with steps: inputs in, every step's value out.

A case is recognised by what its inputs are, never by its id or by what it expects. Inputs that
point at another case (``from``, ``as ST-01``) take that case's own evaluation.
"""

from collections.abc import Mapping
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.calc.deadlines import storage_deadline
from edge_agent.calc.windows import month_bounds, to_local
from edge_agent.errors import CalculationError
from gateway.vector_cases import aluminium, cement, common, steel
from gateway.vector_cases.shapes import Case, Inputs, Steps

_SHAPES: Mapping[frozenset[str], Any] = {
    **aluminium.SHAPES,
    **cement.SHAPES,
    **steel.SHAPES,
    **common.SHAPES,
}


def evaluate(file: dict[str, Any]) -> dict[str, Any]:
    """A file of cases with a ``result`` of steps beside each case's inputs.

    Raises:
        CalculationError: a case's inputs are of no known shape, or out of range.
    """
    for place, item in enumerate(file["vectors"]):
        if not (isinstance(item, dict) and isinstance(item.get("inputs"), dict) and "id" in item):
            message = f"vectors[{place}] has no id or no inputs"
            raise CalculationError(message)
    book = _Book({item["id"]: item["inputs"] for item in file["vectors"]})
    out: dict[str, Any] = {
        "vectors": [
            {"id": item["id"], "inputs": item["inputs"], "result": book.steps(item["id"])}
            for item in file["vectors"]
        ]
    }
    if "deadlines_40_calendar_days" in file:
        cases = file["deadlines_40_calendar_days"]["cases"]
        out["deadlines_40_calendar_days"] = [
            {"month": case["month"], "day_40": storage_deadline(case["month"], 40).isoformat()}
            for case in cases
        ]
    if "month_boundaries" in file:
        out["month_boundaries"] = [
            _boundaries(case["month"]) for case in file["month_boundaries"]["cases"]
        ]
    return out


def _boundaries(month: str) -> dict[str, str]:
    """A month of plant local time in UTC; China has kept UTC+8 since 1991."""
    first, after = month_bounds(month, ZoneInfo("Asia/Shanghai"))
    texts = [to_local(at, ZoneInfo("UTC")).astimezone(UTC).isoformat() for at in (first, after)]
    start, end = (text.replace("+00:00", "Z") for text in texts)
    return {"month": month, "start_utc": start, "end_utc": end}


class _Book:
    """All cases of a file; each is evaluated once, when somebody asks."""

    def __init__(self, inputs: Mapping[str, Inputs]) -> None:
        self.inputs = inputs
        self.done: dict[str, Steps] = {}
        self.begun: set[str] = set()

    def steps(self, case_id: str) -> Steps:
        """The steps of a case.

        Raises:
            CalculationError: there is no such case, its inputs are of no known shape, or it
                points at itself.
        """
        if case_id not in self.inputs:
            message = f"there is no case {case_id!r} in this file"
            raise CalculationError(message)
        if case_id not in self.done:
            if case_id in self.begun:
                message = f"{case_id} is computed from itself"
                raise CalculationError(message)
            self.begun.add(case_id)
            self.done[case_id] = self._evaluate(case_id)
        return self.done[case_id]

    def _evaluate(self, case_id: str) -> Steps:
        given = self.inputs[case_id]
        shape = _SHAPES.get(frozenset(given))
        if shape is None and steel.are_materials(given):
            shape = steel.materials
        if shape is None:
            message = f"{case_id}: no formula takes exactly {', '.join(sorted(given))}"
            raise CalculationError(message)
        try:
            steps: Steps = shape(Case(given, self.inputs, self.steps))
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            message = f"{case_id}: its inputs cannot be computed: {error!r}"
            raise CalculationError(message) from error
        return steps

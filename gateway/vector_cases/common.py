"""Worked cases of totalisers and rounding."""

from collections.abc import Callable, Mapping

from edge_agent.calc.integration import TotaliserRule, total
from gateway.vector_cases.shapes import Case, Steps, rounded


def _totaliser(case: Case) -> Steps:
    done = total((case["first"], case["last"]), TotaliserRule(case["modulus"]))
    return {"month_value": done.total}


def _rounding(case: Case) -> Steps:
    return {"rounded": rounded(case["x"], case["dp"])}


SHAPES: Mapping[frozenset[str], Callable[[Case], Steps]] = {
    frozenset({"first", "last", "modulus"}): _totaliser,
    frozenset({"x", "dp"}): _rounding,
}

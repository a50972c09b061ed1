"""What a worked case is given, and what it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.calc.rounding import half_up
from edge_agent.errors import CalculationError

Inputs = Mapping[str, Any]
Steps = dict[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One case's inputs, those of the whole file, and the steps of any other case."""

    given: Inputs
    every: Mapping[str, Inputs]
    steps: Callable[[str], Steps]

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def step(self, case_id: str, name: str) -> float:
        """One step of another case.

        Raises:
            CalculationError: there is no such case or step.
        """
        steps = self.steps(case_id)
        if name not in steps:
            message = f"{case_id} has no step {name!r}; it has {', '.join(steps)}"
            raise CalculationError(message)
        return steps[name]


def rounded(value: float, decimals: int) -> float:
    """Half-up rounded, as a number."""
    return float(half_up(value, decimals))

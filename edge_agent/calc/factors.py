"""``Factor`` and ``FactorSet``: sourced numbers, looked up by id and date.

No calculation number stands in code: each comes from a factor set with its unit, document,
clause and status. What nobody has checked against the official text is ``unverified`` and
every report that uses it says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from edge_agent.errors import CalculationError

VERIFIED = "verified"
UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Factor:
    """One number of a factor set. ``relative_uncertainty`` is the 95 % half width as a fraction."""

    id: str
    value: float
    unit: str
    source: str
    clause: str = ""
    status: str = UNVERIFIED
    valid_from: date | None = None
    valid_to: date | None = None
    relative_uncertainty: float | None = None

    def valid_on(self, day: date) -> bool:
        """Whether the factor applies on a day; both ends of its validity count."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day <= self.valid_to
        )


@dataclass(frozen=True, slots=True)
class FactorSet:
    """A guideline's numbers under one id and version."""

    id: str
    version: int
    title: str
    factors: Mapping[str, tuple[Factor, ...]] = field(repr=False)

    def get(self, factor_id: str, day: date | None = None) -> Factor:
        """The factor with this id that is valid on the day (any day when None).

        Raises:
            CalculationError: the set has no such factor, or none valid then.
        """
        candidates = self.factors.get(factor_id, ())
        for factor in candidates:
            if day is None or factor.valid_on(day):
                return factor
        when = f" valid on {day}" if day and candidates else ""
        message = f"factor set {self.id} has no factor {factor_id!r}{when}"
        raise CalculationError(message)

    def __contains__(self, factor_id: str) -> bool:
        return factor_id in self.factors

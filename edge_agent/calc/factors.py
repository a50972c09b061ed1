"""``Factor`` and ``FactorSet``: sourced numbers, looked up by id and date.

No calculation number stands in code: each comes from a factor set with its unit, document,
clause and status. What nobody has checked against the official text is ``unverified`` and
every report that uses it says so.

Where sources disagree or a guideline leaves a choice, the set holds every value under one id, each
with the choice it belongs to (``when``), and its ``options`` say which choice is taken.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from edge_agent.errors import CalculationError

VERIFIED = "verified"
UNVERIFIED = "unverified"
SITE = "site"
"""Status of a value that a site put in the place of the set's own, with reason and evidence."""


@dataclass(frozen=True, slots=True)
class Factor:
    """One number of a factor set. ``relative_uncertainty`` is the 95 % half width as a fraction.

    ``when`` is ``option=value``: the factor applies only under that choice. A site's value has
    ``status`` ``site``, and says why (``reason``), on what ground (``evidence``, a SHA-256), and
    what it ``replaces``.
    """

    id: str
    value: float
    unit: str
    source: str
    clause: str = ""
    status: str = UNVERIFIED
    valid_from: date | None = None
    valid_to: date | None = None
    relative_uncertainty: float | None = None
    note: str = ""
    when: str = ""
    reason: str = ""
    evidence: str = ""
    replaces: float | None = None

    def valid_on(self, day: date) -> bool:
        """Whether the factor applies on a day; both ends of its validity count."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_to is None or day <= self.valid_to
        )


@dataclass(frozen=True, slots=True)
class Option:
    """A choice that a guideline or a set leaves open, and which one is taken."""

    name: str
    value: str | int
    source: str
    status: str = UNVERIFIED
    note: str = ""
    reason: str = ""
    evidence: str = ""
    replaces: str | int | None = None


@dataclass(frozen=True, slots=True)
class FactorSet:
    """A guideline's numbers and choices under one id and version."""

    id: str
    version: int
    title: str
    factors: Mapping[str, tuple[Factor, ...]] = field(repr=False)
    options: Mapping[str, Option] = field(default_factory=dict, repr=False)
    issued: date | None = None

    def get(self, factor_id: str, day: date | None = None) -> Factor:
        """The factor with this id that is valid on the day (any day when None).

        Raises:
            CalculationError: the set has no such factor, or none valid then.
        """
        candidates = tuple(self._chosen(factor_id))
        for factor in candidates:
            if day is None or factor.valid_on(day):
                return factor
        when = f" valid on {day}" if day and candidates else ""
        message = f"factor set {self.id} has no factor {factor_id!r}{when}"
        raise CalculationError(message)

    def option(self, name: str) -> Option:
        """The choice taken.

        Raises:
            CalculationError: the set leaves no such choice.
        """
        if name not in self.options:
            known = ", ".join(sorted(self.options)) or "none"
            message = f"factor set {self.id} has no option {name!r}; it has: {known}"
            raise CalculationError(message)
        return self.options[name]

    def __contains__(self, factor_id: str) -> bool:
        return any(True for _ in self._chosen(factor_id))

    def all(self) -> Iterator[Factor]:
        """Every factor, also those of choices that are not taken, in the set's order."""
        for versions in self.factors.values():
            yield from versions

    def site_values(self) -> tuple[Factor | Option, ...]:
        """What a site put in the place of the set's own values."""
        factors = [factor for factor in self.all() if factor.status == SITE]
        return (*factors, *(item for item in self.options.values() if item.status == SITE))

    def applies(self, factor: Factor) -> bool:
        """Whether the choices taken let a factor apply."""
        name, _, value = factor.when.partition("=")
        return not name or (name in self.options and str(self.options[name].value) == value)

    def _chosen(self, factor_id: str) -> Iterator[Factor]:
        return (factor for factor in self.factors.get(factor_id, ()) if self.applies(factor))

"""The data quality control plan (数据质量控制方案): where each parameter comes from.

A strict file that the agent's configuration names; it travels inside the signed configuration
document, so that a month is computed, and verified offline, by the plan that was in force.
"""

from datetime import date
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent import documents
from edge_agent.calc.substitution import Method

SCOPE = r"^[a-z0-9][a-z0-9_.-]{0,63}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Source(_Strict):
    """One place a parameter can come from.

    ``meter``: ids of meters, whose amounts are added; ``entry``: items of weighing or ticket
    entries, added; ``stock``: an item of stock entries (opening + bought - closing - sold, or its
    mirror for what is made); ``lab``: items of analysis entries, blended by mass; ``default``: a
    factor of the set; ``plant``: what the plant itself counts, such as the effect detector.
    """

    kind: Literal["meter", "entry", "stock", "lab", "default", "plant"]
    refs: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.kind in ("stock", "default") and len(self.refs) != 1:
            message = f"a {self.kind} source names exactly one thing in refs"
            raise ValueError(message)
        return self


class Line(_Strict):
    """One parameter of the plan.

    ``scope`` is what it belongs to (``line1``, ``kiln1.coal``); without one the line holds for
    every scope that has no line of its own. ``sources`` stand in order of preference,
    ``substitution`` in the order in which missing hours are filled. ``bound`` is the highest
    possible amount of an hour (lowest for output), ``default_per_hour`` the guide's default.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    scope: str | None = Field(default=None, pattern=SCOPE)
    unit: str = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)
    frequency: Literal["continuous", "hour", "shift", "day", "lot", "month"]
    role: str = Field(min_length=2)
    evidence: str = Field(min_length=2)
    substitution: tuple[Method, ...] = ()
    bound: float | None = Field(default=None, allow_inf_nan=False)
    default_per_hour: float | None = Field(default=None, allow_inf_nan=False)
    reason: str = ""

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.substitution)) != len(self.substitution):
            message = "a substitution method stands twice"
            raise ValueError(message)
        if Method.GUIDE_DEFAULT in self.substitution and not self._has_default:
            message = "guide_default needs a source of kind default or default_per_hour"
            raise ValueError(message)
        return self

    @property
    def _has_default(self) -> bool:
        return self.default_per_hour is not None or any(
            source.kind == "default" for source in self.sources
        )


class ControlPlan(_Strict):
    """A plan under one id and version."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,63}$")
    version: int = Field(ge=1)
    sector: Literal["aluminium", "cement", "steel"]
    valid_from: date
    valid_to: date | None = None
    author: str = Field(min_length=2)
    parameters: tuple[Line, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        seen: set[tuple[str, str | None]] = set()
        for line in self.parameters:
            key = (line.id, line.scope)
            if key in seen:
                message = f"{line.id} of {line.scope or 'every scope'} stands twice"
                raise ValueError(message)
            seen.add(key)
        return self


def read(path: Path) -> ControlPlan:
    """A plan file.

    Raises:
        ConfigError: unreadable, or a key or value is wrong; names file, line and what is right.
    """
    return documents.validate(documents.load(path), ControlPlan)


def to_plain(plan: ControlPlan) -> dict[str, Any]:
    """The plan as plain values, the form in which it travels in the configuration document."""
    return plan.model_dump(mode="json")

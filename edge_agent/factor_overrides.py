"""A site's own values in the place of a factor set's: never without reason and evidence."""

import dataclasses
import difflib
import math
from collections.abc import Sequence
from datetime import date

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.calc import vocabulary
from edge_agent.calc.factors import SITE, Factor, FactorSet, Option
from edge_agent.errors import ConfigError
from edge_agent.factor_options import Options, describe

_OPTION = "options."


class Override(BaseModel):
    """One entry of ``overrides``.

    ``id`` is a factor's id, or ``options.<name>``; ``evidence`` is the SHA-256 of the document that
    carries the value: a laboratory report, a certificate, a letter of the authority.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    id: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$")
    value: float | str
    unit: str = ""
    reason: str = Field(min_length=8)
    evidence: str = Field(pattern=r"^[0-9a-f]{64}$")
    valid_from: date | None = None
    valid_to: date | None = None
    relative_uncertainty: float | None = Field(default=None, ge=0)


def apply(factor_set: FactorSet, overrides: Sequence[Override]) -> FactorSet:
    """The set with a site's values; each says ``site``, why, and what it replaces.

    Raises:
        ConfigError: an id is unknown or stands twice, or a value or unit does not fit it.
    """
    seen: set[str] = set()
    for place, override in enumerate(overrides):
        key = f"overrides[{place}]"
        if override.id in seen:
            message = f"{override.id} is overridden twice"
            raise ConfigError(message, key=key, right="one value an id")
        seen.add(override.id)
        if override.id.startswith(_OPTION):
            factor_set = _with_option(factor_set, override, key)
        else:
            factor_set = _with_factor(factor_set, override, key)
    return factor_set


def _with_option(factor_set: FactorSet, override: Override, key: str) -> FactorSet:
    name = override.id.removeprefix(_OPTION)
    if name not in factor_set.options:
        message = f"factor set {factor_set.id} has no option {name!r}"
        raise ConfigError(
            message, key=f"{key}.id", right=f"it has: {', '.join(factor_set.options)}"
        )
    given = override.value
    whole = int(given) if isinstance(given, float) and given.is_integer() else given
    plain = {"value": whole, "source": "site", "status": SITE}
    try:
        Options.model_validate({name: plain})
    except ValidationError:
        message = f"{name} cannot be {override.value!r}"
        raise ConfigError(message, key=f"{key}.value", right=describe(name)) from None
    before = factor_set.options[name]
    option = Option(
        name,
        whole if isinstance(whole, int) else str(whole),
        _site_source(override),
        SITE,
        before.note,
        override.reason,
        override.evidence,
        before.value,
    )
    return dataclasses.replace(factor_set, options={**factor_set.options, name: option})


def _with_factor(factor_set: FactorSet, override: Override, key: str) -> FactorSet:
    word = vocabulary.find(override.id)
    if word is None:
        close = difflib.get_close_matches(override.id, list(factor_set.factors), 1, 0.6)
        right = f"did you mean {close[0]!r}?" if close else f"see the ids of {factor_set.id}"
        message = f"{override.id!r} is no id of the vocabulary"
        raise ConfigError(message, key=f"{key}.id", right=right)
    before = factor_set.get(override.id) if override.id in factor_set else None
    units = (before.unit,) if before else word.units
    if override.unit not in units:
        message = f"the unit of {override.id} is {override.unit!r}"
        raise ConfigError(message, key=f"{key}.unit", right=f"{' or '.join(units)} is right")
    if isinstance(override.value, str) or not math.isfinite(override.value):
        message = f"{override.id} cannot be {override.value!r}"
        raise ConfigError(message, key=f"{key}.value", right="a number is right")
    factor = Factor(
        override.id,
        override.value,
        override.unit,
        _site_source(override),
        status=SITE,
        valid_from=override.valid_from,
        valid_to=override.valid_to,
        relative_uncertainty=override.relative_uncertainty,
        reason=override.reason,
        evidence=override.evidence,
        replaces=before.value if before else None,
    )
    # The site's value stands first: where it is valid, it is found before the set's own.
    versions = (factor, *factor_set.factors.get(override.id, ()))
    factors = {**factor_set.factors, override.id: versions}
    return dataclasses.replace(factor_set, factors=factors)


def _site_source(override: Override) -> str:
    return f"site: {override.reason} (evidence sha256 {override.evidence})"

"""Factor files: YAML into a ``FactorSet``; every value with unit, source and status.

Rules a file obeys beside its schema:

    F1  an id stands in the vocabulary, with one of its units
    F2  a source is one of the file's ``sources``
    F3  ``when`` names an option the set has, and one of that option's values
    F4  no two values of an id apply on the same day under the same choice
    F5  only a site's override makes a value of status ``site``
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from edge_agent import documents
from edge_agent.calc import vocabulary
from edge_agent.calc.factors import SITE, Factor, FactorSet
from edge_agent.errors import ConfigError
from edge_agent.factor_options import Options, allowed, to_options

_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE.parent / "configs" / "factors", _HERE / "configs" / "factors")
Problem = tuple[documents.Path_, str, str]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class FactorEntry(_Strict):
    """One value of a factor file; ``source`` is one or several of the file's sources."""

    id: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
    value: float = Field(allow_inf_nan=False)
    unit: str
    source: str = Field(min_length=1)
    clause: str = ""
    status: Literal["verified", "unverified", "site"]
    valid_from: date | None = None
    valid_to: date | None = None
    relative_uncertainty: float | None = Field(default=None, ge=0)
    note: str = ""
    when: str = Field(default="", pattern=r"^([a-z0-9_]+=[a-z0-9_]+)?$")
    reason: str = ""
    evidence: str = ""
    replaces: float | None = None

    @field_validator("source", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return " + ".join(value) if isinstance(value, list) else value


class FactorFile(_Strict):
    """A factor file as a whole; ``sources`` names each document once."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]+$")
    version: int = Field(ge=1)
    title: str
    issued: date | None = None
    sources: dict[str, str] = Field(default_factory=dict)
    options: Options = Options()
    factors: list[FactorEntry] = Field(min_length=1)


def names(folder: Path | None = None) -> list[str]:
    """Ids of the sets in a folder, or of those that ship with the program."""
    places = (folder,) if folder else _PLACES
    return sorted({file.stem for place in places for file in place.glob("*.yaml")})


def find(factor_set_id: str, folder: Path | None = None) -> FactorSet:
    """The factor set with this id from a folder, or from those that ship with the program.

    Raises:
        ConfigError: there is no such set; names those there are.
    """
    for place in (folder,) if folder else _PLACES:
        path = place / f"{factor_set_id}.yaml"
        if factor_set_id in names(place):
            return read(path)
    message = f"there is no factor set {factor_set_id!r}"
    right = f"known: {', '.join(names(folder))}"
    raise ConfigError(message, key="factor_set", right=right)


def read(path: Path) -> FactorSet:
    """A factor file's set.

    Raises:
        ConfigError: the file breaks the schema or a rule, or its id is not its name.
    """
    document = documents.load(path)
    file = documents.validate(document, FactorFile)
    if file.id != path.stem:
        raise document.error(("id",), f"is {file.id!r} in a file named {path.name}")
    for key, message, right in _problems(file):
        raise document.error(key, message, right)
    for key in _site_values(file):  # F5
        message = "a factor file has no site values"
        raise document.error(key, message, "overrides make them")
    return _to_set(file)


def to_plain(factor_set: FactorSet) -> dict[str, Any]:
    """The set as plain values, the form in which it travels in the configuration document."""
    texts = [factor.source for factor in factor_set.all()]
    texts += [option.source for option in factor_set.options.values()]
    keys = {text: f"s{place}" for place, text in enumerate(dict.fromkeys(texts), 1)}
    plain: dict[str, Any] = {
        "id": factor_set.id,
        "version": factor_set.version,
        "title": factor_set.title,
        "sources": {key: text for text, key in keys.items()},
        "options": {
            name: _compact(option, {"name", "source"}) | {"source": keys[option.source]}
            for name, option in factor_set.options.items()
        },
        "factors": [
            _compact(factor, {"source"}) | {"source": keys[factor.source]}
            for factor in factor_set.all()
        ],
    }
    if factor_set.issued:
        plain["issued"] = factor_set.issued.isoformat()
    return plain


def from_plain(plain: dict[str, Any]) -> FactorSet:
    """The set that ``to_plain`` gave.

    Raises:
        ValueError: it breaks the schema or a rule.
    """
    file = FactorFile.model_validate(plain)
    for key, message, right in _problems(file):
        text = f"{documents.dotted(key)}: {message} ({right})"
        raise ValueError(text)
    return _to_set(file)


def _site_values(file: FactorFile) -> Iterator[documents.Path_]:
    for name, chosen in file.options:
        if chosen is not None and chosen.status == SITE:
            yield "options", name, "status"
    for place, entry in enumerate(file.factors):
        if entry.status == SITE:
            yield "factors", place, "status"


def _compact(item: Any, without: set[str]) -> dict[str, Any]:
    """Fields that say something: no empty texts and no nulls; dates as text."""
    fields = {name: getattr(item, name) for name in item.__slots__ if name not in without}
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in fields.items()
        if value is not None and value != ""
    }


def _to_set(file: FactorFile) -> FactorSet:
    factors: dict[str, list[Factor]] = defaultdict(list)
    for entry in file.factors:
        fields = entry.model_dump()
        fields["source"] = _source_text(file, entry)
        factors[entry.id].append(Factor(**fields))
    return FactorSet(
        file.id,
        file.version,
        file.title,
        {key: tuple(value) for key, value in factors.items()},
        to_options(file.options, file.sources),
        file.issued,
    )


def _source_text(file: FactorFile, entry: FactorEntry) -> str:
    if not file.sources:
        return entry.source
    return "; ".join(file.sources[key] for key in entry.source.split(" + "))


def _problems(file: FactorFile) -> Iterator[Problem]:
    known = {name: str(chosen.value) for name, chosen in file.options if chosen is not None}
    yield from _option_problems(file)
    for place, entry in enumerate(file.factors):
        key: documents.Path_ = ("factors", place)
        yield from _word_problems(entry, key)
        for source in entry.source.split(" + "):
            if file.sources and source not in file.sources:  # F2
                right = f"known: {', '.join(file.sources)}"
                yield (*key, "source"), f"there is no source {source!r}", right
        name, _, value = entry.when.partition("=")
        if name and name not in known:  # F3
            right = f"options of this set: {', '.join(known) or 'none'}"
            yield (*key, "when"), f"the set has no option {name!r}", right
        elif name and value not in allowed(name):
            right = f"one of {', '.join(allowed(name))} is right"
            yield (*key, "when"), f"{name} has no value {value!r}", right
    yield from _overlaps(file.factors)


def _option_problems(file: FactorFile) -> Iterator[Problem]:
    for name, chosen in file.options:
        if chosen is None:
            continue
        if file.sources and chosen.source not in file.sources:  # F2
            right = f"known: {', '.join(file.sources)}"
            yield ("options", name, "source"), f"there is no source {chosen.source!r}", right


def _word_problems(entry: FactorEntry, key: documents.Path_) -> Iterator[Problem]:
    word = vocabulary.find(entry.id)
    if word is None:  # F1
        right = "ids are listed in edge_agent/calc/vocabulary.py"
        yield (*key, "id"), f"{entry.id!r} is no id of the vocabulary", right
    elif entry.unit not in word.units:
        right = f"{' or '.join(word.units)} is right"
        yield (*key, "unit"), f"the unit of {entry.id} is {entry.unit!r}", right
    if entry.valid_from and entry.valid_to and entry.valid_to < entry.valid_from:
        yield (*key, "valid_to"), f"{entry.valid_to} is before {entry.valid_from}", "swap them"


def _overlaps(entries: Sequence[FactorEntry]) -> Iterator[Problem]:
    """F4; a site's value may lie over the one it replaces."""
    seen: dict[tuple[str, str], list[FactorEntry]] = defaultdict(list)
    for place, entry in enumerate(entries):
        if entry.status == SITE:
            continue
        for other in seen[entry.id, entry.when]:
            if _begin(entry) <= _end(other) and _begin(other) <= _end(entry):
                message = f"two values of {entry.id} apply on the same day"
                yield ("factors", place), message, "give them valid_from and valid_to, or when"
        seen[entry.id, entry.when].append(entry)


def _begin(entry: FactorEntry) -> date:
    return entry.valid_from or date.min


def _end(entry: FactorEntry) -> date:
    return entry.valid_to or date.max

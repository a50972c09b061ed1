"""Factor files: YAML into a ``FactorSet``; every value with unit, source and status."""

from collections import defaultdict
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge_agent import documents
from edge_agent.calc.factors import Factor, FactorSet
from edge_agent.errors import ConfigError

_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE.parent / "configs" / "factors", _HERE / "configs" / "factors")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FactorEntry(_Strict):
    """One value of a factor file."""

    id: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
    value: float = Field(allow_inf_nan=False)
    unit: str
    source: str = Field(min_length=3)
    clause: str = ""
    status: Literal["verified", "unverified"]
    valid_from: date | None = None
    valid_to: date | None = None
    relative_uncertainty: float | None = Field(default=None, ge=0)


class FactorFile(_Strict):
    """A factor file as a whole."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]+$")
    version: int = Field(ge=1)
    title: str
    factors: list[FactorEntry] = Field(min_length=1)


def find(factor_set_id: str, folder: Path | None = None) -> FactorSet:
    """The factor set with this id from a folder, or from those that ship with the program.

    Raises:
        ConfigError: there is no such set; names those there are.
    """
    places = (folder,) if folder else _PLACES
    known: list[str] = []
    for place in places:
        path = place / f"{factor_set_id}.yaml"
        if path.is_file():
            return read(path)
        known += sorted(file.stem for file in place.glob("*.yaml"))
    message = f"there is no factor set {factor_set_id!r}"
    raise ConfigError(message, key="factor_set", right=f"known: {', '.join(known)}")


def read(path: Path) -> FactorSet:
    """A factor file's set.

    Raises:
        ConfigError: the file breaks the schema, or its id is not its name.
    """
    document = documents.load(path)
    file = documents.validate(document, FactorFile)
    if file.id != path.stem:
        raise document.error(("id",), f"is {file.id!r} in a file named {path.name}")
    return from_entries(file.id, file.version, file.title, file.factors)


def from_entries(set_id: str, version: int, title: str, entries: list[FactorEntry]) -> FactorSet:
    """A set from validated entries; several of one id are its versions over time."""
    factors: dict[str, list[Factor]] = defaultdict(list)
    for entry in entries:
        factors[entry.id].append(Factor(**entry.model_dump()))
    return FactorSet(set_id, version, title, {key: tuple(value) for key, value in factors.items()})


def to_plain(factor_set: FactorSet) -> dict[str, Any]:
    """The set as plain values, the form in which it travels in the configuration document."""
    return {
        "id": factor_set.id,
        "version": factor_set.version,
        "title": factor_set.title,
        "factors": [
            FactorEntry(
                **{name: getattr(factor, name) for name in FactorEntry.model_fields}
            ).model_dump(mode="json")
            for factors in factor_set.factors.values()
            for factor in factors
        ],
    }


def from_plain(plain: dict[str, Any]) -> FactorSet:
    """The set that ``to_plain`` gave.

    Raises:
        ValueError: it breaks the schema.
    """
    file = FactorFile.model_validate(plain)
    return from_entries(file.id, file.version, file.title, file.factors)

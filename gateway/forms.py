"""Reads the sectors' monthly lists (``configs/forms/<sector>.yaml``)."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import edge_agent
from edge_agent import documents
from edge_agent.errors import ConfigError
from gateway.plan import Form, Parameter

_PACKAGE = Path(edge_agent.__file__).resolve().parent
_PLACES = (_PACKAGE.parent / "configs" / "forms", _PACKAGE / "configs" / "forms")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Strict):
    """One line of a form file."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)
    unit: str = Field(min_length=1)
    decimals: int = Field(ge=0, le=8)
    level: Literal["site", "potline", "kiln", "unit", "fuel", "material", "meter"] = "site"
    direction: Literal["", "emission", "output"] = ""
    required: bool = False
    methods: tuple[Literal["measured", "calculated", "default", "estimated"], ...] = ()
    evidence: str = ""
    source: str = Field(min_length=3)
    status: Literal["verified", "unverified"]


class FormFile(_Strict):
    """A form file as a whole."""

    id: str
    version: int = Field(ge=1)
    zh: str
    en: str
    guide: str
    parameters: tuple[Line, ...] = Field(min_length=1)


@cache
def find(sector: str, folder: Path | None = None) -> Form:
    """The form of a sector from a folder, or from those that ship with the program.

    Raises:
        ConfigError: there is no such form, or its file is wrong.
    """
    known: list[str] = []
    for place in (folder,) if folder else _PLACES:
        path = place / f"{sector}.yaml"
        if path.is_file():
            return read(path)
        known += sorted(file.stem for file in place.glob("*.yaml"))
    message = f"there is no form for sector {sector!r}"
    raise ConfigError(message, key="sector", right=f"known: {', '.join(known)}")


def read(path: Path) -> Form:
    """A form file.

    Raises:
        ConfigError: the file breaks the schema, or an id stands twice.
    """
    document = documents.load(path)
    file = documents.validate(document, FormFile)
    parameters: dict[str, Parameter] = {}
    for place, line in enumerate(file.parameters):
        if line.id in parameters:
            raise document.error(("parameters", place, "id"), f"{line.id!r} stands twice")
        parameters[line.id] = Parameter(**line.model_dump())
    return Form(file.id, file.version, file.zh, file.en, file.guide, parameters)

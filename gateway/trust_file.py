"""Whom a verifier trusts: ``trust.toml``, got from somewhere else than the bundle.

trusted = ["<key id>", ...]        keys of agents, persons and the gateway
software = ["<sha256>", ...]       approved digests of the legally relevant files; optional
quorum = 1                         cosignatures needed, of the witnesses below

[log]                              optional; without it the key in the bundle is taken
origin = "carbon-log/local"
key = "<64 hex digits>"

[[witness]]
name = "witness.example"
key = "<64 hex digits>"
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.wire.notes import NoteKey
from gateway.bundle import BundleError

_HEX = r"^[0-9a-fA-F]{64}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Key(_Strict):
    key: str = Field(pattern=_HEX)


class _LogKey(_Key):
    origin: str = Field(min_length=1)


class _WitnessKey(_Key):
    name: str = Field(min_length=1)


class _File(_Strict):
    trusted: list[str]
    software: list[str] = Field(default_factory=list)
    quorum: int = Field(default=0, ge=0)
    log: _LogKey | None = None
    witness: list[_WitnessKey] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trust:
    """Key ids, software digests, the log's key, witnesses and how many of them must have signed."""

    keys: frozenset[bytes]
    software: frozenset[bytes] = frozenset()
    log: NoteKey | None = None
    witnesses: tuple[NoteKey, ...] = ()
    quorum: int = 0


def load(path: Path) -> Trust:
    """Read a trust file.

    Raises:
        BundleError: unreadable; names the key that is wrong and what would be right.
    """
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        keys = frozenset(map(bytes.fromhex, file.trusted))
        software = frozenset(map(bytes.fromhex, file.software))
    except ValidationError as error:
        raise BundleError(f"{path}: {_first(error)}") from error
    except (OSError, ValueError) as error:
        message = f'{path}: needs a list trusted = ["key id in hex", ...]: {error}'
        raise BundleError(message) from error
    if file.quorum > len(file.witness):
        message = f"{path}: quorum: {file.quorum} of {len(file.witness)} witnesses"
        raise BundleError(message)
    log = NoteKey(file.log.origin, bytes.fromhex(file.log.key)) if file.log else None
    witnesses = tuple(NoteKey(one.name, bytes.fromhex(one.key)) for one in file.witness)
    return Trust(keys, software, log, witnesses, file.quorum)


def _first(error: ValidationError) -> str:
    found: Any = error.errors(include_url=False)[0]
    key = ".".join(map(str, found["loc"]))
    if found["type"] == "missing":
        return f'{key}: is missing; needs a list trusted = ["key id in hex", ...]'
    return f"{key}: {found['msg']}; found {str(found['input'])[:80]!r}"

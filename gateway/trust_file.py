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

[[timestamp]]                      optional; an outside time-stamping authority (RFC 3161)
name = "<its name in the gateway's file>"
policy = "1.3.6.1.4.1.99999.1"     optional; the policy it must issue under
roots = '''
-----BEGIN CERTIFICATE-----
...
-----END CERTIFICATE-----
'''
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edge_agent.wire.notes import NoteKey
from gateway import timestamp
from gateway.bundle import BundleError
from gateway.timestamp import Authority

_HEX = r"^[0-9a-fA-F]{64}$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Key(_Strict):
    key: str = Field(pattern=_HEX)


class _LogKey(_Key):
    origin: str = Field(min_length=1)


class _WitnessKey(_Key):
    name: str = Field(min_length=1)


class _Timestamp(_Strict):
    name: str = Field(min_length=1)
    policy: Annotated[str, AfterValidator(lambda text: timestamp.oid(text) if text else text)] = ""
    roots: str

    def authority(self) -> Authority:
        try:
            return Authority(self.name, timestamp.roots(self.roots.encode()), self.policy)
        except timestamp.TimestampError as error:
            message = f"timestamp {self.name}: roots: {error}"
            raise ValueError(message) from error


class _File(_Strict):
    trusted: list[str]
    software: list[str] = Field(default_factory=list)
    quorum: int = Field(default=0, ge=0)
    log: _LogKey | None = None
    witness: list[_WitnessKey] = Field(default_factory=list)
    timestamp: list[_Timestamp] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trust:
    """Key ids, software digests, the log's key, witnesses and how many of them must have signed.

    ``authorities`` stamp checkpoints with the time.
    """

    keys: frozenset[bytes]
    software: frozenset[bytes] = frozenset()
    log: NoteKey | None = None
    witnesses: tuple[NoteKey, ...] = ()
    quorum: int = 0
    authorities: tuple[Authority, ...] = ()


def load(path: Path) -> Trust:
    """Read a trust file.

    Raises:
        BundleError: unreadable; names the key that is wrong and what would be right.
    """
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        keys = frozenset(map(bytes.fromhex, file.trusted))
        software = frozenset(map(bytes.fromhex, file.software))
        authorities = tuple(one.authority() for one in file.timestamp)
    except ValidationError as error:
        raise BundleError(f"{path}: {_first(error)}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    if len({one.name for one in authorities}) < len(authorities):
        raise BundleError(f"{path}: timestamp: two authorities have one name")
    if file.quorum > len(file.witness):
        message = f"{path}: quorum: {file.quorum} of {len(file.witness)} witnesses"
        raise BundleError(message)
    log = NoteKey(file.log.origin, bytes.fromhex(file.log.key)) if file.log else None
    witnesses = tuple(NoteKey(one.name, bytes.fromhex(one.key)) for one in file.witness)
    return Trust(keys, software, log, witnesses, file.quorum, authorities)


def _first(error: ValidationError) -> str:
    found: Any = error.errors(include_url=False)[0]
    key = ".".join(map(str, found["loc"]))
    if found["type"] == "missing":
        return f'{key}: is missing; needs a list trusted = ["key id in hex", ...]'
    return f"{key}: {found['msg']}; found {str(found['input'])[:80]!r}"

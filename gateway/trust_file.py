"""Whom a verifier trusts: ``trust.toml``, got from somewhere else than the bundle.

trusted = ["<key id>", ...]        keys of agents, persons and the gateway
software = ["<sha256>", ...]       approved digests of the legally relevant files; optional
quorum = 1                         cosignatures needed, of the witnesses below
approval = "required"              a configuration that no second person approved is a contradiction;
                                   without this line it is a reservation

[[ca]]                             optional; with it an agent's key is believed when a certificate of
certificate = '''                  this CA and a person's signed decision enrolled it
-----BEGIN CERTIFICATE-----
...
-----END CERTIFICATE-----
'''

[[person]]                         who decides and enters; their keys need not stand under trusted
name = "li"
key = "<SubjectPublicKeyInfo, hex>"
roles = ["operator"]               operator, approver, analyst
revoked = 2026-10-01T00:00:00Z     optional; from when on the key is no longer good

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
from typing import Annotated, Any, Literal

from cryptography import x509
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from edge_agent.errors import CarbonError
from edge_agent.wire import certificates
from edge_agent.wire.keys import PublicKey, public_key
from edge_agent.wire.notes import NoteKey
from gateway import timestamp
from gateway.bundle import BundleError
from gateway.timestamp import Authority

_HEX = r"^[0-9a-fA-F]{64}$"
_NEVER_NS = 2**63 - 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Key(_Strict):
    key: str = Field(pattern=_HEX)


class _LogKey(_Key):
    origin: str = Field(min_length=1)


class _WitnessKey(_Key):
    name: str = Field(min_length=1)


class _Ca(_Strict):
    certificate: str


class _Person(_Strict):
    name: str = Field(min_length=1)
    key: str = Field(pattern=r"^([0-9a-fA-F]{2})+$")
    roles: list[Literal["operator", "approver", "analyst"]] = Field(min_length=1)
    revoked: AwareDatetime | None = None


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
    approval: Literal["off", "required"] = "off"
    ca: list[_Ca] = Field(default_factory=list)
    person: list[_Person] = Field(default_factory=list)
    log: _LogKey | None = None
    witness: list[_WitnessKey] = Field(default_factory=list)
    timestamp: list[_Timestamp] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Signatory:
    """A person: name, key, roles, and until when the key is good [ns UTC]."""

    name: str
    public: PublicKey
    roles: frozenset[str]
    revoked_ns: int = _NEVER_NS

    @property
    def is_revoked(self) -> bool:
        """Whether the key has an end."""
        return self.revoked_ns != _NEVER_NS


@dataclass(frozen=True, slots=True)
class Trust:
    """Key ids, software digests, the log's key, witnesses and how many of them must have signed.

    ``cas`` are the plant CAs; ``persons`` stand in ``keys`` too; ``approval`` says whether a
    configuration without one is a contradiction.
    ``authorities`` stamp checkpoints with the time.
    """

    keys: frozenset[bytes]
    software: frozenset[bytes] = frozenset()
    log: NoteKey | None = None
    witnesses: tuple[NoteKey, ...] = ()
    quorum: int = 0
    cas: tuple[x509.Certificate, ...] = ()
    persons: tuple[Signatory, ...] = ()
    approval: bool = False
    authorities: tuple[Authority, ...] = ()


def load(path: Path) -> Trust:
    """Read a trust file.

    Raises:
        BundleError: unreadable; names the key that is wrong and what would be right.
    """
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        persons = tuple(_signatory(one) for one in file.person)
        cas = tuple(certificates.load(one.certificate.encode()) for one in file.ca)
        keys = frozenset(map(bytes.fromhex, file.trusted))
        software = frozenset(map(bytes.fromhex, file.software))
        authorities = tuple(one.authority() for one in file.timestamp)
    except ValidationError as error:
        raise BundleError(f"{path}: {_first(error)}") from error
    except CarbonError as error:
        raise BundleError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    if len({one.name for one in authorities}) < len(authorities):
        raise BundleError(f"{path}: timestamp: two authorities have one name")
    if file.quorum > len(file.witness):
        message = f"{path}: quorum: {file.quorum} of {len(file.witness)} witnesses"
        raise BundleError(message)
    _check(path, cas, persons)
    log = NoteKey(file.log.origin, bytes.fromhex(file.log.key)) if file.log else None
    witnesses = tuple(NoteKey(one.name, bytes.fromhex(one.key)) for one in file.witness)
    return Trust(
        keys | {one.public.kid for one in persons},
        software,
        log,
        witnesses,
        file.quorum,
        cas=cas,
        persons=persons,
        approval=file.approval == "required",
        authorities=authorities,
    )


def _signatory(one: _Person) -> Signatory:
    revoked_ns = certificates.to_ns(one.revoked) if one.revoked else _NEVER_NS
    try:
        public = public_key(bytes.fromhex(one.key))
    except CarbonError as error:
        message = f"person {one.name}: key: {error}"
        raise BundleError(message) from error
    return Signatory(one.name, public, frozenset(one.roles), revoked_ns)


def _check(path: Path, cas: tuple[x509.Certificate, ...], persons: tuple[Signatory, ...]) -> None:
    if len({one.public.kid for one in persons}) < len(persons):
        message = f"{path}: person: one key stands for two persons"
        raise BundleError(message)
    if cas and not any("operator" in one.roles for one in persons):
        message = f"{path}: ca: needs a [[person]] with the role operator, who enrolled the keys"
        raise BundleError(message)


def _first(error: ValidationError) -> str:
    found: Any = error.errors(include_url=False)[0]
    key = ".".join(map(str, found["loc"]))
    if found["type"] == "missing":
        return f'{key}: is missing; needs a list trusted = ["key id in hex", ...]'
    return f"{key}: {found['msg']}; found {str(found['input'])[:80]!r}"

"""The gateway's file: strict models, and errors that name file, line, key and value.

An unknown key is an error, a relative path is relative to the file, and the loaded value is
frozen. Public keys are read by ``key_ring``, the private key by the command that signs.
"""

import difflib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from edge_agent.errors import ConfigError, KeyFileError
from edge_agent.wire import keys, topics
from gateway import config_text

_NEVER_NS = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POLICY = r"^([0-2](\.(0|[1-9][0-9]{0,17}))+)?$"
Name = Annotated[str, Field(pattern=f"^{topics.NAME.pattern.removesuffix(chr(92) + 'Z')}$")]


def _absolute(value: object, info: ValidationInfo) -> object:
    folder = (info.context or {}).get("folder", Path())
    return folder / Path(value).expanduser() if isinstance(value, str) else value


def _instant(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    kind, text = "instant", "a time with its zone is needed, as 2026-01-01T00:00:00Z"
    raise PydanticCustomError(kind, text)


_File = TypeVar("_File", bound=BaseModel)
FilePath = Annotated[Path, BeforeValidator(_absolute)]
Instant = Annotated[datetime, BeforeValidator(_instant)]


class Section(BaseModel):
    """A part of the file: strict types, no unknown keys, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        known = sorted(cls.model_fields)
        for key in value if isinstance(value, dict) else ():
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), known, n=1)
                right = f"did you mean {near[0]!r}?" if near else ", ".join(known)
                raise PydanticCustomError(
                    config_text.UNKNOWN_KEY,
                    "unknown key",
                    {"key": key, "right": right if near else f"known keys: {right}"},
                )
        return value


class KeyFiles(Section):
    """The gateway's private keys; the log's is made in ``state_dir`` when none is named.

    ``former`` are public keys that were ``ack`` before: what they signed stays in the ledger.
    """

    ack: FilePath
    log: FilePath | None = None
    former: list[FilePath] = Field(default_factory=list)


class Tls(Section):
    """Trusted authority of the broker, and the client certificate when it asks for one."""

    ca: FilePath
    cert: FilePath | None = None
    key: FilePath | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            kind, text = "pair", "'cert' and 'key' belong together"
            raise PydanticCustomError(kind, text)
        return self


class Mqtt(Section):
    """Where the broker is and who we are there."""

    host: str = Field(min_length=1)
    port: int = Field(default=1883, ge=1, le=65_535)
    client_id: str = Field(min_length=1, max_length=64)
    username: str | None = None
    password_file: FilePath | None = None
    tls: Tls | None = None
    keepalive_s: int = Field(default=30, ge=1, le=3_600)

    @model_validator(mode="after")
    def _user(self) -> Self:
        if self.password_file is not None and self.username is None:
            kind, text = "user", "'password_file' needs 'username'"
            raise PydanticCustomError(kind, text)
        return self


class Agent(Section):
    """An enrolled key: which agent it speaks for, and from when to when."""

    site: Name
    agent: Name
    public_key: FilePath
    not_before: Instant | None = None
    not_after: Instant | None = None


class Person(Section):
    """Somebody who signs: operators and approvers decisions, analysts lab values.

    ``revoked`` is when the key stopped being good.
    """

    name: str = Field(min_length=1, max_length=64)
    public_key: FilePath
    roles: list[Literal["operator", "approver", "analyst"]] = Field(min_length=1)
    revoked: Instant | None = None


class Authority(Section):
    """The plant CA: its certificate, pinned by the SHA-256 fingerprint told out of band."""

    certificate: FilePath
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")


class LedgerSettings(Section):
    """Where evidence is kept, and how much is committed at once."""

    path: FilePath | None = None
    group_ms: int = Field(default=20, ge=0, le=1_000)
    group_batches: int = Field(default=64, ge=1, le=4_096)


class WitnessSettings(Section):
    """A witness of the log: its name, its public key, and where it listens."""

    name: str = Field(min_length=1, max_length=200)
    public_key: FilePath
    url: str = Field(pattern=r"^https?://")


class TimestampSettings(Section):
    """An outside time-stamping authority: its roots as PEM, and the policy it is asked for."""

    name: Name
    url: str = Field(pattern=r"^https?://")
    roots: FilePath
    policy: str = Field(default="", pattern=_POLICY)


class LogSettings(Section):
    """The log over everything signed: its name, how often it is stated, who witnesses it."""

    installation: Name = "local"
    checkpoint_s: int = Field(default=3_600, ge=1, le=86_400)
    witnesses: list[WitnessSettings] = Field(default_factory=list)
    witness_timeout_s: float = Field(default=10, gt=0, le=120)
    timestamps: list[TimestampSettings] = Field(default_factory=list, max_length=4)
    timestamp_timeout_s: float = Field(default=30, gt=0, le=120)


class SqliteSettings(Section):
    """The built-in store: one file, no server."""

    kind: Literal["sqlite"]
    path: FilePath | None = None


class InfluxSettings(Section):
    """An InfluxDB, or a store that takes its line protocol (then ``read: none``)."""

    kind: Literal["influxdb"]
    url: str = Field(pattern=r"^https?://")
    token: SecretStr | None = None
    token_file: FilePath | None = None
    org: str
    bucket: str
    read: Literal["none", "flux"] = "none"
    progress: FilePath | None = None

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token is None) == (self.token_file is None):
            kind, text = "token", "exactly one of 'token' and 'token_file' is needed"
            raise PydanticCustomError(kind, text)
        return self


StoreSettings = Annotated[SqliteSettings | InfluxSettings, Field(discriminator="kind")]


class Hold(Section):
    """How much one agent may send ahead of a missing batch or configuration."""

    batches: int = Field(default=1_000, ge=1, le=100_000)
    bytes: int = Field(default=67_108_864, ge=262_400)


class Quarantine(Section):
    """How many refused messages are kept (4 KiB of each): in all, of a topic, of it in an hour.

    Counters go on.
    """

    messages: int = Field(default=10_000, ge=1)
    per_topic: int = Field(default=1_000, ge=1)
    per_hour: int = Field(default=100, ge=1)


class CadenceSettings(Section):
    """What one agent may bring in for each hour that its batches cover, and hours saved up."""

    batches_per_hour: int = Field(default=600, ge=1)
    bytes_per_hour: int = Field(default=16_777_216, ge=262_400)
    burst_hours: int = Field(default=24, ge=1)


class GatewayConfig(Section):
    """The whole file."""

    state_dir: FilePath
    keys: KeyFiles
    mqtt: Mqtt
    agents: list[Agent] = []
    people: list[Person] = []
    authorities: list[Authority] = []
    approval: Literal["off", "required"] = "off"
    ledger: LedgerSettings = LedgerSettings()
    log: LogSettings = LogSettings()
    store: StoreSettings = SqliteSettings(kind="sqlite")
    hold: Hold = Hold()
    quarantine: Quarantine = Quarantine()
    cadence: CadenceSettings = CadenceSettings()
    late_after_s: int | None = Field(default=3_600, ge=1)
    future_after_s: int | None = Field(default=300, ge=1)
    clock_drift_ppm: int | None = Field(default=500, ge=1)
    key_grace_days: int = Field(default=45, ge=0)

    @property
    def log_key_path(self) -> Path:
        """The log's private key."""
        return self.keys.log or self.state_dir / "log.pem"

    @property
    def ledger_path(self) -> Path:
        """The ledger's file."""
        return self.ledger.path or self.state_dir / "ledger.sqlite"

    @property
    def store_path(self) -> Path:
        """The built-in store's file, or the progress file beside a remote store."""
        if isinstance(self.store, SqliteSettings):
            return self.store.path or self.state_dir / "store.sqlite"
        return self.store.progress or self.state_dir / "store-progress.json"


def load(path: Path) -> GatewayConfig:
    """Read and check the gateway's configuration file.

    Raises:
        ConfigError: unreadable, not YAML, or a value is wrong; names the first such place.
    """
    return load_as(path, GatewayConfig)


def load_as(path: Path, model: type[_File]) -> _File:
    """Read and check a file of another kind in the same manner."""
    document, node = config_text.parse(path)
    try:
        return model.model_validate(document, context={"folder": path.absolute().parent})
    except ValidationError as error:
        found = [config_text.explain(path, node, details) for details in error.errors()]
        raise min(found, key=lambda item: item.line) from None


def key_ring(config: GatewayConfig) -> keys.KeyRing:
    """The enrolled public keys.

    Raises:
        ConfigError: a key file is unreadable or unsafe, or one key stands for two agents.
    """
    ring: dict[bytes, keys.Enrolment] = {}
    for place, agent in enumerate(config.agents):
        key = f"agents[{place}].public_key"
        public = _public(agent.public_key, key)
        if public.kid in ring:
            message = f"{agent.public_key}: this key is enrolled twice"
            raise ConfigError(message, key=key, right="one key, one agent")
        ring[public.kid] = keys.Enrolment(
            agent.site,
            agent.agent,
            public,
            _to_ns(agent.not_before, 0),
            _to_ns(agent.not_after, _NEVER_NS),
        )
    return keys.KeyRing(list(ring.values()))


def former_keys(config: GatewayConfig) -> list[keys.PublicKey]:
    """The keys that the gateway signed with before.

    Raises:
        ConfigError: a file is unreadable or no public key.
    """
    files = enumerate(config.keys.former)
    return [_public(file, f"keys.former[{place}]") for place, file in files]


def _public(file: Path, key: str) -> keys.PublicKey:
    try:
        return keys.public_key(file.read_bytes())
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise ConfigError(message, key=key) from error
    except KeyFileError as error:
        raise ConfigError(f"{file}: {error}", key=key) from error


def _to_ns(instant: datetime | None, otherwise: int) -> int:
    if instant is None:
        return otherwise
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1_000

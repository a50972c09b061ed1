"""The agent's file: strict models, errors with line and key, digest of the effective whole.

A tag with ``repeat: {from: 1, to: 24}`` stands for one tag a number; ``{n}`` (or ``{n:03d}``)
in its texts is the number. What travels to the gateway is the *effective* configuration: every
default resolved, every factor with its source, no secrets and no local paths.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent import documents, factor_sets
from edge_agent.calc.factors import FactorSet
from edge_agent.documents import Document
from edge_agent.drivers import AnyDeviceConfig
from edge_agent.drivers.paths import resolve_paths
from edge_agent.wire import cbor

NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"
_MAX_REPEAT = 2_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Keys(_Strict):
    """Key files: the agent's signing key and the gateways' public keys it trusts."""

    signing: Path
    gateway: tuple[Path, ...] = Field(min_length=1)


class Tls(_Strict):
    """TLS towards the broker."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None


class Mqtt(_Strict):
    """The broker."""

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65_535)
    keepalive_s: int = Field(default=30, ge=5, le=3_600)
    username: str | None = None
    password_file: Path | None = None
    tls: Tls | None = None
    window: int = Field(default=32, ge=1, le=1_000)
    resend_s: float = Field(default=10, gt=0)


class Time(_Strict):
    """Where UTC comes from, and how long late samples are waited for."""

    source: Literal["system", "device"] = "system"
    lateness_s: float = Field(default=5, ge=0, le=86_400)
    max_clock_step_s: float = Field(default=2, gt=0)
    journal_s: float = Field(default=1, gt=0)
    status_s: float = Field(default=30, gt=0)


class Outbox(_Strict):
    """Limits of the durable outbox."""

    max_mb: int = Field(default=4_096, ge=1)
    max_rows: int = Field(default=1_500, ge=10, le=10_000)


class Detector(_Strict):
    """Levels [V] and times [s] of the anode-effect detector."""

    v_on: float = 8.0
    v_off: float = 7.0
    t_on_s: float = Field(default=2.0, ge=0)
    t_off_s: float = Field(default=10.0, ge=0)
    max_hold_s: float = Field(default=5.0, gt=0)
    gap_cap_s: float = Field(default=60.0, ge=0)
    reoccur_s: float = Field(default=900.0, ge=0)
    v_target: float | None = None
    v_out: float = 1.5
    t_out_s: float = Field(default=60.0, ge=0)
    outage_in_service: bool = True

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if not self.v_out < self.v_off <= self.v_on:
            message = "v_out < v_off <= v_on is right"
            raise ValueError(message)
        return self


class Pots(_Strict):
    """Numbers of the pots of a line, and the texts that make tag ids of them."""

    first: int = Field(default=1, ge=0)
    count: int = Field(ge=1, le=2_000)
    voltage: str
    status: str | None = None
    status_out: tuple[int, ...] = (0,)
    status_starting: tuple[int, ...] = (2,)

    def numbers(self) -> range:
        """The pot numbers."""
        return range(self.first, self.first + self.count)


class Potline(_Strict):
    """One potline: pots in series under one line current."""

    id: str = Field(pattern=NAME)
    technology: Literal["cwpb", "swpb", "vss", "hss", "pfpb_l", "pfpb_m"] = "cwpb"
    pots: Pots
    current: str
    nominal_ka: float = Field(gt=0, le=1_000)
    current_off_share: float = Field(default=0.1, ge=0, le=1)
    current_efficiency_percent: float = Field(ge=50, le=100)
    sample_period_s: float = Field(default=1.0, gt=0, le=60)
    voltage_range: tuple[float, float] = (-5.0, 120.0)
    stuck_s: float = Field(default=300.0, gt=0)
    detector: Detector = Detector()

    def pot_id(self, number: int) -> str:
        """Name of a pot in series and reports."""
        return f"pot{number:03d}"


class Meter(_Strict):
    """A totaliser tag and what it counts."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    tag: str
    role: Literal["electricity", "fuel", "metal"]
    fuel: str | None = None
    potline: str | None = None
    instrument: str = ""
    accuracy_class: str = ""
    calibrated_until: str = ""

    @model_validator(mode="after")
    def _needs(self) -> Self:
        if (self.role == "fuel") != (self.fuel is not None):
            message = "a meter of role fuel, and no other, names its fuel"
            raise ValueError(message)
        return self


class AgentConfig(_Strict):
    """The agent's whole configuration."""

    site: str = Field(pattern=NAME)
    agent: str = Field(pattern=NAME)
    timezone: str = "Asia/Shanghai"
    state_dir: Path
    keys: Keys
    mqtt: Mqtt = Mqtt()
    time: Time = Time()
    outbox: Outbox = Outbox()
    factor_set: str
    devices: tuple[AnyDeviceConfig, ...] = Field(min_length=1)
    potlines: tuple[Potline, ...] = ()
    meters: tuple[Meter, ...] = ()

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        if value not in available_timezones():
            message = "no such time zone; a name such as Asia/Shanghai is right"
            raise ValueError(message)
        return value

    @property
    def zone(self) -> ZoneInfo:
        """Plant local time."""
        return ZoneInfo(self.timezone)


def load(path: Path) -> AgentConfig:
    """Read and check the agent's file; relative paths are relative to it.

    Raises:
        ConfigError: the first thing that is wrong, with file, line and key.
    """
    document = documents.load(path)
    if not isinstance(document.value, dict):
        raise document.error((), "must be a map of keys")
    expanded = _expand_repeats(document)
    _resolve_paths(expanded.value, path.resolve().parent)
    config = documents.validate(expanded, AgentConfig)
    _check_references(config, document)
    return config


def _expand_repeats(document: Document) -> Document:
    lines = dict(document.lines)
    for place, device in enumerate(document.value.get("devices") or []):
        if not isinstance(device, dict) or not isinstance(device.get("tags"), list):
            continue
        tags: list[Any] = []
        for number, tag in enumerate(device["tags"]):
            key = ("devices", place, "tags", number)
            for copy in _repeated(tag, key, document):
                lines[("devices", place, "tags", len(tags))] = document.line(key)
                tags.append(copy)
        device["tags"] = tags
    return Document(document.file, document.value, lines)


def _repeated(tag: Any, key: documents.Path_, document: Document) -> list[Any]:
    if not isinstance(tag, dict) or "repeat" not in tag:
        return [tag]
    repeat = tag["repeat"]
    right = "repeat: {from: 1, to: 24} is right"
    if not isinstance(repeat, dict) or repeat.keys() != {"from", "to"}:
        raise document.error((*key, "repeat"), f"found {repeat!r}", right)
    first, last = repeat["from"], repeat["to"]
    if type(first) is not int or type(last) is not int or not 0 <= last - first < _MAX_REPEAT:
        raise document.error((*key, "repeat"), f"found {repeat!r}", right)
    rest = {name: value for name, value in tag.items() if name != "repeat"}
    return [
        {
            name: value.format(n=n) if isinstance(value, str) else value
            for name, value in rest.items()
        }
        for n in range(first, last + 1)
    ]


def _resolve_paths(value: dict[str, Any], folder: Path) -> None:
    def absolute(item: Any) -> Any:
        return str(folder / item) if isinstance(item, str) else item

    if "state_dir" in value:
        value["state_dir"] = absolute(value["state_dir"])
    keys = value.get("keys")
    if isinstance(keys, dict):
        keys["signing"] = absolute(keys.get("signing"))
        if isinstance(keys.get("gateway"), list):
            keys["gateway"] = [absolute(item) for item in keys["gateway"]]
    mqtt = value.get("mqtt")
    tls = mqtt.get("tls") if isinstance(mqtt, dict) else None
    for part, names in ((mqtt, ("password_file",)), (tls, ("ca", "cert", "key"))):
        if isinstance(part, dict):
            part.update({name: absolute(part[name]) for name in names if name in part})
    for device in value.get("devices") or []:
        resolve_paths(device, folder, Path(value.get("state_dir") or folder))


def _check_references(config: AgentConfig, document: Document) -> None:
    """Every tag that is referred to exists once; devices and lines have different ids."""
    ids = [device.id for device in config.devices] + [line.id for line in config.potlines]
    ids += [meter.id for meter in config.meters]
    for name in ids:
        if ids.count(name) > 1:
            raise document.error((), f"the id {name!r} stands for two things")
    tags = _tag_ids(config, document)
    for place, line in enumerate(config.potlines):
        _check_potline(line, tags, document, ("potlines", place))
    lines = {line.id for line in config.potlines}
    for place, meter in enumerate(config.meters):
        key: documents.Path_ = ("meters", place)
        if meter.tag not in tags:
            raise document.error((*key, "tag"), f"no device has a tag {meter.tag!r}")
        if meter.potline is not None and meter.potline not in lines:
            raise document.error((*key, "potline"), f"no potline {meter.potline!r}")


def _tag_ids(config: AgentConfig, document: Document) -> set[str]:
    tags: set[str] = set()
    for place, device in enumerate(config.devices):
        for tag in device.tags:
            if tag.id in tags:
                raise document.error(("devices", place), f"tag {tag.id!r} stands twice")
            tags.add(tag.id)
    return tags


def _check_potline(line: Potline, tags: set[str], document: Document, key: documents.Path_) -> None:
    if line.current not in tags:
        raise document.error((*key, "current"), f"no device has a tag {line.current!r}")
    for name, pattern in (("voltage", line.pots.voltage), ("status", line.pots.status)):
        for number in line.pots.numbers() if pattern else ():
            tag = str(pattern).format(n=number)
            if tag not in tags:
                right = "a text with {n} or {n:03d} that gives tag ids is right"
                raise document.error((*key, "pots", name), f"no device has a tag {tag!r}", right)


def totaliser_of(config: AgentConfig, tag_id: str) -> Any:
    """The device tag with this id."""
    for device in config.devices:
        for tag in device.tags:
            if tag.id == tag_id:
                return tag
    raise KeyError(tag_id)


def effective(config: AgentConfig, factors: FactorSet, series: list[dict[str, Any]]) -> bytes:
    """The configuration document: deterministic CBOR without secrets and local paths."""
    plain = config.model_dump(
        mode="json",
        exclude={"state_dir": True, "keys": True, "mqtt": True, "outbox": True},
    )
    plain["factor_set"] = factor_sets.to_plain(factors)
    plain["series"] = series
    plain["v"] = 1
    return cbor.encode(plain)


def digest(document: bytes) -> bytes:
    """SHA-256 of a configuration document."""
    return hashlib.sha256(document).digest()

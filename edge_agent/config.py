"""The agent's file: strict models, errors with line and key, digest of the effective whole.

What travels to the gateway is the *effective* configuration: every
default resolved, every factor with its source, no secrets and no local paths.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent import (
    control_plan,
    documents,
    factor_overrides,
    factor_sets,
    plants,
    repeats,
    tag_table,
    templates,
)
from edge_agent.calc.factors import FactorSet
from edge_agent.control_plan import ControlPlan
from edge_agent.documents import Document
from edge_agent.drivers import AnyDeviceConfig
from edge_agent.drivers.base import Host, Timezone
from edge_agent.drivers.paths import resolve_paths
from edge_agent.errors import ConfigError
from edge_agent.factor_overrides import Override
from edge_agent.plants import Carbonate, Kiln, Meter, SteelWorks
from edge_agent.references import wrong_references
from edge_agent.wire import cbor
from edge_agent.wire.cose import MAX_PAYLOAD

NAME = r"^[a-z0-9][a-z0-9_-]{0,31}$"
_OF_THE_PLACE = ("state_dir", "keys", "mqtt", "outbox", "limits")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Pkcs11(_Strict):
    """A signing key in a token: the module's library, labels, and the file with the PIN."""

    module: Path
    token: str = Field(min_length=1, max_length=32)
    label: str = Field(default="signing", pattern=NAME)
    pin_file: Path


class Keys(_Strict):
    """The signing key, in a file or a token; the gateways' and the log's public keys it trusts."""

    signing: Path | None = None
    passphrase_file: Path | None = None
    pkcs11: Pkcs11 | None = None
    gateway: tuple[Path, ...] = Field(min_length=1)
    log: Path | None = None
    log_origin: str = "carbon-log/local"

    @model_validator(mode="after")
    def _one_store(self) -> Self:
        if (self.signing is None) == (self.pkcs11 is None):
            message = "exactly one of signing (a file) and pkcs11 (a token) is right"
            raise ValueError(message)
        return self


class Tls(_Strict):
    """TLS towards the broker."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None


class Mqtt(_Strict):
    """The broker."""

    host: Host = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65_535)
    keepalive_s: int = Field(default=30, ge=5, le=3_600)
    username: str | None = None
    password_file: Path | None = None
    tls: Tls | None = None
    window: int = Field(default=32, ge=1, le=1_000)
    resend_s: float = Field(default=10, gt=0)


class Time(_Strict):
    """Where UTC comes from, what keeps it right, and how long late samples are waited for."""

    source: Literal["system", "device"] = "system"
    reference: Literal["ntp", "nts", "ptp", "gnss", "manual", "none"] = "ntp"
    lateness_s: float = Field(default=5, ge=0, le=86_400)
    max_clock_step_s: float = Field(default=2, gt=0)
    journal_s: float = Field(default=1, gt=0)
    status_s: float = Field(default=30, gt=0)


class Outbox(_Strict):
    """Limits of the durable outbox."""

    max_mb: int = Field(default=4_096, ge=1)
    retain_mb: int = Field(default=512, ge=0)
    max_rows: int = Field(default=1_500, ge=10, le=10_000)


class Limits(_Strict):
    """Limits of the agent's memory: ``waiting_mb`` of readings may wait for their minute."""

    waiting_mb: int = Field(default=128, ge=1, le=65_536)


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
    max_bridge_s: float = Field(default=3600.0, ge=0)
    count_start_up: bool = True
    hold_suspects: bool = True
    jump_share: float = Field(default=0.2, gt=0, le=1)
    jump_pots: int = Field(default=4, ge=2)
    jump_s: float = Field(default=5.0, gt=0)

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

    @field_validator("voltage", "status")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is not None:
            documents.numbered(value, 1)
        return value

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


class AgentConfig(_Strict):
    """The agent's whole configuration."""

    site: str = Field(pattern=NAME)
    agent: str = Field(pattern=NAME)
    author: str | None = Field(default=None, min_length=1, max_length=64)
    timezone: Timezone = "Asia/Shanghai"
    state_dir: Path
    keys: Keys
    mqtt: Mqtt = Mqtt()
    time: Time = Time()
    outbox: Outbox = Outbox()
    limits: Limits = Limits()
    factor_set: str
    overrides: tuple[Override, ...] = ()
    devices: tuple[AnyDeviceConfig, ...] = Field(min_length=1)
    sector: Literal["aluminium", "cement", "steel"] = "aluminium"
    control_plan: ControlPlan | Path | None = None
    potlines: tuple[Potline, ...] = ()
    carbonates: tuple[Carbonate, ...] = ()
    kilns: tuple[Kiln, ...] = ()
    steel: SteelWorks | None = None
    meters: tuple[Meter, ...] = ()

    @property
    def zone(self) -> ZoneInfo:
        """Plant local time."""
        return ZoneInfo(self.timezone)


def load(path: Path) -> AgentConfig:
    """Read and check the agent's file; relative paths are relative to it.

    Raises:
        ConfigError: everything that is wrong, with file, line, column and key.
    """
    document = documents.load(path)
    if not isinstance(document.value, dict):
        raise document.error((), "must be a map of keys")
    templates.expand(document)
    expanded = repeats.expand(document)
    _resolve_paths(expanded.value, path.resolve().parent)
    _read_plan(expanded.value, path.resolve().parent)
    config = documents.validate(expanded, AgentConfig)
    errors = [*wrong_references(config, expanded), *_wrong_sector(config, expanded)]
    if errors:
        raise documents.all_of(errors)
    return config


def _resolve_paths(value: dict[str, Any], folder: Path) -> None:
    def absolute(item: Any) -> Any:
        return str(folder / item) if isinstance(item, str) else item

    if "state_dir" in value:
        value["state_dir"] = absolute(value["state_dir"])
    keys = value.get("keys")
    if isinstance(keys, dict) and isinstance(keys.get("gateway"), list):
        keys["gateway"] = [absolute(item) for item in keys["gateway"]]
    mqtt = value.get("mqtt")
    tls = mqtt.get("tls") if isinstance(mqtt, dict) else None
    token = keys.get("pkcs11") if isinstance(keys, dict) else None
    parts = [
        (keys, ("signing", "passphrase_file", "log")),
        (token, ("module", "pin_file")),
        (mqtt, ("password_file",)),
        (tls, ("ca", "cert", "key")),
    ]
    for part, names in [*parts, *_device_paths(value)]:
        if isinstance(part, dict):
            part.update({name: absolute(part[name]) for name in names if name in part})
    state_dir = Path(value["state_dir"]) if isinstance(value.get("state_dir"), str) else folder
    devices = value.get("devices")
    for device in devices if isinstance(devices, list) else ():
        resolve_paths(device, folder, state_dir)


def _device_paths(value: dict[str, Any]) -> list[tuple[Any, tuple[str, ...]]]:
    """Parts of devices that hold paths, and under which names."""
    names = {
        "security": ("pki",),
        "login": ("password_file", "certificate", "key"),
        "tls": ("ca", "cert", "key"),
    }
    devices = [device for device in value.get("devices") or () if isinstance(device, dict)]
    return [(device.get(part), keys) for device in devices for part, keys in names.items()]


def _read_plan(value: dict[str, Any], folder: Path) -> None:
    """Put the control plan's content in the place of its file's name."""
    name = value.get("control_plan")
    if isinstance(name, str):
        value["control_plan"] = control_plan.to_plain(control_plan.read(folder / name))


def _wrong_sector(config: AgentConfig, document: Document) -> Iterator[ConfigError]:
    try:
        plants.check_sector(config, document)
    except ConfigError as error:
        yield error


def totaliser_of(config: AgentConfig, tag_id: str) -> Any:
    """The device tag with this id."""
    for device in config.devices:
        for tag in device.tags:
            if tag.id == tag_id:
                return tag
    raise KeyError(tag_id)


def factors_of(config: AgentConfig) -> FactorSet:
    """The factor set of a configuration with the site's own values.

    Raises:
        ConfigError: there is no such set, or a value of the site does not fit it.
    """
    return factor_overrides.apply(factor_sets.find(config.factor_set), config.overrides)


def effective(config: AgentConfig, factors: FactorSet, series: list[dict[str, Any]]) -> bytes:
    """The configuration document: deterministic CBOR without secrets and local paths.

    Settings of tags that are not set are left out. When the document would not fit the wire, tags
    are written as tables (``tag_table``) and the series of plain tags, which follow from their tags,
    are left out (decision 0044).

    Raises:
        ConfigError: it does not fit even so, or the control plan was named but not read (``load``
            reads it).
    """
    if isinstance(config.control_plan, Path):
        message = "the control plan's file has not been read"
        raise ConfigError(message, key="control_plan", right="take the configuration from load()")
    plain = config.model_dump(
        mode="json",
        exclude=dict.fromkeys((*_OF_THE_PLACE, "devices"), True),
    )
    plan = plain["control_plan"] or {}
    plain["control_lines"] = plan.pop("parameters", [])  # apart: the wire's maps nest six deep
    plain["factor_set"] = factor_sets.to_plain(factors)
    plain["series"] = series
    plain["v"] = 1
    plain["devices"] = [_device(device) for device in config.devices]
    document = cbor.encode(plain)
    return document if len(document) <= MAX_PAYLOAD else _compact(plain)


def _device(device: AnyDeviceConfig) -> dict[str, Any]:
    """A device with the settings of its tags that are set, tag by tag: there may be thousands."""
    plain = device.model_dump(mode="json", exclude={"tags": True})
    dumps = (tag.model_dump(mode="json") for tag in device.tags)
    plain["tags"] = [{key: of for key, of in tag.items() if of is not None} for tag in dumps]
    return plain


def _compact(plain: dict[str, Any]) -> bytes:
    own = {tag["id"] for device in plain["devices"] for tag in device["tags"]}
    plain["series"] = [item for item in plain["series"] if item["name"] not in own]
    for device in plain["devices"]:
        device["tags"], device["tag_columns"] = tag_table.tabulate(device["tags"])
    document = cbor.encode(plain)
    if len(document) > MAX_PAYLOAD:
        message = f"{len(own)} tags make a document of {len(document)} bytes"
        right = f"at most {MAX_PAYLOAD} are right: shorten tag ids, or run two agents"
        raise ConfigError(message, key="devices", right=right)
    return document


def digest(document: bytes) -> bytes:
    """SHA-256 of a configuration document."""
    return hashlib.sha256(document).digest()

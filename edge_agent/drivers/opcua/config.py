"""Configuration of an OPC UA server: tags, subscription, security, login, history."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge_agent.drivers.base import DeviceConfig, Seconds, Tag
from edge_agent.drivers.history import HistoryConfig
from edge_agent.drivers.opcua.node_text import node_text

Milliseconds = Annotated[float, Field(ge=0, le=3_600_000, allow_inf_nan=False)]
Policy = Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
Mode = Literal["SignAndEncrypt", "Sign"]
_BROKEN = ("Basic128Rsa15", "Basic256")
_RIGHT_POLICIES = "Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss is right"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Deadband(_Strict):
    """Smallest change the server reports: ``absolute`` in raw units, or ``percent`` of EURange."""

    absolute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    percent: float | None = Field(default=None, gt=0, le=100, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.absolute is None) == (self.percent is None):
            message = "either {absolute: 0.05} or {percent: 1} is right"
            raise ValueError(message)
        return self


class OpcUaTag(Tag):
    """One variable; with ``period_s`` its value is an array of values that far apart [s].

    Args:
        node: ``nsu=URI;s=name`` (or i=, g=, b=); ``ns=2;s=name`` where indexes never change.
        sampling_ms: how often the server looks at it, instead of the device's [ms].
        queue_size: values the server keeps of it, instead of the device's.
        discard: which value goes when that queue is full.
        server_deadband: smallest change that the server reports; never for a totaliser.
    """

    node: str
    period_s: Seconds | None = None
    sampling_ms: Milliseconds | None = None
    queue_size: int | None = Field(default=None, ge=1, le=1_000_000)
    discard: Literal["oldest", "newest"] = "oldest"
    server_deadband: Deadband | None = None

    @field_validator("node")
    @classmethod
    def _parses(cls, text: str) -> str:
        node_text(text)
        return text

    @model_validator(mode="after")
    def _counts_everything(self) -> Self:
        if self.server_deadband is not None and (
            self.totaliser is not None or self.period_s is not None
        ):
            message = "server_deadband: neither a totaliser nor an array has one"
            raise ValueError(message)
        return self


class Security(_Strict):
    """The secure channel.

    Args:
        pki: folder of certificates: ``own/`` is made on first use, ``trusted/DEVICE-ID/`` holds
            the server certificates that are accepted, ``rejected/`` those that were presented.
    """

    policy: Policy = "Basic256Sha256"
    mode: Mode = "SignAndEncrypt"
    pki: Path = Field(exclude=True)

    @field_validator("policy", mode="before")
    @classmethod
    def _not_broken(cls, value: object) -> object:
        if value in _BROKEN:
            message = f"{value} rests on SHA-1 and is refused; {_RIGHT_POLICIES}"
            raise ValueError(message)
        if value in (None, "None"):
            message = f"no security is written insecure: true; here {_RIGHT_POLICIES}"
            raise ValueError(message)
        return value


class Login(_Strict):
    """Who we are to the server: a user name with a password file, or a user certificate."""

    username: str | None = Field(default=None, min_length=1)
    password_file: Path | None = Field(default=None, exclude=True)
    certificate: Path | None = Field(default=None, exclude=True)
    key: Path | None = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _one(self) -> Self:
        by_name = (self.username is not None, self.password_file is not None)
        by_certificate = (self.certificate is not None, self.key is not None)
        if (all(by_name) and not any(by_certificate)) or (all(by_certificate) and not any(by_name)):
            return self
        message = "username and password_file, or certificate and key, is right"
        raise ValueError(message)


class OpcUaConfig(DeviceConfig):
    """One OPC UA server.

    Args:
        mode: ``subscribe``: the server reports changes; ``poll``: it is asked every ``interval_s``.
        interval_s: time between two polls [s].
        security: the secure channel; without it ``insecure: true`` must say so.
        insecure: no authentication, signature or encryption: reports show it.
        publishing_ms: how often the server sends what it collected [ms].
        sampling_ms: how often it looks at its variables, 0 for as fast as it can [ms].
        queue_size: values the server keeps per variable between two publications.
        timeout_s: longest wait for one answer; connecting takes at most three of them, and one more
            for every 500 tags [s].
        trust_source_time: take the server's source timestamps instead of the time of receipt.
        retry_s: how often a node that is missing is looked for again [s].
        max_message_mb: longest message that is accepted [MiB].
        history: fill gaps from the server's history.
    """

    driver: Literal["opcua"]
    url: Annotated[str, Field(pattern=r"^opc\.tcp://.+")]
    mode: Literal["subscribe", "poll"] = "subscribe"
    interval_s: Seconds = 1.0
    security: Security | None = None
    login: Login | None = None
    insecure: bool = False
    publishing_ms: float = Field(default=100, gt=0, le=3_600_000, allow_inf_nan=False)
    sampling_ms: Milliseconds = 0
    queue_size: int = Field(default=100, ge=1, le=1_000_000)
    timeout_s: Seconds = 4.0
    trust_source_time: bool = True
    retry_s: Seconds = 30.0
    max_message_mb: int = Field(default=8, ge=1, le=64)
    history: HistoryConfig | None = None
    tags: tuple[OpcUaTag, ...]

    @field_validator("url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            message = "a url carries no user: login: {username: NAME, password_file: PATH} is right"
            raise ValueError(message)
        if not parts.hostname:
            message = "opc.tcp://HOST:4840 is right"
            raise ValueError(message)
        return url

    @model_validator(mode="after")
    def _secure_or_said(self) -> Self:
        if (self.security is None) != self.insecure:
            message = "security: {pki: FOLDER} is right, or insecure: true to go without"
            raise ValueError(message)
        if self.login is not None and self.security is None:
            message = "login: without security everybody on the network could read it"
            raise ValueError(message)
        if self.history is not None and not self.trust_source_time:
            message = "history: has source times only, so trust_source_time: true is right"
            raise ValueError(message)
        return self

    def certificate_files(self) -> tuple[Path, ...]:
        """Our own certificate towards the server, and the user's where one logs in with it."""
        own = (self.security.pki / "own" / "certificate.der",) if self.security else ()
        user = self.login.certificate if self.login else None
        return own if user is None else (*own, user)

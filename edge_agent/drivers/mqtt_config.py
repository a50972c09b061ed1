"""Configuration of MQTT and Sparkplug B input: tags, broker, TLS."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from edge_agent.drivers.base import Host, Seconds, SendingConfig, Tag
from edge_agent.drivers.mqtt_link import Access, ClosingSocket
from edge_agent.drivers.mqtt_values import parse_path
from edge_agent.tls_files import TlsFiles

_HOUR_S = 3_600.0
TopicPart = Annotated[str, StringConstraints(pattern=r"^[^+#/\x00]{1,128}$")]


class MqttTag(Tag):
    """One value: of a topic, or of a Sparkplug metric.

    Args:
        topic: an exact topic; its payload is one number, unless ``path`` is given.
        path: where the number stands in a JSON payload, such as data.power[0].
        time_path: where its time stands; ``time_unit`` says as what.
        group, node, device, metric: a Sparkplug metric; without device the node's own.
    """

    topic: Annotated[str, StringConstraints(pattern=r"^[^+#\x00]{1,512}$")] | None = None
    path: str | None = None
    time_path: str | None = None
    time_unit: Literal["s", "ms", "us", "ns", "iso"] = "ms"
    group: TopicPart | None = None
    node: TopicPart | None = None
    device: TopicPart | None = None
    metric: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None

    @field_validator("path", "time_path")
    @classmethod
    def _parses(cls, text: str | None) -> str | None:
        if text is not None:
            parse_path(text)
        return text

    @model_validator(mode="after")
    def _one(self) -> Self:
        sparkplug = (self.group, self.node, self.metric)
        if self.topic is not None and any((*sparkplug, self.device)):
            raise ValueError("either topic, or group, node and metric are right")
        if self.topic is None and not all(sparkplug):
            raise ValueError("topic, or group, node and metric are missing")
        if self.path is not None and self.topic is None:
            raise ValueError("path belongs to a topic with JSON")
        if self.time_path is not None and self.path is None:
            raise ValueError("time_path needs path: a plain number has no time")
        return self


class MqttTls(BaseModel):
    """TLS towards the plant's broker; without ``ca`` the system's authorities are trusted.

    Renewed files are taken up while the driver runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    ca: Path | None = Field(default=None, exclude=True)
    cert: Path | None = Field(default=None, exclude=True)
    key: Path | None = Field(default=None, exclude=True)

    def files(self) -> TlsFiles:
        """The files as a context that follows them. Blocking; raises KeyFileError."""
        return TlsFiles(self.ca, self.cert, self.key, socket_class=ClosingSocket)


class MqttConfig(SendingConfig):
    """One broker of the plant; that the connection lives is known by its keep-alive.

    Args:
        client_id: must differ from every other client's of that broker; keeps the session.
        qos: for plain topics; with 1 the broker keeps what was not taken.
        host_id: Sparkplug host id; when set, its STATE is published for nodes that wait for it.
        rebirth: ask a node for its births when order or meaning is lost.
        trust_source_time: take the times in the payloads.
    """

    driver: Literal["mqtt"]
    host: Host
    port: int = Field(default=1883, ge=1, le=65535)
    client_id: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z_.-]{1,128}$")]
    keepalive_s: int = Field(default=30, ge=5, le=3600)
    username: str | None = None
    password_file: Path | None = Field(default=None, exclude=True)
    tls: MqttTls | None = None
    qos: Literal[0, 1] = 1
    host_id: TopicPart | None = None
    rebirth: bool = True
    trust_source_time: bool = True
    timeout_s: Seconds = 10.0
    stale_s: Seconds = 120.0
    tags: tuple[MqttTag, ...]

    def usual_s(self, tag: Tag) -> float:  # noqa: ARG002  the same for all tags
        """Nobody knows how often a plant publishes: once an hour must be enough [s]."""
        return _HOUR_S

    def access(self, tls: TlsFiles | None, will: tuple[str, bytes] | None) -> Access:
        """How to connect."""
        return Access(
            self.host, self.port, self.client_id, self.keepalive_s, self.timeout_s, self.username,
            self.password_file, tls, will,
        )  # fmt: skip

    def certificate_files(self) -> tuple[Path, ...]:
        """Our certificate and the authority's."""
        tls = self.tls or MqttTls()
        return tuple(path for path in (tls.cert, tls.ca) if path is not None)

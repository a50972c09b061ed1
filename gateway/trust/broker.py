"""The broker's configuration: the broker is untrusted, but it keeps agents off each other's topics.

For mosquitto 2. A client is who its certificate's common name says (``site/agent``), and its
client id is forced to the same, so that nobody can throw another one out by taking its id. The
gateway is the one client called ``ingest``. A plant's certificate always has exactly one slash in
its name and none of ``+ #``, so pattern lines give each client its own topics only. The broker
cannot slow a flooder down: it hands the gateway more at once than the gateway lets wait
(``gateway.ingest.fair``), which drops the flooder's own.
"""

from dataclasses import dataclass
from pathlib import Path

from edge_agent.wire.cose import MAX_MESSAGE
from edge_agent.wire.topics import ROOT

INGEST = "ingest"
_SIZE_LIMIT = 270_000
_MOSQUITTO = """\
# Made by `carbon-gateway broker-config`; change it there.
per_listener_settings false
allow_anonymous false
acl_file {acl}

listener {port} {bind}
protocol mqtt
cafile {ca}
certfile {certificate}
keyfile {key}
{crl}tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
max_connections {connections}

message_size_limit {size}
max_inflight_messages 16384
max_inflight_bytes 100663296
max_queued_messages 10000
max_queued_bytes 134217728
max_keepalive 3600
persistent_client_expiration 60d
persistence true
persistence_location {data}/
autosave_interval 30
log_type error
log_type warning
log_type notice
connection_messages true
"""
_ACL = """\
# Made by `carbon-gateway broker-config`; change it there.
pattern write {root}/%u/batch
pattern write {root}/%u/config
pattern write {root}/%u/status
pattern read {root}/%u/ack

user {ingest}
topic read {root}/+/+/batch
topic read {root}/+/+/config
topic read {root}/+/+/status
topic write {root}/+/+/ack
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the broker listens, its certificates, and where it keeps queued messages."""

    bind: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    data: Path
    crl: Path | None = None
    connections: int = 10_000


def write(folder: Path, settings: Settings) -> tuple[Path, Path]:
    """Write ``mosquitto.conf`` and ``acl`` into a folder; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    configuration, acl = folder / "mosquitto.conf", folder / "acl"
    acl.write_text(_ACL.format(root=ROOT, ingest=INGEST), encoding="utf-8")
    configuration.write_text(
        _MOSQUITTO.format(
            acl=acl,
            port=settings.port,
            bind=settings.bind,
            ca=settings.ca,
            certificate=settings.certificate,
            key=settings.key,
            crl=f"crlfile {settings.crl}\n" if settings.crl else "",
            size=max(_SIZE_LIMIT, MAX_MESSAGE),
            data=settings.data,
            connections=settings.connections,
        ),
        encoding="utf-8",
    )
    acl.chmod(0o600)
    configuration.chmod(0o600)
    return configuration, acl

"""Where readings can be looked up: ``PointStore`` and its adapters."""

from pathlib import Path
from typing import assert_never

from edge_agent.errors import ConfigError, StoreError
from gateway.config import GatewayConfig, InfluxSettings, SqliteSettings
from gateway.store.base import Conflict, PointStore, Projection
from gateway.store.sqlite import SqliteStore

__all__ = ["Conflict", "PointStore", "Projection", "StoreError", "open_store"]


def open_store(config: GatewayConfig) -> PointStore:
    """The store that the configuration names.

    Raises:
        ConfigError: its token file is unreadable.
        StoreError: it cannot be opened.
    """
    match config.store:
        case SqliteSettings():
            return SqliteStore(config.store_path)
        case InfluxSettings():
            return _open_influx(config.store, config.store_path)
        case other:
            assert_never(other)


def _open_influx(settings: InfluxSettings, progress: Path) -> PointStore:
    # Loading the client takes longer than starting everything else: only who uses it pays.
    from gateway.store.influxdb import InfluxStore, Target  # noqa: PLC0415

    target = Target(
        settings.url, _token(settings), settings.org, settings.bucket, settings.read == "flux"
    )
    return InfluxStore(target, progress)


def _token(settings: InfluxSettings) -> str:
    if settings.token is not None:
        return settings.token.get_secret_value()
    path = settings.token_file or Path()
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise ConfigError(message, key="store.token_file") from error

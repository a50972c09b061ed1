"""``edge-agent check``: everything that can be known of a configuration without starting it."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edge_agent import config as config_
from edge_agent.acquisition import Acquisition
from edge_agent.clock import SystemClock
from edge_agent.commands import Verb
from edge_agent.config import AgentConfig
from edge_agent.documents import all_of
from edge_agent.errors import CarbonError, ConfigError
from edge_agent.keystore import Keystore
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.series import of_config, to_plain
from edge_agent.wire import keys


def register(verb: Verb) -> None:
    """Add the verb."""
    verb("check", check).add_argument("config", type=Path, help="the agent's YAML file")


def check(args: argparse.Namespace) -> int:
    """Check a configuration without starting anything; names all that is wrong."""
    config = config_.load(args.config)
    errors = [*_wrong(config, str(args.config))]
    if errors:
        raise all_of(errors)
    tags = sum(len(device.tags) for device in config.devices)
    print(
        f"{args.config}: ok: {len(config.devices)} devices, {tags} tags, "
        f"{len(config.potlines)} potlines, {len(config.kilns)} kilns, "
        f"{len(config.steel.units) if config.steel else 0} units, {len(of_config(config))} series"
    )
    return 0


def _wrong(config: AgentConfig, file: str) -> Iterator[ConfigError]:
    """What only shows when the parts are built."""
    parts: list[tuple[str, Callable[[], object]]] = [
        ("factor_set", lambda: Pipeline(config, config_.factors_of(config))),
        ("devices", lambda: _document(config)),
        ("devices", lambda: Acquisition(config.devices, SystemClock(), jitter=lambda: 0.0)),
        ("keys.signing", lambda: Keystore(config.keys, config.state_dir).open()),
    ]
    for place, path in enumerate(config.keys.gateway):
        parts.append((f"keys.gateway[{place}]", partial(_public_key, path)))
    for key, build in parts:
        try:
            build()
        except ConfigError as error:
            error.file = error.file or file
            error.key = error.key or key
            yield error
        except CarbonError as error:
            yield ConfigError(str(error), file=file, key=key)


def _document(config: AgentConfig) -> bytes:
    """The configuration document, when the factor set is there at all."""
    try:
        factors = config_.factors_of(config)
    except ConfigError:
        return b""  # told already
    return config_.effective(config, factors, to_plain(config))


def _public_key(path: Path) -> None:
    try:
        keys.public_key(path.read_bytes())
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(message, right="a PEM file with a public key is right") from error

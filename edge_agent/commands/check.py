"""``edge-agent check``: everything that can be known of a configuration without starting it."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from edge_agent import config as config_
from edge_agent import documents
from edge_agent.acquisition import Acquisition
from edge_agent.calc.rate import is_rate
from edge_agent.clock import NS_PER_S, SystemClock
from edge_agent.commands import Verb
from edge_agent.config import AgentConfig
from edge_agent.documents import Document, Path_, all_of
from edge_agent.errors import CarbonError, ConfigError
from edge_agent.keystore import Keystore
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.lateness import Lateness
from edge_agent.pipeline.series import of_config, to_plain
from edge_agent.wire import keys

_MADE_BY_US = ("pki", "record")
_VALUE_BYTES = 8


def register(verb: Verb) -> None:
    """Add the verb."""
    verb("check", check).add_argument("config", type=Path, help="the agent's YAML file")


def check(args: argparse.Namespace) -> int:
    """Check a configuration without starting anything; names all that is wrong."""
    config = config_.load(args.config)
    document = documents.load(args.config)
    errors = [*_wrong(config, str(args.config)), *_missing(config, document)]
    errors += [*_uncounted(config, document), *_outgrown(config, document)]
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


def _missing(config: AgentConfig, document: Document) -> Iterator[ConfigError]:
    """Files and folders that devices and the broker's connection name, and that are not there."""
    parts: list[tuple[Path_, BaseModel]] = [(("mqtt",), config.mqtt)]
    parts += [(("devices", place), device) for place, device in enumerate(config.devices)]
    for key, part in parts:
        for at, path in _paths(part, key):
            is_folder = at[-1] == "folder"
            if not (path.is_dir() if is_folder else path.is_file()):
                kind = "folder" if is_folder else "file"
                yield document.error(
                    at, f"there is no {kind} {path}", "make it, or correct the path"
                )


def _uncounted(config: AgentConfig, document: Document) -> Iterator[ConfigError]:
    """Meters of tags that are neither counts nor rates: nothing would ever come of them."""
    for place, meter in enumerate(config.meters):
        tag = config_.totaliser_of(config, meter.tag)
        if tag.totaliser is None and not is_rate(tag.unit):
            message = f"tag {tag.id!r} is neither a totaliser nor a rate; its unit is {tag.unit!r}"
            right = "totaliser: {} at the tag, or a unit such as t/h"
            yield document.error(("meters", place, "tag"), message, right)


def _outgrown(config: AgentConfig, document: Document) -> Iterator[ConfigError]:
    """A device whose readings certainly outgrow ``limits.waiting_mb`` while they wait.

    Only rates that are configured count, and a value takes at least eight bytes.
    """
    lateness = Lateness(config)
    for place, device in enumerate(config.devices):
        held_bytes = 0.0
        for tag in device.tags if device.enabled else ():
            every_s = tag.interval_s or getattr(device, "interval_s", None)
            if every_s and (wait_ns := lateness.of(tag.id)) > lateness.usual_ns:
                held_bytes += wait_ns / NS_PER_S / every_s * _VALUE_BYTES
        if held_bytes > config.limits.waiting_mb * 2**20:
            message = (
                f"{len(device.tags)} tags at their rate and lateness keep {held_bytes / 2**20:.0f} "
                f"MiB waiting; limits.waiting_mb is {config.limits.waiting_mb}"
            )
            right = "a shorter lateness_s, a longer interval_s, or a greater limits.waiting_mb"
            yield document.error(("devices", place, "lateness_s"), message, right)


def _paths(part: object, key: Path_) -> Iterator[tuple[Path_, Path]]:
    """Every path in a model that must exist beforehand."""
    if isinstance(part, BaseModel):
        for name in type(part).model_fields:
            if name not in ("tags", *_MADE_BY_US):
                yield from _paths(getattr(part, name), (*key, name))
    elif isinstance(part, tuple):
        for place, item in enumerate(part):
            yield from _paths(item, (*key, place))
    elif isinstance(part, Path):
        yield key, part


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

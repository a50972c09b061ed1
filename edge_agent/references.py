"""What a configuration's parts say of each other: whether all that is referred to is there.

``config`` is the whole ``edge_agent.config.AgentConfig`` (which imports this module).
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from edge_agent.calc.rate import per_hour
from edge_agent.documents import Document, Path_, did_you_mean, dotted, numbered
from edge_agent.drivers import ModbusConfig, check_device, check_same_line
from edge_agent.drivers.base import Tag
from edge_agent.errors import CalculationError, ConfigError


def wrong_references(config: Any, document: Document) -> Iterator[ConfigError]:
    """Every tag that is referred to exists once; devices and lines have different ids."""
    ids: dict[str, str] = {}
    for name in ("devices", "potlines", "meters", "kilns"):
        for place, item in enumerate(getattr(config, name)):
            key: Path_ = (name, place, "id")
            if item.id in ids:
                message = f"{item.id!r} is the id of {ids[item.id]} already"
                yield document.error(key, message, "ids of devices, lines and meters all differ")
            ids.setdefault(item.id, dotted(key[:2]))
    yield from _wrong_lines(config, document)
    tags: dict[str, Tag] = {}
    for key, tag in _tags(config):
        if tag.id in tags:
            yield document.error((*key, "id"), f"tag {tag.id!r} stands twice")
        tags[tag.id] = tag
    used: set[str] = set()
    for key, tag_id, right in _referred(config):
        used.add(tag_id)
        if tag_id not in tags:
            hint = did_you_mean(tag_id, tags) or right
            yield document.error(key, f"no device has a tag {tag_id!r}", hint)
    yield from _wrong_potlines(config, document)
    yield from _wrong_checks(config, document, tags)
    yield from _wrong_tags(config, document, tags, used)


def _wrong_lines(config: Any, document: Document) -> Iterator[ConfigError]:
    """Requests that cannot be planned; devices that share a line, a port or a name wrongly."""
    first: dict[object, tuple[int, Any]] = {}
    for place, device in enumerate(config.devices):
        key: Path_ = ("devices", place)
        if isinstance(device, ModbusConfig):
            try:
                check_device(device)
                check_same_line(first.setdefault(device.line_key, (place, device))[1], device)
            except ConfigError as error:
                numbers = [n for n, tag in enumerate(device.tags) if tag.id == error.key]
                part = "serial" if device.serial is not None else "transport"
                at: Path_ = ("tags", numbers[0], "address") if numbers else (error.key or part,)
                yield document.error((*key, *at), error.message, error.right)
        else:
            shared, part, right = _alone(device)
            if shared is not None and shared in first:
                other = dotted(("devices", first[shared][0]))
                yield document.error((*key, part), f"{other} has the same {part}", right)
            first.setdefault(shared, (place, device))


def _alone(device: Any) -> tuple[object, str, str]:
    """What no other device may have; None where all may share."""
    if device.driver == "hj212" and device.port:
        right = "one device a port is right; it may name several loggers"
        return ("hj212", device.host, device.port), "port", right
    if device.driver == "mqtt":
        right = "a broker ends the older session of a name: names differ"
        return ("mqtt", device.host.lower(), device.port, device.client_id), "client_id", right
    return None, "", ""


def _wrong_potlines(config: Any, document: Document) -> Iterator[ConfigError]:
    lines = {line.id for line in config.potlines}
    for place, meter in enumerate(config.meters):
        if meter.potline is not None and meter.potline not in lines:
            hint = did_you_mean(meter.potline, lines)
            yield document.error(
                ("meters", place, "potline"), f"no potline {meter.potline!r}", hint
            )


def _referred(config: Any) -> Iterator[tuple[Path_, str, str]]:
    """Every place that computes from a tag: key, tag id, and what would be right."""
    right = "a text with {n} or {n:03d} that gives tag ids is right"
    for place, line in enumerate(config.potlines):
        key = ("potlines", place)
        yield (*key, "current"), line.current, ""
        for name, pattern in (("voltage", line.pots.voltage), ("status", line.pots.status)):
            for number in line.pots.numbers() if pattern else ():
                yield (*key, "pots", name), numbered(str(pattern), number), right
    for place, meter in enumerate(config.meters):
        yield ("meters", place, "tag"), meter.tag, ""
        if meter.check is not None:
            yield ("meters", place, "check", "rate"), meter.check.rate, ""


def _wrong_checks(
    config: Any, document: Document, tags: Mapping[str, Tag]
) -> Iterator[ConfigError]:
    """A meter's check names a tag, plain or of a rate meter, with the rate of what it counts."""
    pots = {line.current for line in config.potlines}
    for place, meter in enumerate(config.meters):
        if meter.check is None or not {meter.tag, meter.check.rate} <= tags.keys():
            continue
        key, count, rate = ("meters", place, "check"), tags[meter.tag], tags[meter.check.rate]
        if count.totaliser is None:
            message = f"{meter.tag!r} is no totaliser: there is nothing to hold against a rate"
            yield document.error(key, message, "leave the check out")
        elif rate.id in pots or rate.totaliser is not None:
            message = f"{rate.id!r} shows no rate of {meter.tag!r}"
            yield document.error((*key, "rate"), message, "a tag whose unit is a rate is right")
        else:
            try:
                per_hour(rate.unit, count.unit)
            except CalculationError as error:
                right = f"a tag in {count.unit}/h, or in kW for kWh, is right"
                yield document.error((*key, "rate"), str(error), right)


def _wrong_tags(
    config: Any, document: Document, tags: Mapping[str, Tag], used: Collection[str]
) -> Iterator[ConfigError]:
    """Maintenance flags are plain tags; no deadband where something is computed from the tag."""
    for key, tag in _tags(config):
        flag = tag.maintenance
        if flag is not None and (flag not in tags or flag in used or flag == tag.id):
            hint = did_you_mean(flag, tags.keys() - used - {tag.id})
            right = hint or "the id of a tag that nothing else is computed from is right"
            yield document.error((*key, "maintenance"), f"{flag!r} is no flag", right)
        if tag.deadband is not None and (tag.id in used or tag.totaliser is not None):
            message = f"{tag.id!r} is computed from: every minute of it must be shipped"
            yield document.error((*key, "deadband"), message, "leave the deadband out")


def _tags(config: Any) -> Iterator[tuple[Path_, Tag]]:
    for place, device in enumerate(config.devices):
        for number, tag in enumerate(device.tags):
            yield ("devices", place, "tags", number), tag

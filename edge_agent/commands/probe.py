"""``edge-agent probe``: connect to every device once and show what it says.

Devices of one line are asked one after the other, lines at the same time. For a value outside its
range on a device with word orders, the same registers are shown in all four orders beside the range:
a wrong order gives plausible numbers, and this is where it shows.

Probing takes nothing away from a running agent: no logger's packet is acknowledged, no message of
its session at the plant's broker is taken, no file is moved or recorded.
"""

import argparse
import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from edge_agent import config as config_
from edge_agent.clock import NS_PER_S, Clock, SystemClock
from edge_agent.commands import Verb
from edge_agent.commands.table import table
from edge_agent.config import AgentConfig, Mqtt
from edge_agent.drivers import DRIVERS
from edge_agent.drivers.base import (
    DeviceConfig,
    Driver,
    Lines,
    Peeks,
    Polled,
    Reading,
    SharesLine,
    Tag,
)
from edge_agent.errors import ConfigError, DeviceError
from edge_agent.readings import Sample, Waveform

_ORDERS = ("ABCD", "BADC", "CDAB", "DCBA")
_SHOWN = 3
_LISTEN_S = 10.0


@dataclass(slots=True)
class Finding:
    """What a probe found out about one device."""

    name: str
    driver: str
    state: str = "ok"
    latency_s: float | None = None
    readings: dict[str, Reading] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def register(verb: Verb) -> None:
    """Add the verb."""
    sub = verb("probe", probe)
    sub.add_argument("config", type=Path, help="the agent's YAML file")
    sub.add_argument("--device", action="append", help="only this device; may be repeated")


def probe(args: argparse.Namespace) -> int:
    """Connect to every device and the broker once, and show values and what is wrong."""
    config = config_.load(args.config)
    findings = asyncio.run(_all(config, args.device))
    rows = [_row(finding) for finding in findings]
    print(table(("device", "driver", "state", "latency", "values", "wrong"), rows))
    for finding in findings:
        for text in finding.wrong[1:]:
            print(f"  {finding.name}: {text}")
    wrong = sum(bool(finding.wrong) for finding in findings)
    print(f"{len(findings) - wrong} of {len(findings)} ok")
    return 1 if wrong else 0


async def _all(config: AgentConfig, only: Sequence[str] | None) -> list[Finding]:
    clock = SystemClock()
    lines = Lines()
    by_line: dict[Hashable, list[tuple[DeviceConfig, Driver | Polled]]] = {}
    findings: dict[str, Finding] = {}
    for device in config.devices:
        if not device.enabled or (only and device.id not in only):
            continue
        driver = _driver(device, clock)
        keys = lines.joined(driver) if isinstance(driver, SharesLine) else frozenset()
        by_line.setdefault(keys or device.id, []).append((device, driver))
        findings[device.id] = Finding(device.id, device.driver)
    broker = Finding("(broker)", "mqtt")

    async def one_line(devices: Sequence[tuple[DeviceConfig, Driver | Polled]]) -> None:
        for device, driver in devices:
            await _one(device, driver, findings[device.id], clock)

    async with asyncio.TaskGroup() as group:
        group.create_task(_broker(config.mqtt, broker, clock))
        for devices in by_line.values():
            group.create_task(one_line(devices))
    return [*findings.values(), broker]


def _driver(device: DeviceConfig, clock: Clock) -> Driver | Polled:
    make = cast("Callable[[DeviceConfig, Clock], Driver | Polled]", DRIVERS[device.driver])
    driver = make(device, clock)
    if isinstance(driver, Peeks):
        driver.peek()
    return driver


async def _one(
    device: DeviceConfig, driver: Driver | Polled, finding: Finding, clock: Clock
) -> None:
    limit_s = 4 * device.timeout_s * (1 + len(device.tags) // 50) + _LISTEN_S
    began_ns = clock.monotonic_ns()
    try:
        async with asyncio.timeout(limit_s):
            async for readings in _session(device, driver):
                if finding.latency_s is None:
                    finding.latency_s = (clock.monotonic_ns() - began_ns) / NS_PER_S
                finding.readings.update((reading.tag, reading) for reading in readings)
            await _judge(device, finding, clock)
    except (DeviceError, ConfigError) as error:
        finding.state = "down"
        finding.wrong.append(f"{type(error).__name__}: {error}")
    except TimeoutError:
        finding.state = "down"
        finding.wrong.append(f"nothing within {limit_s:g} s")


async def _session(
    device: DeviceConfig, driver: Driver | Polled
) -> AsyncGenerator[Sequence[Reading], None]:
    """One poll, or what a subscription brings until every tag spoke or ten seconds are over."""
    async with driver as session:
        if isinstance(session, Polled):
            yield await session.read()
            return
        missing = {tag.id for tag in device.tags}
        try:
            async with asyncio.timeout(_LISTEN_S), aclosing(session.samples()) as deliveries:
                async for readings in deliveries:
                    yield readings
                    missing -= {reading.tag for reading in readings}
                    if not missing:
                        return
        except TimeoutError:
            return


async def _judge(device: DeviceConfig, finding: Finding, clock: Clock) -> None:
    strange: list[Tag] = []
    for tag in device.tags:
        reading = finding.readings.get(tag.id)
        if reading is None:
            finding.wrong.append(f"{tag.id}: nothing came")
        elif isinstance(reading, Sample) and reading.value is None:
            reason = reading.quality.reason.name.lower()
            finding.wrong.append(f"{tag.id}: no value ({reason})")
        elif isinstance(reading, Sample) and not _is_in_range(tag, reading.value):
            low, high = tag.range or (None, None)
            text = f"{tag.id} = {_text(reading.value)} {tag.unit} is not in [{low:g}, {high:g}]"
            finding.wrong.append(text)
            strange.append(tag)
    if strange and hasattr(device, "order"):
        finding.wrong += await _in_all_orders(device, strange, clock)
    if finding.wrong:
        finding.state = "odd"


async def _in_all_orders(device: DeviceConfig, strange: Sequence[Tag], clock: Clock) -> list[str]:
    """Each strange tag's value in the four orders of words and bytes, read anew for each."""
    found: dict[str, dict[str, Reading]] = {}
    for order in _ORDERS:
        tags = tuple(tag.model_copy(update={"order": None}) for tag in device.tags)
        other = device.model_copy(update={"order": order, "tags": tags})
        async with _driver(other, clock) as session:
            if isinstance(session, Polled):
                found[order] = {reading.tag: reading for reading in await session.read()}
    lines = []
    for tag in strange:
        values = []
        for order, readings in found.items():
            value = getattr(readings.get(tag.id), "value", None)
            fits = " (fits)" if value is not None and _is_in_range(tag, value) else ""
            values.append(f"{order} {_text(value)}{fits}")
        lines.append(f"{tag.id} in every order: {'  '.join(values)}")
    return lines


async def _broker(mqtt: Mqtt, finding: Finding, clock: Clock) -> None:
    began_ns = clock.monotonic_ns()
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(mqtt.host, mqtt.port)
        finding.latency_s = (clock.monotonic_ns() - began_ns) / NS_PER_S
        writer.close()
    except (OSError, TimeoutError) as error:
        finding.state = "down"
        finding.wrong.append(f"{mqtt.host}:{mqtt.port}: {str(error) or 'no connection in 5 s'}")


def _is_in_range(tag: Tag, value: float | None) -> bool:
    if tag.range is None or value is None or tag.totaliser is not None:
        return True
    return tag.range[0] <= value <= tag.range[1]


def _row(finding: Finding) -> tuple[str, ...]:
    latency = "" if finding.latency_s is None else f"{finding.latency_s * 1000:.0f} ms"
    shown = [f"{tag}={_shown(reading)}" for tag, reading in list(finding.readings.items())[:_SHOWN]]
    if len(finding.readings) > _SHOWN:
        shown.append(f"+{len(finding.readings) - _SHOWN}")
    return (
        finding.name,
        finding.driver,
        finding.state,
        latency,
        " ".join(shown),
        finding.wrong[0] if finding.wrong else "",
    )


def _shown(reading: Reading) -> str:
    if isinstance(reading, Waveform):
        return f"[{len(reading)} values]"
    return _text(reading.value)


def _text(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"

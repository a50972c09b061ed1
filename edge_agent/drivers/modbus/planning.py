"""From a device's configuration to its requests, and what can be said of them before they are sent."""

from collections.abc import Hashable, Iterable

from edge_agent.drivers.base import DeviceConfig
from edge_agent.drivers.blocks import Block, Item, Limits, plan
from edge_agent.drivers.decode import width
from edge_agent.drivers.modbus.config import (
    BIT_TABLES,
    MAX_BITS,
    ModbusConfig,
    check_same_line,
)
from edge_agent.drivers.modbus.frames import FUNCTIONS, Question
from edge_agent.errors import ConfigError

CLOCK = ""  # key of the clock register in a plan; no tag id is empty
_BITS_A_REGISTER = 16
_CHARACTER_BITS = 11  # serial line guide V1.02, 2.5.1: start, 8 data, parity or stop, stop
_SILENT_CHARACTERS = 3.5  # the same, 2.5.1.1
_FAST_SILENCE_S = 0.00175  # the same, above 19200 baud
_RTU_QUESTION, _RTU_FRAME = 8, 5  # bytes of a question; of an answer beside its values


def items(config: ModbusConfig) -> list[Item]:
    """What has to be read: the tags and the device's clock."""
    found = [Item(tag.id, tag.table, tag.address, tag.width) for tag in config.tags]
    if (register := config.clock_register) is not None:
        found.append(Item(CLOCK, register.table, register.address, width(register.type)))
    return found


def limits(config: ModbusConfig) -> dict[str, Limits]:
    """What a request of each table may read."""
    found: dict[str, Limits] = {}
    for table in FUNCTIONS:
        is_bits = table in BIT_TABLES
        factor = _BITS_A_REGISTER if is_bits else 1
        taboo = tuple(
            range(span.first, span.last + 1) for span in config.forbidden if span.table == table
        )
        span = config.max_registers * factor
        found[table] = Limits(min(span, MAX_BITS), config.max_gap * factor, taboo)
    return found


def silence_s(config: ModbusConfig) -> float:
    """Least silence between two frames on the device's line [s]."""
    if config.serial is None:
        return 0.0
    if config.serial.baud > 19200:
        return _FAST_SILENCE_S
    return _SILENT_CHARACTERS * _CHARACTER_BITS / config.serial.baud


def wire_s(config: ModbusConfig, block: Block) -> float:
    """How long a question and its answer take on a serial line alone [s]."""
    if config.serial is None:
        return 0.0
    size = _RTU_QUESTION + _RTU_FRAME + Question.of(config.unit, block).size
    return size * _CHARACTER_BITS / config.serial.baud + 2 * silence_s(config)


def check_device(config: ModbusConfig) -> None:
    """Raise ConfigError when a tag cannot be read, or no answer can come in time."""
    blocks = plan(items(config), limits(config))
    slowest = max(blocks, key=lambda block: wire_s(config, block))
    needed_s = max(wire_s(config, slowest), silence_s(config)) + config.pause_s
    if needed_s >= config.timeout_s:
        raise ConfigError(
            f"device {config.id!r}: a request for {slowest.count} registers takes {needed_s:.2f} s "
            f"with its pause, and timeout_s is {config.timeout_s:g}",
            key="timeout_s",
            right="a longer timeout_s, fewer max_registers or a faster line",
        )


def check_lines(devices: Iterable[DeviceConfig]) -> None:
    """Check every Modbus device, and that those on one line agree about it; names both."""
    first: dict[Hashable, ModbusConfig] = {}
    for device in devices:
        if isinstance(device, ModbusConfig):
            check_device(device)
            check_same_line(first.setdefault(device.line_key, device), device)

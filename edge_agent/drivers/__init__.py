"""Drivers: one protocol a file, and the one table that names them."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from edge_agent.drivers.dlt645 import Dlt645Config, Dlt645Driver
from edge_agent.drivers.file_drop import FileDropDriver
from edge_agent.drivers.file_drop_rows import FileDropConfig
from edge_agent.drivers.hj212 import Hj212Driver
from edge_agent.drivers.hj212_values import Hj212Config
from edge_agent.drivers.modbus import ModbusConfig, ModbusDriver, check_lines
from edge_agent.drivers.modbus.config import check_same_line
from edge_agent.drivers.modbus.planning import check_device
from edge_agent.drivers.mqtt import MqttDriver
from edge_agent.drivers.mqtt_config import MqttConfig
from edge_agent.drivers.opcua import OpcUaConfig, opcua_driver

__all__ = [
    "DRIVERS",
    "AnyDeviceConfig",
    "ModbusConfig",
    "check_device",
    "check_lines",
    "check_same_line",
]

AnyDeviceConfig = Annotated[
    Dlt645Config | FileDropConfig | Hj212Config | ModbusConfig | MqttConfig | OpcUaConfig,
    Field(discriminator="driver"),
]

DRIVERS: dict[str, Callable[..., Any]] = {
    "dlt645": Dlt645Driver,
    "file_drop": FileDropDriver,
    "hj212": Hj212Driver,
    "modbus": ModbusDriver,
    "mqtt": MqttDriver,
    "opcua": opcua_driver,
}

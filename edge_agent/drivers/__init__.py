"""Drivers: one protocol a file, and the one table that names them."""

from typing import Annotated

from pydantic import Field

from edge_agent.drivers.dlt645 import Dlt645Config, Dlt645Driver
from edge_agent.drivers.file_drop import FileDropDriver
from edge_agent.drivers.file_drop_rows import FileDropConfig
from edge_agent.drivers.hj212 import Hj212Driver
from edge_agent.drivers.hj212_values import Hj212Config
from edge_agent.drivers.modbus import ModbusConfig, ModbusDriver
from edge_agent.drivers.mqtt import MqttConfig, MqttDriver
from edge_agent.drivers.opcua import OpcUaConfig, OpcUaDriver

AnyDeviceConfig = Annotated[
    Dlt645Config | FileDropConfig | Hj212Config | ModbusConfig | MqttConfig | OpcUaConfig,
    Field(discriminator="driver"),
]
AnyDriver = Dlt645Driver | FileDropDriver | Hj212Driver | ModbusDriver | MqttDriver | OpcUaDriver

DRIVERS: dict[str, type[AnyDriver]] = {
    "dlt645": Dlt645Driver,
    "file_drop": FileDropDriver,
    "hj212": Hj212Driver,
    "modbus": ModbusDriver,
    "mqtt": MqttDriver,
    "opcua": OpcUaDriver,
}

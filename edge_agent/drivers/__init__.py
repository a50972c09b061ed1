"""Drivers: one protocol a file, and the one table that names them."""

from typing import Annotated

from pydantic import Field

from edge_agent.drivers.dlt645 import Dlt645Config, Dlt645Driver
from edge_agent.drivers.hj212 import Hj212Driver
from edge_agent.drivers.hj212_values import Hj212Config
from edge_agent.drivers.modbus import ModbusConfig, ModbusDriver
from edge_agent.drivers.mqtt import MqttConfig, MqttDriver
from edge_agent.drivers.opcua import OpcUaConfig, OpcUaDriver

AnyDeviceConfig = Annotated[
    Dlt645Config | Hj212Config | ModbusConfig | MqttConfig | OpcUaConfig,
    Field(discriminator="driver"),
]

DRIVERS: dict[str, type[Dlt645Driver | Hj212Driver | ModbusDriver | MqttDriver | OpcUaDriver]] = {
    "dlt645": Dlt645Driver,
    "hj212": Hj212Driver,
    "modbus": ModbusDriver,
    "mqtt": MqttDriver,
    "opcua": OpcUaDriver,
}

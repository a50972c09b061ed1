"""Drivers: one protocol a file, and the one table that names them."""

from typing import Annotated

from pydantic import Field

from edge_agent.drivers.modbus import ModbusConfig, ModbusDriver, check_lines
from edge_agent.drivers.opcua import OpcUaConfig, OpcUaDriver

__all__ = ["DRIVERS", "AnyDeviceConfig", "check_lines"]

AnyDeviceConfig = Annotated[ModbusConfig | OpcUaConfig, Field(discriminator="driver")]

DRIVERS: dict[str, type[ModbusDriver] | type[OpcUaDriver]] = {
    "modbus": ModbusDriver,
    "opcua": OpcUaDriver,
}

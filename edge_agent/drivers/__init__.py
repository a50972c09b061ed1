"""Drivers: one protocol a file, and the one table that names them."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from edge_agent.drivers.modbus import ModbusConfig, ModbusDriver, check_lines
from edge_agent.drivers.opcua import OpcUaConfig, opcua_driver

__all__ = ["DRIVERS", "AnyDeviceConfig", "check_lines"]

AnyDeviceConfig = Annotated[ModbusConfig | OpcUaConfig, Field(discriminator="driver")]

DRIVERS: dict[str, Callable[..., Any]] = {
    "modbus": ModbusDriver,
    "opcua": opcua_driver,
}

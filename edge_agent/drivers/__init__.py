"""Drivers: one protocol a file, and the two tables that name them.

A protocol's modules are loaded when a device of the configuration names it, or when somebody asks
for all of them (the schema, hints at misspelt keys). Modbus is always there: device templates are
Modbus tags.
"""

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError
from pydantic_core.core_schema import with_info_plain_validator_function

from edge_agent.drivers.base import DeviceConfig
from edge_agent.drivers.modbus import ModbusConfig, ModbusDriver, check_lines
from edge_agent.drivers.modbus.config import check_same_line
from edge_agent.drivers.modbus.planning import check_device
from edge_agent.later import Later

__all__ = [
    "CONFIGS",
    "DRIVERS",
    "AnyDeviceConfig",
    "ModbusConfig",
    "ModbusDriver",
    "check_device",
    "check_lines",
    "check_same_line",
]
_KEY = "driver"

CONFIGS: dict[str, Later] = {
    "dlt645": Later("edge_agent.drivers.dlt645", "Dlt645Config"),
    "file_drop": Later("edge_agent.drivers.file_drop_rows", "FileDropConfig"),
    "hj212": Later("edge_agent.drivers.hj212_values", "Hj212Config"),
    "modbus": Later("edge_agent.drivers.modbus", "ModbusConfig"),
    "mqtt": Later("edge_agent.drivers.mqtt_config", "MqttConfig"),
    "opcua": Later("edge_agent.drivers.opcua", "OpcUaConfig"),
}
"""What a user writes about a device, by the name of its driver."""

DRIVERS: dict[str, Callable[..., Any]] = {
    "dlt645": Later("edge_agent.drivers.dlt645", "Dlt645Driver"),
    "file_drop": Later("edge_agent.drivers.file_drop", "FileDropDriver"),
    "hj212": Later("edge_agent.drivers.hj212", "Hj212Driver"),
    "modbus": Later("edge_agent.drivers.modbus", "ModbusDriver"),
    "mqtt": Later("edge_agent.drivers.mqtt", "MqttDriver"),
    "opcua": Later("edge_agent.drivers.opcua", "opcua_driver"),
}
"""What makes a driver of such a configuration and a clock."""


def _of_its_driver(value: Any, info: ValidationInfo) -> DeviceConfig:
    """A device by the model of the driver it names; errors are those of a tagged union."""
    if isinstance(value, DeviceConfig):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("model_attributes_type")
    if _KEY not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": repr(_KEY)})
    name = value[_KEY]
    if not isinstance(name, str) or name not in CONFIGS:
        known = ", ".join(map(repr, CONFIGS))
        found = {"discriminator": repr(_KEY), "tag": str(name), "expected_tags": known}
        raise PydanticKnownError("union_tag_invalid", found)
    device: DeviceConfig = CONFIGS[name].get().model_validate(value, context=info.context)
    return device


class _ByDriver:
    """Tells pydantic how a device is validated, and what its JSON Schema is."""

    @staticmethod
    def __get_pydantic_core_schema__(_source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return with_info_plain_validator_function(_of_its_driver)

    @staticmethod
    def __get_pydantic_json_schema__(
        _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        models = reduce(or_, (later.get() for later in CONFIGS.values()))
        union: Any = Annotated[models, Field(discriminator=_KEY)]
        return handler(TypeAdapter(union).core_schema)


AnyDeviceConfig = Annotated[DeviceConfig, _ByDriver]

"""Values as 16-bit Modbus registers, and which register of which unit holds what.

The order letters name the bytes of a 32-bit value as they travel, A being the highest. Over 64 bits the same
rules hold: CDAB sends the lowest word first, BADC swaps the bytes in each word, DCBA does both.

| unit | device | order | registers |
|---|---|---|---|
| 1 | rectifier R1 | ABCD | 10 energy uint32 kWh, 12 power float32 kW, 14 temperature int16 0.1 degC |
| 2 | rectifier R2 | CDAB | 10 energy uint32 kWh, 12 power float32 kW |
| 3 | gas meter | DCBA | 10 total uint32 0.1 Nm3, 12 flow float32 Nm3/h, 14 temperature float32 degC |
| 4 | metal scale | BADC | 10 total int64 kg, 14 tickets uint32, 16 net weight float32 kg, 18 crucible int16 degC |

Every unit holds its device time in 0 to 3: int64 nanoseconds since 1970 UTC, in the unit's order.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simulators.physics.meter import PlantMeters


class Order(Enum):
    """Order of the bytes of a value."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


class Kind(Enum):
    """Number format; the value is its big-endian struct code."""

    INT16 = ">h"
    UINT32 = ">I"
    INT64 = ">q"
    FLOAT32 = ">f"


R1, R2, GAS, SCALE = 1, 2, 3, 4
UNIT_ORDERS: Final = {R1: Order.ABCD, R2: Order.CDAB, GAS: Order.DCBA, SCALE: Order.BADC}
TIME_REGISTER = 0
FIRST_VALUE_REGISTER = 10
REGISTER_COUNT = 24

Words = list[int]


def to_words(kind: Kind, value: float, order: Order) -> Words:
    """The registers of one value.

    A single register has no words to swap, and keeps its bytes in every order: Modbus itself fixes them.
    """
    packed = struct.pack(kind.value, value)
    words = [packed[at : at + 2] for at in range(0, len(packed), 2)]
    if len(words) > 1 and order in {Order.CDAB, Order.DCBA}:
        words.reverse()
    if len(words) > 1 and order in {Order.BADC, Order.DCBA}:
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def plant_registers(time_ns: int, meters: PlantMeters) -> dict[int, Words]:
    """All registers of all units at this device time [ns since 1970 UTC]."""
    counters, shown = meters.counters, meters.readings
    values: dict[int, list[tuple[int, Kind, float]]] = {
        R1: [
            (10, Kind.UINT32, counters["R1.energy"].register),
            (12, Kind.FLOAT32, shown.power_kw[0]),
            (14, Kind.INT16, round(10.0 * shown.hall_c)),
        ],
        R2: [
            (10, Kind.UINT32, counters["R2.energy"].register),
            (12, Kind.FLOAT32, shown.power_kw[1]),
        ],
        GAS: [
            (10, Kind.UINT32, counters["gas.total"].register),
            (12, Kind.FLOAT32, shown.gas_flow_nm3_h),
            (14, Kind.FLOAT32, shown.gas_c),
        ],
        SCALE: [
            (10, Kind.INT64, counters["scale.total"].register),
            (14, Kind.UINT32, counters["scale.tickets"].register),
            (16, Kind.FLOAT32, shown.last_net_kg),
            (18, Kind.INT16, round(shown.crucible_c)),
        ],
    }
    return {
        unit: _fill(order, [(TIME_REGISTER, Kind.INT64, time_ns), *values[unit]])
        for unit, order in UNIT_ORDERS.items()
    }


def _fill(order: Order, values: list[tuple[int, Kind, float]]) -> Words:
    """One unit's registers; unused ones are 0."""
    words = [0] * REGISTER_COUNT
    for address, kind, value in values:
        encoded = to_words(kind, value, order)
        words[address : address + len(encoded)] = encoded
    return words

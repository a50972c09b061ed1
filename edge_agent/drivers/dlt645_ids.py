"""What a DL/T 645-2007 meter can be asked: names, data ids, digits.

Source: DL/T 645-2007 annex A, tables A.1 (energy), A.2 (maximum demand), A.3 (variables) and A.4
(parameters). The standard's own print was not at hand; ids, digits and decimals were compared in two
independent implementations and in published exchanges. ``verified`` says which of them a published
exchange of a real meter has shown; the others are unverified until a meter has.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAX_TARIFF = 63


@dataclass(frozen=True, slots=True)
class Item:
    """Where a number stands: id, bytes of the number, decimals, whether its top bit is a sign.

    ``answer_bytes`` is what the meter answers in all, ``unit`` the unit of the number.
    """

    data_id: int
    number_bytes: int
    decimals: int
    unit: str
    is_signed: bool = False
    answer_bytes: int = 0
    is_counter: bool = False
    verified: bool = False

    @property
    def size(self) -> int:
        """Bytes of the whole answer after the data id."""
        return self.answer_bytes or self.number_bytes


_PHASES = {"total": 0, "a": 1, "b": 2, "c": 3}
# name: (DI2, unit, signed)
_ENERGIES = {
    "combined_active_energy": (0x00, "kWh", True),
    "forward_active_energy": (0x01, "kWh", False),
    "reverse_active_energy": (0x02, "kWh", False),
    "combined_reactive_energy_1": (0x03, "kvarh", True),
    "combined_reactive_energy_2": (0x04, "kvarh", True),
    "reactive_energy_quadrant_1": (0x05, "kvarh", False),
    "reactive_energy_quadrant_2": (0x06, "kvarh", False),
    "reactive_energy_quadrant_3": (0x07, "kvarh", False),
    "reactive_energy_quadrant_4": (0x08, "kvarh", False),
    "forward_apparent_energy": (0x09, "kVAh", False),
    "reverse_apparent_energy": (0x0A, "kVAh", False),
}
_DEMANDS = {
    "forward_active_max_demand": (0x01, "kW"),
    "reverse_active_max_demand": (0x02, "kW"),
    "combined_reactive_1_max_demand": (0x03, "kvar"),
    "combined_reactive_2_max_demand": (0x04, "kvar"),
}
# name: (DI2, bytes, decimals, unit, signed)
_PHASE_VALUES = {
    "voltage": (0x01, 2, 1, "V", False),
    "current": (0x02, 3, 3, "A", True),
    "active_power": (0x03, 3, 4, "kW", True),
    "reactive_power": (0x04, 3, 4, "kvar", True),
    "apparent_power": (0x05, 3, 4, "kVA", True),
    "power_factor": (0x06, 2, 3, "", True),
}
_HAVE_TOTAL = ("active_power", "reactive_power", "apparent_power", "power_factor")
_OTHERS = {
    "neutral_current": Item(0x02800001, 3, 3, "A", is_signed=True),
    "frequency": Item(0x02800002, 2, 2, "Hz"),
    "active_power_minute_mean": Item(0x02800003, 3, 4, "kW", is_signed=True),
    "active_demand": Item(0x02800004, 3, 4, "kW", is_signed=True),
    "reactive_demand": Item(0x02800005, 3, 4, "kvar", is_signed=True),
    "apparent_demand": Item(0x02800006, 3, 4, "kVA", is_signed=True),
    "inner_temperature": Item(0x02800007, 2, 1, "degC", is_signed=True),
}
# in the published exchanges of tests/cases/dlt645
_SHOWN = (0x00010000, 0x00020000, 0x00030000, 0x00040000, 0x02010100, 0x02020100)
CLOCK_DATE, CLOCK_TIME = 0x04000101, 0x04000102


def named_items() -> dict[str, Item]:
    """All quantities by name; tariffs as ``forward_active_energy.t1``, phases as ``voltage.a``."""
    table = dict(_energies())
    table.update(_demands())
    table.update(_phase_values())
    table.update(_OTHERS)
    return table


def _energies() -> Iterator[tuple[str, Item]]:
    for name, (group, unit, is_signed) in _ENERGIES.items():
        for tariff in range(MAX_TARIFF + 1):
            data_id = group << 16 | tariff << 8
            item = Item(
                data_id,
                number_bytes=4,
                decimals=2,
                unit=unit,
                is_signed=is_signed,
                is_counter=not is_signed,
                verified=data_id in _SHOWN,
            )
            yield f"{name}.t{tariff}" if tariff else name, item


def _demands() -> Iterator[tuple[str, Item]]:
    """The number comes first, five bytes of its time behind it."""
    for name, (group, unit) in _DEMANDS.items():
        for tariff in range(MAX_TARIFF + 1):
            item = Item(0x01000000 | group << 16 | tariff << 8, 3, 4, unit, answer_bytes=8)
            yield f"{name}.t{tariff}" if tariff else name, item


def _phase_values() -> Iterator[tuple[str, Item]]:
    for name, (group, count, decimals, unit, is_signed) in _PHASE_VALUES.items():
        for phase, number in _PHASES.items():
            if number or name in _HAVE_TOTAL:
                data_id = 0x02000000 | group << 16 | number << 8
                item = Item(data_id, count, decimals, unit, is_signed, verified=data_id in _SHOWN)
                yield f"{name}.{phase}" if number else name, item

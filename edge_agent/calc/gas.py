"""Gas volumes at normal conditions (标准状态: 0 C, 101.325 kPa); none is corrected twice.

A ``GasVolume`` says how it was measured; only ``to_normal`` turns it into a ``NormalVolume``, and
nothing turns that back, so a compensated reading cannot be compensated again.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from edge_agent.calc.checks import not_negative
from edge_agent.errors import CalculationError

NORMAL_KPA = 101.325
"""Standard atmosphere [kPa]; the pressure of normal conditions."""
NORMAL_K = 273.15
"""0 C [K]; the temperature of normal conditions."""
SALES_K = 293.15
"""20 C [K]; the temperature of gas sales in China (GB/T 19205)."""
NM3_PER_UNIT = 10_000
"""Nm3 in the accounting unit 10^4 Nm3."""


class Compensation(StrEnum):
    """What a meter's volume refers to."""

    NORMAL = "normal"
    """The meter compensates to 0 C and 101.325 kPa."""
    SALES_20C = "sales_20c"
    """The meter compensates to 20 C and 101.325 kPa."""
    NONE = "none"
    """Volume as it flowed; pressure and temperature are measured beside it."""


@dataclass(frozen=True, slots=True)
class GasVolume:
    """A metered volume [m3] with what it refers to.

    ``gauge_kpa`` [kPa above atmosphere], ``temperature_c`` [C] and ``atmosphere_kpa`` [kPa] belong
    to uncompensated volumes only.
    """

    volume_m3: float
    compensation: Compensation
    gauge_kpa: float | None = None
    temperature_c: float | None = None
    atmosphere_kpa: float = NORMAL_KPA


@dataclass(frozen=True, slots=True)
class NormalVolume:
    """A volume at normal conditions [Nm3]."""

    nm3: float

    @property
    def amount(self) -> float:
        """In the accounting unit [10^4 Nm3]."""
        return self.nm3 / NM3_PER_UNIT


def to_normal(volume: GasVolume) -> NormalVolume:
    """A metered volume at normal conditions.

        V_N = V x (p_atm + p)/101.325 x 273.15/(273.15 + t),   20 C: V_N = V x 273.15/293.15

    Raises:
        CalculationError: negative or impossible state, pressure or temperature missing where
            they are needed, or given where the meter has already used them.
    """
    not_negative(volume_m3=volume.volume_m3)
    state = (volume.gauge_kpa, volume.temperature_c)
    match volume.compensation:
        case Compensation.NORMAL:
            _refuse_state(volume, state)
            return NormalVolume(volume.volume_m3)
        case Compensation.SALES_20C:
            _refuse_state(volume, state)
            return NormalVolume(volume.volume_m3 * NORMAL_K / SALES_K)
        case Compensation.NONE:
            return NormalVolume(_corrected(volume))
        case _:
            assert_never(volume.compensation)


def _corrected(volume: GasVolume) -> float:
    if volume.gauge_kpa is None or volume.temperature_c is None:
        message = "an uncompensated gas volume needs its gauge pressure and temperature"
        raise CalculationError(message)
    pressure_kpa = volume.atmosphere_kpa + volume.gauge_kpa
    temperature_k = NORMAL_K + volume.temperature_c
    if not (pressure_kpa > 0 and temperature_k > 0):
        message = f"{pressure_kpa} kPa absolute at {temperature_k} K: both must be above 0"
        raise CalculationError(message)
    return volume.volume_m3 * pressure_kpa / NORMAL_KPA * NORMAL_K / temperature_k


def _refuse_state(volume: GasVolume, state: tuple[float | None, float | None]) -> None:
    if state != (None, None):
        message = (
            f"the meter compensates already ({volume.compensation}): pressure and temperature "
            "must not be given, or the volume would be corrected twice"
        )
        raise CalculationError(message)

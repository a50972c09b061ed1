"""The plant's meters: two rectifier energy meters, a gas meter and the metal scale.

Counters count whole units and never lose a fraction: what flows is added up in integers a million times finer
(one second's worth is rounded to that), so the counts do not depend on block sizes. The register of a meter
shows the count modulo its modulus; the count itself goes on, and is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simulators.physics.noise import ornstein_uhlenbeck
from simulators.physics.settings import SECONDS_PER_DAY, STATUS_OUT, PotlineSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulators.physics.potline import PotlineBlock

RECTIFIER_EFFICIENCY = 0.985
RECTIFIER_SHARES = (0.52, 0.48)
AUXILIARY_KW = (160.0, 145.0)
NORMAL_POT_V = 4.25
CURRENT_EFFICIENCY = 0.94
METAL_KG_PER_AS = 26.9815385e-3 / (3.0 * 96_485.33212)
"""Faraday: kilograms of aluminium a pot makes per ampere-second at 100 % current efficiency."""
GAS_FLOW_NM3_H = 420.0


@dataclass(slots=True)
class Counter:
    """A totaliser that counts whole units.

    Attributes:
        first_count: count at second 0.
        modulus: the register starts again at 0 here.
        unit_scale: what one count is worth, in the meter's unit (kWh, Nm3, kg, tickets).
        fine_per_count: how many of the fine units added make one count.
        fine: fine units added so far.
    """

    first_count: int
    modulus: int
    unit_scale: float
    fine_per_count: int = 1
    fine: int = 0

    @property
    def count(self) -> int:
        """The count, never wrapped."""
        return self.first_count + self.fine // self.fine_per_count

    @property
    def register(self) -> int:
        """What the meter shows."""
        return self.count % self.modulus


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """What the meters show beside their counters.

    Attributes:
        power_kw: active power of both rectifiers [kW].
        hall_c: temperature at rectifier R1 [degC], may be negative.
        gas_flow_nm3_h: gas flow [Nm3/h].
        gas_c: gas temperature [degC].
        last_net_kg: net weight on the last ticket [kg].
        crucible_c: crucible temperature [degC].
    """

    power_kw: tuple[float, float]
    hall_c: float
    gas_flow_nm3_h: float
    gas_c: float
    last_net_kg: float
    crucible_c: float


class PlantMeters:
    """All meters of the plant, fed with what was true on the line.

    Args:
        settings: the line; its length decides how near their roll-over the counters start.
        rng: source of the meters' own noise.
    """

    def __init__(self, settings: PotlineSettings, rng: np.random.Generator) -> None:
        self._gas_rng, self._hall_rng, self._scale_rng = rng.spawn(3)
        self._gas_noise = ornstein_uhlenbeck(1, 25.0, 900.0)
        self._hall_noise = ornstein_uhlenbeck(1, 2.0, 3_600.0)
        self.counters = _counters(settings)
        daily_kg = _kg(round(settings.current_ka * 1_000) * SECONDS_PER_DAY)
        self._charge_as = [
            round(float(share) * settings.current_ka * 1_000) * SECONDS_PER_DAY
            for share in rng.uniform(0.0, 1.0, settings.pots)
        ]
        self.readings = MeterReadings(
            power_kw=AUXILIARY_KW,
            hall_c=-4.0,
            gas_flow_nm3_h=GAS_FLOW_NM3_H,
            gas_c=18.0,
            last_net_kg=float(round(daily_kg)),
            crucible_c=905.0,
        )
        self.tapped_kg = 0

    def advance(self, block: PotlineBlock) -> None:
        """Run on by one block."""
        power = self._add_energy(block)
        flow = self._add_gas(block.seconds)
        net_kg = self._add_taps(block)
        day_share = (block.end % SECONDS_PER_DAY) / SECONDS_PER_DAY
        hall = float(self._hall_noise.draw(block.seconds, self._hall_rng)[0, -1])
        self.readings = MeterReadings(
            power_kw=power,
            hall_c=-3.0 - 8.0 * float(np.cos(2.0 * np.pi * day_share)) + hall,
            gas_flow_nm3_h=flow,
            gas_c=18.0 + 0.5 * hall,
            last_net_kg=net_kg,
            crucible_c=905.0 + 2.0 * hall,
        )

    def _add_energy(self, block: PotlineBlock) -> tuple[float, float]:
        """Energy of both rectifiers; returns the power in the last second [kW]."""
        dc_kw = block.voltage.sum(axis=0, dtype=np.float64) * block.current_ka
        last: list[float] = []
        for name, share, auxiliary_kw in zip(
            ("R1.energy", "R2.energy"), RECTIFIER_SHARES, AUXILIARY_KW, strict=True
        ):
            power_kw = share * dc_kw / RECTIFIER_EFFICIENCY + auxiliary_kw
            self.counters[name].fine += _whole(power_kw * (1e6 / 3_600.0))
            last.append(float(power_kw[-1]))
        return last[0], last[1]

    def _add_gas(self, seconds: int) -> float:
        """Gas drawn; returns the flow in the last second [Nm3/h]."""
        wander = self._gas_noise.draw(seconds, self._gas_rng)[0]
        flow = np.maximum(GAS_FLOW_NM3_H + wander.astype(np.float64), 0.0)
        self.counters["gas.total"].fine += _whole(flow * (1e6 / 3_600.0))
        return float(flow[-1])

    def _add_taps(self, block: PotlineBlock) -> float:
        """Metal made since each pot's last tap goes over the scale; returns the last net weight [kg]."""
        amperes = np.rint(block.current_ka.astype(np.float64) * 1_000.0).astype(np.int64)
        done = [0] * len(self._charge_as)
        net_kg = self.readings.last_net_kg
        for second, pot in block.taps:
            until = second - block.start
            charge = self._charge_as[pot] + _charge(block, pot, amperes, slice(done[pot], until))
            done[pot] = until
            self._charge_as[pot] = 0
            weight = round(_kg(charge) * float(self._scale_rng.normal(1.0, 0.02)))
            self.counters["scale.total"].fine += weight
            self.counters["scale.tickets"].fine += 1
            self.tapped_kg += weight
            net_kg = float(weight)
        in_circuit = block.status != STATUS_OUT
        whole = in_circuit.astype(np.int64) @ amperes
        for pot, since in enumerate(done):
            made = _charge(block, pot, amperes, slice(since, None)) if since else int(whole[pot])
            self._charge_as[pot] += made
        return net_kg


def _whole(fine_units: NDArray[np.float64]) -> int:
    """Sum of the fine units, each second rounded."""
    return int(np.rint(fine_units).astype(np.int64).sum())


def _kg(charge_as: int) -> float:
    """Metal from the charge that went through a pot [kg]."""
    return METAL_KG_PER_AS * CURRENT_EFFICIENCY * charge_as


def _charge(block: PotlineBlock, pot: int, amperes: NDArray[np.int64], where: slice) -> int:
    """Charge through one pot in part of a block [A s]."""
    return int(amperes[where][block.status[pot, where] != STATUS_OUT].sum())


def _counters(settings: PotlineSettings) -> dict[str, Counter]:
    """Counters that roll over within the period: R1 after about 40 %, R2 after about 60 % of it."""
    hours = settings.period_s / 3_600.0
    dc_kw = settings.pots * NORMAL_POT_V * settings.current_ka / RECTIFIER_EFFICIENCY
    expected = [
        (share * dc_kw + own) * hours
        for share, own in zip(RECTIFIER_SHARES, AUXILIARY_KW, strict=True)
    ]
    million = 1_000_000
    r1_left = max(1, int(0.4 * expected[0])) % 10**8
    r2_left = max(1, int(0.6 * expected[1])) % 2**32
    return {
        "R1.energy": Counter(10**8 - r1_left, 10**8, 1.0, million),
        "R2.energy": Counter(2**32 - r2_left, 2**32, 1.0, million),
        "gas.total": Counter(123_456_789, 10**9, 0.1, million // 10),
        "scale.total": Counter(2**32 - 50_000, 2**63, 1.0),
        "scale.tickets": Counter(65_500, 2**32, 1.0),
    }

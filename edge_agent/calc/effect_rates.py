"""Anode-effect rates of a pot, a section, a line or a cell type over a period.

    cell-days  = time observed in circuit / 86 400 s
    AEF        = effects / cell-days                       [1/(cell.d)]
    AEM        = minutes of effect / cell-days             [min/(cell.d)]
    AED        = minutes of effect / effects = AEM / AEF   [min]; none without effects
    AEO        = 1000 x overvoltage integral / time in circuit     [mV]

Sources: (EU) 2025/2547 annex II B.7; 40 CFR 98.6 and subpart F; GB/T 32151.4. Sums add over
pots and over time; rates never do: always add the sums and take the rate of the total.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge_agent.errors import CalculationError

DAY_S = 86_400
MINUTE_S = 60
MV_PER_V = 1000


@dataclass(frozen=True, slots=True)
class EffectSums:
    """What was counted: times [s], effects that began, overvoltage integrals [V.s].

    ``observed_s`` is the time in circuit with a usable voltage; ``overvoltage_v_s`` integrates
    V - V_target where it is positive, ``overvoltage_algebraic_v_s`` with its sign.
    """

    observed_s: float = 0.0
    effect_s: float = 0.0
    effects: int = 0
    overvoltage_v_s: float = 0.0
    overvoltage_algebraic_v_s: float = 0.0

    @property
    def cell_days(self) -> float:
        """Cell-days observed [cell.d]."""
        return self.observed_s / DAY_S

    @property
    def minutes(self) -> float:
        """Minutes of effect [min]."""
        return self.effect_s / MINUTE_S

    @property
    def aef(self) -> float | None:
        """Effects per cell-day; None without any cell time."""
        return _ratio(self.effects, self.cell_days)

    @property
    def aem_min(self) -> float | None:
        """Minutes of effect per cell-day; None without any cell time."""
        return _ratio(self.minutes, self.cell_days)

    @property
    def aed_min(self) -> float | None:
        """Mean minutes of an effect; None when none began in the period."""
        return _ratio(self.minutes, self.effects)

    @property
    def aeo_positive_mv(self) -> float | None:
        """Positive anode-effect overvoltage [mV]; None without any cell time."""
        return _ratio(MV_PER_V * self.overvoltage_v_s, self.observed_s)

    @property
    def aeo_algebraic_mv(self) -> float | None:
        """Algebraic anode-effect overvoltage [mV], at most the positive one."""
        return _ratio(MV_PER_V * self.overvoltage_algebraic_v_s, self.observed_s)


def add(sums: Iterable[EffectSums]) -> EffectSums:
    """The sums of several pots or periods together."""
    items = list(sums)
    return EffectSums(
        math.fsum(item.observed_s for item in items),
        math.fsum(item.effect_s for item in items),
        sum(item.effects for item in items),
        math.fsum(item.overvoltage_v_s for item in items),
        math.fsum(item.overvoltage_algebraic_v_s for item in items),
    )


def coverage(sums: EffectSums, required_s: float) -> float | None:
    """Observed share of the time in circuit that should have been observed, at most 1.

    None when nothing was required. Below 0.95 a report says so; below 0.75 the month needs the
    scheme's substitution rule (anode-effect practice; 40 CFR 98.65 for its own).

    Raises:
        CalculationError: the required time is negative.
    """
    if not required_s >= 0:
        message = f"{required_s} s of required cell time; zero or more is right"
        raise CalculationError(message)
    return min(1.0, sums.observed_s / required_s) if required_s else None


def share_metal(metal_t: float, by_pot: Mapping[str, EffectSums]) -> dict[str, float]:
    """Metal of a line [t] shared out to its pots by cell time: all carry the same current.

    Raises:
        CalculationError: metal is negative, or there is metal but no cell time.
    """
    observed_s = math.fsum(sums.observed_s for sums in by_pot.values())
    if not metal_t >= 0 or (metal_t > 0 and not observed_s > 0):
        message = f"{metal_t} t of metal over {observed_s} s of cell time cannot be shared out"
        raise CalculationError(message)
    if not observed_s:
        return dict.fromkeys(by_pot, 0.0)
    return {pot: metal_t * sums.observed_s / observed_s for pot, sums in by_pot.items()}


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None

"""Aluminium electrolysis: anode CO2 and metal by Faraday's law."""

from edge_agent.calc.combustion import CO2_PER_C
from edge_agent.errors import CalculationError

FARADAY_C_PER_MOL = 96485.33212
"""Faraday constant [C/mol], CODATA 2018."""
ALUMINIUM_G_PER_MOL = 26.9815385
"""Molar mass of aluminium [g/mol], IUPAC."""
ELECTRONS_PER_AL = 3
ALUMINIUM_G_PER_AH = ALUMINIUM_G_PER_MOL / (ELECTRONS_PER_AL * FARADAY_C_PER_MOL) * 3600
"""Metal per charge at 100 % current efficiency [g/Ah]; anode-effect-pfc.md 1.5."""


def anode_co2(metal_t: float, net_consumption_t_per_t: float, sulphur: float, ash: float) -> float:
    """CO2 in t from the consumption of prebaked anodes.

        E = P x NC x (1 - S - A) x 44/12        (GB/T 32151.4; 40 CFR 98 eq. F-5)

    Args:
        metal_t: molten aluminium produced [t].
        net_consumption_t_per_t: net anode carbon consumption [t C/t Al].
        sulphur: sulphur content of the anode, fraction.
        ash: ash content of the anode, fraction.

    Raises:
        CalculationError: an input is negative, or sulphur and ash exceed the whole.
    """
    if min(metal_t, net_consumption_t_per_t, sulphur, ash) < 0 or sulphur + ash > 1:
        message = (
            f"metal {metal_t} t, NC {net_consumption_t_per_t}, S {sulphur}, A {ash}: "
            "all must be at least 0 and S + A at most 1"
        )
        raise CalculationError(message)
    return metal_t * net_consumption_t_per_t * (1 - sulphur - ash) * CO2_PER_C


def metal_per_cell_day(current_ka: float, current_efficiency_percent: float) -> float:
    """Metal one pot makes in 24 h [t] at a line current [kA] and efficiency [%].

    Raises:
        CalculationError: the efficiency is no percent number between 50 and 100.
    """
    check_current_efficiency(current_efficiency_percent)
    return ALUMINIUM_G_PER_AH * 1e-6 * current_ka * 1000 * 24 * current_efficiency_percent / 100


def current_efficiency_percent(metal_t: float, charge_kah: float, cells: float = 1) -> float:
    """Current efficiency [%] from metal [t], line charge [kAh] and pots in series."""
    if not charge_kah * cells > 0:
        message = "no charge flowed: the current efficiency is not defined"
        raise CalculationError(message)
    return 100 * metal_t / (ALUMINIUM_G_PER_AH * 1e-3 * charge_kah * cells)


def check_current_efficiency(percent: float) -> None:
    """Accept a percent number only: 94, never 0.94.

    Raises:
        CalculationError: outside 50 to 100.
    """
    if not 50 <= percent <= 100:
        message = f"current efficiency is {percent}; a percent number from 50 to 100 is right"
        raise CalculationError(message)

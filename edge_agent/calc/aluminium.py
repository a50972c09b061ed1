"""Aluminium electrolysis: anode CO2 and metal by Faraday's law."""

from dataclasses import dataclass

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


def pitch_volatiles_co2(
    green_anode_t: float, hydrogen_t: float, baked_anode_t: float, waste_tar_t: float
) -> float:
    """CO2 [t] of pitch volatiles burnt in an anode baking furnace.

        E = (GA - Hw - BA - WT) x 44/12        (IPCC 2006 eq. 4.22; 40 CFR 98 eq. F-7)

    Raises:
        CalculationError: more leaves the furnace than entered it.
    """
    volatiles_t = green_anode_t - hydrogen_t - baked_anode_t - waste_tar_t
    if volatiles_t < 0:
        message = f"{volatiles_t} t of volatiles: more left the furnace than entered it"
        raise CalculationError(message)
    return volatiles_t * CO2_PER_C


def packing_coke_co2(
    packing_coke_t_per_t: float, baked_anode_t: float, sulphur_percent: float, ash_percent: float
) -> float:
    """CO2 [t] of packing coke in an anode baking furnace.

    E = PCC x BA x (100 - S - A)/100 x 44/12        (IPCC 2006 eq. 4.23; 40 CFR 98 eq. F-8)
    """
    carbon = (100 - sulphur_percent - ash_percent) / 100
    return packing_coke_t_per_t * baked_anode_t * carbon * CO2_PER_C


@dataclass(frozen=True, slots=True)
class SoderbergPaste:
    """A Söderberg line's paste: consumption [t/t Al], losses, and composition [%]."""

    paste_t_per_t: float
    cyclohexane_kg_per_t: float
    binder_percent: float
    pitch_sulphur: float
    pitch_ash: float
    pitch_hydrogen: float
    coke_sulphur: float
    coke_ash: float
    dust_t_per_t: float


def soderberg_co2(metal_t: float, paste: SoderbergPaste) -> float:
    """CO2 [t] from the paste of Söderberg pots.

        E = MP x [PC - CSM/1000 - BC/100 PC (Sp + Ap + Hp)/100
                  - (100 - BC)/100 PC (Sc + Ac)/100 - CD] x 44/12

    Source: IPCC 2006 vol. 3 eq. 4.24; 40 CFR 98 eq. F-6.
    """
    pitch = paste.pitch_sulphur + paste.pitch_ash + paste.pitch_hydrogen
    binder = paste.binder_percent / 100
    carbon_t_per_t = (
        paste.paste_t_per_t
        - paste.cyclohexane_kg_per_t / 1000
        - binder * paste.paste_t_per_t * pitch / 100
        - (1 - binder) * paste.paste_t_per_t * (paste.coke_sulphur + paste.coke_ash) / 100
        - paste.dust_t_per_t
    )
    return metal_t * carbon_t_per_t * CO2_PER_C


def cell_days(pots: int, days: float, absent_pot_days: float) -> float:
    """Cell-days of a period: pots times days, less the pot-days out of circuit.

    Raises:
        CalculationError: more was absent than there is.
    """
    result = pots * days - absent_pot_days
    if result < 0:
        message = f"{absent_pot_days} absent pot-days of {pots * days}"
        raise CalculationError(message)
    return result

"""Aluminium electrolysis: anode CO2 and metal by Faraday's law.

Anode consumption comes as a factor per tonne, from weighed anodes and butts, or from the gross
consumption and a loss rate; each passes the stoichiometric floor.
"""

from dataclasses import dataclass

from edge_agent.calc.combustion import CO2_PER_C
from edge_agent.errors import CalculationError

FARADAY_C_PER_MOL = 96485.33212
"""Faraday constant [C/mol], CODATA 2018."""
ALUMINIUM_G_PER_MOL = 26.9815385
"""Molar mass of aluminium [g/mol], IUPAC."""
ELECTRONS_PER_AL = 3
ALUMINIUM_G_PER_AH = ALUMINIUM_G_PER_MOL / (ELECTRONS_PER_AL * FARADAY_C_PER_MOL) * 3600
"""Metal per charge at 100 % current efficiency [g/Ah], Faraday's law."""
CARBON_G_PER_MOL = 12.011
"""Molar mass of carbon [g/mol], IUPAC abridged standard atomic weight."""
CARBON_FLOOR_T_PER_T = 3 * CARBON_G_PER_MOL / (4 * ALUMINIUM_G_PER_MOL)
"""Carbon per metal at 100 % current efficiency [t/t]: 2 Al2O3 + 3 C -> 4 Al + 3 CO2; 0.3339."""
METAL_TOLERANCE = 0.03
"""How far a month's weighed metal may lie from Faraday's law before it is flagged."""


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


def net_consumption(anodes_set_t: float, butts_returned_t: float, metal_t: float) -> float:
    """Net anode consumption [t/t Al] from weighed anodes and butts.

        NC = (anodes set - butts returned) / P

    Raises:
        CalculationError: more came back than was set, or there is no metal.
    """
    if not (metal_t > 0 and anodes_set_t >= butts_returned_t >= 0):
        message = (
            f"anodes set {anodes_set_t} t, butts {butts_returned_t} t, metal {metal_t} t: metal "
            "above zero and butts from zero to the anodes set are right"
        )
        raise CalculationError(message)
    return (anodes_set_t - butts_returned_t) / metal_t


def net_from_gross(gross_t: float, loss_rate: float) -> float:
    """Net anodes [t] from the gross consumption and a fixed loss rate (a fraction).

        net = gross x (1 - loss)

    Raises:
        CalculationError: the amount is negative or the rate not within 0 to 1.
    """
    if not (gross_t >= 0 and 0 <= loss_rate <= 1):
        message = f"gross {gross_t} t, loss {loss_rate}: at least 0 and a fraction are right"
        raise CalculationError(message)
    return gross_t * (1 - loss_rate)


def anode_co2_by_tonne(metal_t: float, ef_tco2_per_t: float) -> float:
    """Anode CO2 [t] by a default factor a tonne of metal [tCO2/t Al].

    Raises:
        CalculationError: an input is negative.
    """
    if not min(metal_t, ef_tco2_per_t) >= 0:
        message = f"metal {metal_t} t, factor {ef_tco2_per_t}: both must be at least 0"
        raise CalculationError(message)
    return metal_t * ef_tco2_per_t


def check_net_consumption(net_consumption_t_per_t: float, efficiency_percent: float) -> None:
    """Refuse an anode consumption below what the reaction itself needs.

        NC >= 0.3339 / CE        (2 Al2O3 + 3 C -> 4 Al + 3 CO2)

    Raises:
        CalculationError: it is below the floor, or the efficiency is no percent number.
    """
    check_current_efficiency(efficiency_percent)
    floor = 100 * CARBON_FLOOR_T_PER_T / efficiency_percent
    if not net_consumption_t_per_t >= floor:
        message = (
            f"net anode consumption is {net_consumption_t_per_t} t C/t Al; the reaction needs at "
            f"least {floor:.4f} at a current efficiency of {efficiency_percent} %"
        )
        raise CalculationError(message)


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


@dataclass(frozen=True, slots=True)
class MetalCheck:
    """Weighed metal beside Faraday's law: metal [t], deviation as a fraction, implied CE [%]."""

    faraday_t: float
    deviation: float
    implied_efficiency_percent: float
    within_tolerance: bool


def cross_check_metal(
    metal_t: float,
    charge_kah: float,
    cells: float,
    efficiency_percent: float,
    tolerance: float = METAL_TOLERANCE,
) -> MetalCheck:
    """Compare weighed metal with what the charge can have made; a check, never a report value.

        P = k x CE/100 x integral(I dt) x cells

    Args:
        metal_t: weighed metal of the period [t].
        charge_kah: line charge of the period [kAh].
        cells: mean number of pots in circuit.
        efficiency_percent: assumed current efficiency [%].
        tolerance: deviation that is still accepted, a fraction.

    Raises:
        CalculationError: no charge flowed, or the efficiency is no percent number.
    """
    check_current_efficiency(efficiency_percent)
    implied = current_efficiency_percent(metal_t, charge_kah, cells)
    faraday_t = ALUMINIUM_G_PER_AH * 1e-3 * charge_kah * cells * efficiency_percent / 100
    deviation = metal_t / faraday_t - 1
    within = abs(deviation) <= tolerance and implied <= 100
    return MetalCheck(faraday_t, deviation, implied, within)


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
    """CO2 [t] of packing coke in an anode baking furnace; sulphur and ash in percent.

        E = PCC x BA x (100 - S - A)/100 x 44/12        (IPCC 2006 eq. 4.23; 40 CFR 98 eq. F-8)

    Raises:
        CalculationError: an input is negative, or sulphur and ash exceed the whole.
    """
    lowest = min(packing_coke_t_per_t, baked_anode_t, sulphur_percent, ash_percent)
    if not (lowest >= 0 and sulphur_percent + ash_percent <= 100):
        message = (
            f"packing coke {packing_coke_t_per_t} t/t, baked anodes {baked_anode_t} t, S "
            f"{sulphur_percent} %, ash {ash_percent} %: at least 0, and S + ash at most 100 %"
        )
        raise CalculationError(message)
    carbon = (100 - sulphur_percent - ash_percent) / 100
    return packing_coke_t_per_t * baked_anode_t * carbon * CO2_PER_C


@dataclass(frozen=True, slots=True)
class SoderbergPaste:
    """A Söderberg line's paste: consumption [t/t Al], losses, and composition [%].

    ``binder_percent`` is pitch in the paste; ``cyclohexane_kg_per_t`` the emission of
    cyclohexane-soluble matter CSM; ``dust_t_per_t`` the carbon skimmed off CD.

    Raises:
        CalculationError: a value is negative, or a percentage or the sum of one part's above 100.
    """

    paste_t_per_t: float
    cyclohexane_kg_per_t: float
    binder_percent: float
    pitch_sulphur: float
    pitch_ash: float
    pitch_hydrogen: float
    coke_sulphur: float
    coke_ash: float
    dust_t_per_t: float

    def __post_init__(self) -> None:
        pitch = self.pitch_sulphur + self.pitch_ash + self.pitch_hydrogen
        highest = max(self.binder_percent, pitch, self.coke_sulphur + self.coke_ash)
        lowest = min(getattr(self, name) for name in self.__slots__)
        if not (lowest >= 0 and highest <= 100):
            message = f"{self}: nothing below 0 and no composition above 100 % is right"
            raise CalculationError(message)


def soderberg_co2(metal_t: float, paste: SoderbergPaste) -> float:
    """CO2 [t] from the paste of Söderberg pots.

        E = MP x [PC - CSM/1000 - BC/100 PC (Sp + Ap + Hp)/100
                  - (100 - BC)/100 PC (Sc + Ac)/100 - CD] x 44/12

    Source: IPCC 2006 vol. 3 eq. 4.24; 40 CFR 98 eq. F-6.

    Raises:
        CalculationError: metal is negative, or more carbon is lost than the paste holds.
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
    if not (metal_t >= 0 and carbon_t_per_t >= 0):
        message = (
            f"metal {metal_t} t, carbon burnt {carbon_t_per_t:.6g} t/t: neither may be negative"
        )
        raise CalculationError(message)
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

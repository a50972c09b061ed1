"""CF4 and C2F6 of anode effects: slope, overvoltage or default factor; CO2 equivalents.

Masses stay unrounded; coefficients come from a factor set. Source of the equations:
IPCC 2006 vol. 3 ch. 4 (Tier 2), 40 CFR 98 subpart F, GB/T 32151.4.
"""

from dataclasses import dataclass

from edge_agent.calc.aluminium import FARADAY_C_PER_MOL, check_current_efficiency
from edge_agent.errors import CalculationError

CF4_G_PER_MOL = 88.0043
"""Molar mass of CF4 [g/mol], from IUPAC atomic masses."""
ELECTRONS_PER_CF4 = 4
MINUTES_PER_DAY = 1440


@dataclass(frozen=True, slots=True)
class Pfc:
    """Perfluorocarbons of a period: CF4 and C2F6 [t] and CF4 per metal [kg/t]."""

    ef_cf4_kg_per_t: float
    cf4_t: float
    c2f6_t: float


def by_slope(aem_min_per_cell_day: float, metal_t: float, slope: float, c2f6_per_cf4: float) -> Pfc:
    """Slope method.

        m_CF4 = S x AEM x P,  m_C2F6 = F x m_CF4

    Args:
        aem_min_per_cell_day: anode-effect minutes per cell-day [min/(cell.d)].
        metal_t: metal produced in the period [t].
        slope: slope coefficient S [kg CF4 / t Al / (min/(cell.d))].
        c2f6_per_cf4: weight fraction F of C2F6 to CF4.

    Raises:
        CalculationError: metal or minutes negative, or minutes above 1440.
    """
    if not 0 <= aem_min_per_cell_day <= MINUTES_PER_DAY:
        message = f"{aem_min_per_cell_day} anode-effect minutes a cell-day; 0 to 1440 is possible"
        raise CalculationError(message)
    return by_factor(slope * aem_min_per_cell_day, metal_t, c2f6_per_cf4)


def by_overvoltage(
    aeo_mv: float,
    current_efficiency_percent: float,
    metal_t: float,
    overvoltage_coefficient: float,
    c2f6_per_cf4: float,
) -> Pfc:
    """Overvoltage method; the current efficiency enters as a percent number.

        EF_CF4 = OVC x AEO / CE

    Args:
        aeo_mv: mean anode-effect overvoltage [mV per cell-day].
        current_efficiency_percent: current efficiency [%], 50 to 100.
        metal_t: metal produced in the period [t].
        overvoltage_coefficient: OVC [(kg CF4/t Al)/mV].
        c2f6_per_cf4: weight fraction of C2F6 to CF4.

    Raises:
        CalculationError: an input is out of its range.
    """
    check_current_efficiency(current_efficiency_percent)
    if not aeo_mv >= 0:
        message = f"overvoltage is {aeo_mv} mV; zero or more is possible"
        raise CalculationError(message)
    ef = overvoltage_coefficient * aeo_mv / current_efficiency_percent
    return by_factor(ef, metal_t, c2f6_per_cf4)


def by_factor(ef_cf4_kg_per_t: float, metal_t: float, c2f6_per_cf4: float) -> Pfc:
    """Masses from an emission factor of CF4 [kg/t Al] and metal [t].

    Raises:
        CalculationError: metal is negative.
    """
    if not metal_t >= 0:
        message = f"metal is {metal_t} t; zero or more is possible"
        raise CalculationError(message)
    cf4_t = ef_cf4_kg_per_t * metal_t / 1000
    return Pfc(ef_cf4_kg_per_t, cf4_t, cf4_t * c2f6_per_cf4)


def co2e(cf4_t: float, c2f6_t: float, gwp_cf4: float, gwp_c2f6: float) -> float:
    """CO2 equivalent [t] of CF4 and C2F6 [t] with 100-year warming potentials."""
    return cf4_t * gwp_cf4 + c2f6_t * gwp_c2f6


def cf4_bound_kg(current_ka: float, effect_min: float) -> float:
    """Most CF4 [kg] that a current [kA] can make in some minutes of effect (Faraday's law).

    m <= I x t / (4 F) x M_CF4
    """
    charge_c = current_ka * 1000 * effect_min * 60
    return charge_c / (ELECTRONS_PER_CF4 * FARADAY_C_PER_MOL) * CF4_G_PER_MOL / 1000


def check_bound(cf4_kg: float, current_ka: float, effect_min: float) -> None:
    """Refuse a CF4 mass that no current could have made: a unit error somewhere.

    Raises:
        CalculationError: the mass exceeds Faraday's bound.
    """
    bound = cf4_bound_kg(current_ka, effect_min)
    if cf4_kg > bound:
        message = (
            f"{cf4_kg:.6g} kg CF4 is above the {bound:.6g} kg that {current_ka} kA can make in "
            f"{effect_min:.6g} min of anode effect"
        )
        raise CalculationError(message)


def total_from_duct(duct_t: float, collection_efficiency_percent: float) -> float:
    """Whole emission [t] from what the fume ducts carry.

        E = E_duct / collection efficiency        ((EU) 2025/2547 annex II B.7 eq. 20)

    Raises:
        CalculationError: the efficiency is not above 0 and at most 100 %.
    """
    if not 0 < collection_efficiency_percent <= 100:
        message = f"collection efficiency {collection_efficiency_percent} %; 0 to 100 is possible"
        raise CalculationError(message)
    return duct_t / (collection_efficiency_percent / 100)

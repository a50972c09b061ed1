"""Cement clinker: process CO2 by oxides (GB/T 32151.8) or by a factor a tonne."""

from edge_agent.errors import CalculationError

CO2_PER_CAO = 44 / 56
CO2_PER_MGO = 44 / 40


def clinker_factor(
    cao: float, mgo: float, cao_noncarbonate: float, mgo_noncarbonate: float
) -> float:
    """Process emission factor of clinker [tCO2/t] from its oxides, all as fractions.

        EF = (CaO - CaO_nc) x 44/56 + (MgO - MgO_nc) x 44/40

    Raises:
        CalculationError: a fraction is outside 0 to 1, or a part exceeds its whole.
    """
    if not (0 <= cao_noncarbonate <= cao <= 1 and 0 <= mgo_noncarbonate <= mgo <= 1):
        message = (
            f"CaO {cao} (non-carbonate {cao_noncarbonate}), MgO {mgo} "
            f"(non-carbonate {mgo_noncarbonate}): fractions with part <= whole are right"
        )
        raise CalculationError(message)
    return (cao - cao_noncarbonate) * CO2_PER_CAO + (mgo - mgo_noncarbonate) * CO2_PER_MGO


def clinker_co2(clinker_t: float, factor_t_per_t: float) -> float:
    """Process CO2 [t] of clinker [t] by an emission factor [tCO2/t].

    Raises:
        CalculationError: an input is negative.
    """
    if min(clinker_t, factor_t_per_t) < 0:
        message = f"clinker {clinker_t} t, factor {factor_t_per_t}: both must be at least 0"
        raise CalculationError(message)
    return clinker_t * factor_t_per_t

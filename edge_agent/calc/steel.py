"""Steel: carbon mass balance of a unit (GB/T 32151.5)."""

import math
from collections.abc import Sequence

from edge_agent.calc.combustion import CO2_PER_C
from edge_agent.errors import CalculationError


def carbon_balance_co2(
    carbon_in: Sequence[tuple[float, float]], carbon_out: Sequence[tuple[float, float]]
) -> float:
    """CO2 [t] of a unit from the carbon that enters and leaves it.

        E = (sum C_in m_in - sum C_out m_out) x 44/12

    Args:
        carbon_in: (mass [t], carbon fraction) of each input.
        carbon_out: the same of each output.

    Raises:
        CalculationError: a mass is negative or a carbon fraction outside 0 to 1.
    """
    for mass_t, carbon in (*carbon_in, *carbon_out):
        if mass_t < 0 or not 0 <= carbon <= 1:
            message = f"mass {mass_t} t with carbon {carbon}: at least 0 t and 0 to 1 are right"
            raise CalculationError(message)
    entered = math.fsum(mass_t * carbon for mass_t, carbon in carbon_in)
    left = math.fsum(mass_t * carbon for mass_t, carbon in carbon_out)
    return (entered - left) * CO2_PER_C

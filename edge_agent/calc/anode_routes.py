"""Anode CO2 by the routes a guideline may ask for (option ``anode_route``).

measured           E = P x NC x (1 - S - A) x 44/12, NC from weighed anodes less butts
gross_loss         net = gross x (1 - loss), E = net x (1 - S - A) x 44/12
per_tonne_default  E = P x EF
"""

from edge_agent.calc.checks import fraction, not_negative
from edge_agent.errors import CalculationError


def net_anode_by_butts(anodes_set_t: float, butts_returned_t: float) -> float:
    """Net anode consumption [t]: anodes set less butts returned (残极).

    Raises:
        CalculationError: a mass is negative, or more came back than was set.
    """
    not_negative(anodes_set_t=anodes_set_t, butts_returned_t=butts_returned_t)
    if butts_returned_t > anodes_set_t:
        message = f"{butts_returned_t} t butts of {anodes_set_t} t anodes set"
        raise CalculationError(message)
    return anodes_set_t - butts_returned_t


def net_anode_by_loss(gross_anode_t: float, loss_rate: float) -> float:
    """Net anode consumption [t] by a fixed loss rate, a fraction of the gross consumption.

    Raises:
        CalculationError: the mass is negative or the rate no fraction.
    """
    not_negative(gross_anode_t=gross_anode_t)
    return gross_anode_t * (1 - fraction("loss_rate", loss_rate))


def consumption_per_tonne(net_anode_t: float, metal_t: float) -> float:
    """Net anode consumption per metal, NC [t/t Al].

    Raises:
        CalculationError: the mass is negative or no metal was made.
    """
    not_negative(net_anode_t=net_anode_t, metal_t=metal_t)
    if metal_t == 0:
        message = "no metal was made: NC is not defined"
        raise CalculationError(message)
    return net_anode_t / metal_t


def co2_by_tonne(metal_t: float, ef_tco2_per_t: float) -> float:
    """Anode CO2 [t] by a default factor a tonne of metal [tCO2/t Al].

    Raises:
        CalculationError: an input is negative.
    """
    not_negative(metal_t=metal_t, ef_tco2_per_t=ef_tco2_per_t)
    return metal_t * ef_tco2_per_t

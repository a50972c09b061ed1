"""A month's values from records, configuration and factors.

Pure: the store, the ledger and the evidence bundle feed the same function and must get the same
answer. All sums are ``math.fsum`` (independent of order) or exact integers and decimals.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edge_agent.calc.factors import FactorSet
from edge_agent.readings import Event
from gateway.month.incidents import reservations, tell_events
from gateway.month.meters import LOOKBACK_NS, electricity, fuel
from gateway.month.model import Month, MonthValue, Points, Reader, Work
from gateway.month.potline import potline

__all__ = ["LOOKBACK_NS", "Month", "MonthValue", "Points", "Reader", "compute"]


def compute(
    config: Mapping[str, Any],
    factors: FactorSet,
    month: str,
    reader: Reader,
    events: Sequence[Event],
) -> Month:
    """All values of an aluminium smelter's month.

    Args:
        config: the agent's effective configuration document.
        factors: the factor set inside it.
        month: ``YYYY-MM`` in plant local time.
        reader: rows of the month and ``LOOKBACK_NS`` around it.
        events: events of the same stretch.
    """
    work = Work(config, factors, month, reader)
    totals = [potline(work, line) for line in config["potlines"]]
    for meter in config["meters"]:
        if meter["role"] == "electricity":
            electricity(work, meter)
        elif meter["role"] == "fuel":
            totals.append(fuel(work, meter))
    work.add("total_co2e_t", "site", math.fsum(totals))
    tell_events(work, events)
    reservations(work)
    return work.result

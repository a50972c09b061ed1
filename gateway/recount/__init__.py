"""The month's sums a second time, by other code: plain Python and ``math.fsum``.

Shares nothing with ``gateway.month`` and ``edge_agent.calc`` but the decoded rows, the configuration
document and the lab documents: a mistake there shows here. It restates each rule from the control
plan's and the guides' words, so the tables of units and formulas stand here again on purpose.

rows      the rows that sums need, in the order agent, seq, row
inputs    configuration, factors, entries, the month's bounds
amounts   what meters, weighings and stocks give
values    values by their id, and the shapes that rules have
fuels, aluminium, cement, steel    a rule for each parameter
check     the comparison with what was reported
"""

from gateway.recount.check import Difference, Recounted, recount
from gateway.recount.rows import Rows

__all__ = ["Difference", "Recounted", "Rows", "recount"]

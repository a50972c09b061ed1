"""CO2 of prebaked anodes by the route that the factor set's option ``anode_route`` takes."""

from edge_agent.calc import aluminium
from gateway.month.amounts import amount
from gateway.month.formula import Formula, quotient
from gateway.month.model import MonthValue, Work
from gateway.month.properties import content

PER_TONNE, GROSS_LOSS, MEASURED_ROUTE = "per_tonne_default", "gross_loss", "measured"
LOSS = "anode.loss"
_CLAUSE = "GB/T 32151.4; CETS-AG-04.01-V01-2024 annex A"


def _co2(P: float, NC: float, S: float, A: float) -> float:
    return aluminium.anode_co2(P, NC, S / 100, A / 100)


def _of_net(M: float, S: float, A: float) -> float:
    return aluminium.anode_co2(M, 1.0, S / 100, A / 100)


def _net_by_loss(G: float, L: float) -> float:
    return aluminium.net_from_gross(G, L)


PER_METAL = Formula("P × NC × (1 − S/100 − A/100) × 44/12", _CLAUSE, _co2)
OF_NET = Formula("M × (1 − S/100 − A/100) × 44/12", _CLAUSE, _of_net)
NET_BY_LOSS = Formula("G × (1 − L)", _CLAUSE, _net_by_loss)
NET_BY_BUTTS = Formula("G − B", _CLAUSE, lambda G, B: G - B)
NET_PER_TONNE = quotient("M", "P", _CLAUSE)


def co2(work: Work, scope: str, metal: MonthValue) -> MonthValue:
    """Anode CO2 of a potline, with the values it rests on.

    The routes by weighed anodes need a line for them in the control plan; a smelter without one
    takes the consumption per tonne, and the report says so.
    """
    route = work.option("anode_route", PER_TONNE)
    if route != PER_TONNE and work.line("anode_gross_t", scope) is None:
        work.reserve(
            f"option anode_route is {route}, but the control plan has no weighed anodes of {scope}: "
            "consumption per tonne was taken 控制方案无阳极计量，采用吨铝净耗"
        )
        route = PER_TONNE
    if route == PER_TONNE:
        consumption = content(work, "net_consumption", scope, "anode.net_consumption")
        sulphur, ash = _impurities(work, scope)
        terms = {"P": metal, "NC": consumption, "S": sulphur, "A": ash}
        return work.compute("anode_co2_t", scope, PER_METAL, terms)
    gross = amount(work, "anode_gross_t", scope)
    if route == GROSS_LOSS:
        net = work.compute("anode_net_t", scope, NET_BY_LOSS, {"G": gross, "L": work.term(LOSS)})
    else:
        butts = amount(work, "anode_butts_t", scope)
        net = work.compute("anode_net_t", scope, NET_BY_BUTTS, {"G": gross, "B": butts})
    work.compute("net_consumption", scope, NET_PER_TONNE, {"M": net, "P": metal})
    sulphur, ash = _impurities(work, scope)
    return work.compute("anode_co2_t", scope, OF_NET, {"M": net, "S": sulphur, "A": ash})


def _impurities(work: Work, scope: str) -> tuple[MonthValue, MonthValue]:
    return (
        content(work, "sulphur", scope, "anode.sulphur", scale=100, unit="%"),
        content(work, "ash", scope, "anode.ash", scale=100, unit="%"),
    )

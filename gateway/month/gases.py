"""CF4 and C2F6 of a potline by the route that the factor set's option ``pfc_route`` takes."""

from collections.abc import Mapping
from typing import Any, Protocol

from edge_agent.calc import pfc
from edge_agent.errors import CalculationError
from gateway.month.formula import Formula, Term
from gateway.month.model import MonthValue, Work
from gateway.plan import ESTIMATED

SLOPE, OVERVOLTAGE, DEFAULT_EF = "slope", "overvoltage", "default_ef"
_CLAUSE = "IPCC 2006 vol. 3 ch. 4 (Tier 2); CETS-AG-04.01-V01-2024; GB/T 32151.4-2015"


def _co2e(P: float, F: float, G: float, GWP_F: float, GWP_G: float) -> float:
    return P * (F * GWP_F + G * GWP_G) / 1_000


BY_SLOPE = Formula("S × AEM", _CLAUSE, lambda S, AEM: S * AEM)
BY_OVERVOLTAGE = Formula(
    "OVC × AEO / CE",
    _CLAUSE,
    lambda OVC, AEO, CE: pfc.by_overvoltage(AEO, CE, 1.0, OVC, 0.0).ef_cf4_kg_per_t,
)
RATIO = Formula("R × EF_CF4", _CLAUSE, lambda R, EF_CF4: R * EF_CF4)
MASS = Formula("EF × P / 1000", _CLAUSE, lambda EF, P: EF * P / 1_000)
CO2E = Formula("P × (F × GWP_F + G × GWP_G) / 1000", _CLAUSE, _co2e)
LOW_VOLTAGE = Formula("P × F × GWP_F / 1000", _CLAUSE, lambda P, F, GWP_F: P * F * GWP_F / 1_000)


class Effects(Protocol):
    """A line's anode effects of the month."""

    @property
    def minutes(self) -> MonthValue:
        """Minutes above the threshold."""
        ...

    @property
    def aem(self) -> MonthValue:
        """Minutes per cell-day."""
        ...

    @property
    def aeo(self) -> MonthValue:
        """Overvoltage per cell-day [mV]."""
        ...


def co2e(work: Work, line: Mapping[str, Any], metal: MonthValue, effects: Effects) -> MonthValue:
    """PFC of a line [t CO2e]; a result from measured effects passes Faraday's bound."""
    scope, technology = line["id"], line["technology"]
    if effects.aem.value is None:
        message = f"no cell time of {scope} was observed: AEM is not defined"
        raise CalculationError(message)
    route = work.option("pfc_route", SLOPE)
    if route == DEFAULT_EF:
        cf4 = work.add_factor("ef_cf4", scope, work.factor("pfc.default.cf4"))
        c2f6 = work.add_factor("ef_c2f6", scope, work.factor("pfc.default.c2f6"))
    else:
        cf4 = _ef_cf4(work, line, effects, route)
        terms: dict[str, Term] = {"R": work.term(f"pfc.c2f6_ratio.{technology}"), "EF_CF4": cf4}
        c2f6 = work.compute("ef_c2f6", scope, RATIO, terms)
    cf4_t = work.compute("cf4_t", scope, MASS, {"EF": cf4, "P": metal})
    work.compute("c2f6_t", scope, MASS, {"EF": c2f6, "P": metal})
    if route != DEFAULT_EF:
        minutes = float(effects.minutes.value or 0)
        pfc.check_bound(float(cf4_t.value or 0) * 1_000, 1.1 * line["nominal_ka"], minutes)
    terms = {
        "P": metal,
        "F": cf4,
        "G": c2f6,
        "GWP_F": work.term("gwp100.cf4"),
        "GWP_G": work.term("gwp100.c2f6"),
    }
    return work.compute("pfc_co2e_t", scope, CO2E, terms)


def _ef_cf4(work: Work, line: Mapping[str, Any], effects: Effects, route: str) -> MonthValue:
    scope, technology = line["id"], line["technology"]
    if route == SLOPE:
        slope: dict[str, Term] = {"S": work.term(f"pfc.slope.{technology}"), "AEM": effects.aem}
        return work.compute("ef_cf4", scope, BY_SLOPE, slope)
    efficiency = work.add(
        "current_efficiency_used",
        scope,
        line["current_efficiency_percent"],
        source="configuration of the potline",
    )
    coefficient = work.term(f"pfc.overvoltage.{technology}")
    terms: dict[str, Term] = {"OVC": coefficient, "AEO": effects.aeo, "CE": efficiency}
    return work.compute("ef_cf4", scope, BY_OVERVOLTAGE, terms)


def low_voltage(work: Work, line: Mapping[str, Any], metal: MonthValue) -> None:
    """PFC below the threshold, on its own line and in no total; never silently zero."""
    scope = line["id"]
    factor_id = f"pfc.low_voltage.cf4.{line['technology']}"
    if factor_id not in work.factors:
        work.add(
            "low_voltage_co2e_t",
            scope,
            None,
            method=ESTIMATED,
            source="not estimated: the factor set has no low-voltage factor 未估算",
        )
        return
    factor = work.add_factor("low_voltage_ef", scope, work.factor(factor_id))
    terms: dict[str, Term] = {"P": metal, "F": factor, "GWP_F": work.term("gwp100.cf4")}
    work.compute(
        "low_voltage_co2e_t",
        scope,
        LOW_VOLTAGE,
        terms,
        method=ESTIMATED,
        note="not in the total 不计入排放总量",
    )

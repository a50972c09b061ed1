"""A steel works' month: the whole enterprise, and every process unit beside it.

    E = E_fuel + E_process − E_product        (CETS-AG-03.01-V01-2024)

By-product gases stand in the units only; at enterprise level what was bought counts, so that no
carbon is counted twice.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.calc import process
from edge_agent.calc.combustion import CO2_PER_C
from edge_agent.errors import CalculationError
from gateway.month import fuels
from gateway.month.amounts import amount
from gateway.month.formula import Formula, Term, quotient, sum_of, symbols
from gateway.month.fuels import Fuel
from gateway.month.meters import auxiliary
from gateway.month.model import MonthValue, Work
from gateway.month.properties import content

_GUIDE = "CETS-AG-03.01-V01-2024"
OWN_GASES = frozenset({"coke_oven_gas", "blast_furnace_gas", "converter_gas"})

USED = Formula(
    "max(0, AD) × EF",
    _GUIDE,
    lambda AD, EF: process.used([process.Item("material", AD, EF)])[0].co2_t,
)
KEPT = Formula(
    "AD × EF",
    _GUIDE,
    lambda AD, EF: process.kept([process.Item("product", AD, EF)])[0].co2_t,
)
ENTERPRISE = Formula(
    "E_fuel + E_process − E_product",
    _GUIDE,
    lambda E_fuel, E_process, E_product: math.fsum((E_fuel, E_process, -E_product)),
)
INTENSITY = quotient("E", "P", _GUIDE)
HEAT_FLOW = Formula("FC × NCV × CC × 44/12", _GUIDE, lambda FC, NCV, CC: FC * NCV * CC * CO2_PER_C)
OXIDISED = Formula("E × OF/100", _GUIDE, lambda E, OF: E * OF / 100)
CARBON_FLOW = Formula("M × C × 44/12", _GUIDE, lambda M, C: M * C * CO2_PER_C)
FACTOR_FLOW = Formula("M × EF", _GUIDE, lambda M, EF: M * EF)
UNIT = Formula("IN − OUT", _GUIDE, lambda IN, OUT: IN - OUT)
CLOSURE = Formula(
    "100 × (BAL − E) / IN",
    "carbon balance",
    lambda BAL, E, IN: 100 * (BAL - E) / IN if IN else None,
)


def works(work: Work) -> None:
    """All values of a steel works."""
    plant = work.config["steel"] or {}
    burnt = [_fuel(work, item) for item in plant.get("fuels", ())]
    used = [_item(work, item, _MATERIAL) for item in plant.get("materials", ())]
    kept = [_item(work, item, _PRODUCT) for item in plant.get("products", ())]
    terms: dict[str, Term] = {
        "E_fuel": _sum(work, "combustion_co2_t", "site", burnt),
        "E_process": _sum(work, "process_co2_t", "site", used),
        "E_product": _sum(work, "sequestered_co2_t", "site", kept),
    }
    _units(work, plant.get("units", ()))
    auxiliary(work)
    total = work.compute("total_co2e_t", "site", ENTERPRISE, terms)
    steel = amount(work, "crude_steel_t", "site")
    work.compute("intensity", "site", INTENSITY, {"E": total, "P": steel})


def _fuel(work: Work, item: Mapping[str, Any]) -> MonthValue:
    name = item["fuel"]
    work.option("oxidation_in_steel", "none")  # the set's oxidation factors follow this choice
    co2 = fuels.co2(
        work,
        Fuel(
            f"site.{item['id']}",
            name,
            item["unit"],
            f"fuel.{name}.oxidation",
            by_content=item["route"] == "carbon_content",
            signed=item["signed"],
        ),
    )
    if item["origin"] == "own" and float(co2.value or 0) > 0:
        message = (
            f"site.{item['id']}: {name} is made inside the works and its carbon came in with the "
            "coal or coke; a use of it would be counted twice, only what left is right here"
        )
        raise CalculationError(message)
    return co2


_MATERIAL = ("material_t", "material_factor", "material_co2_t", "steel.material", USED)
_PRODUCT = ("product_t", "product_factor", "product_co2_t", "steel.product", KEPT)


def _item(
    work: Work, item: Mapping[str, Any], names: tuple[str, str, str, str, Formula]
) -> MonthValue:
    amount_id, factor_id, co2_id, prefix, how = names
    scope = f"site.{item['id']}"
    given = amount(work, amount_id, scope)
    factor = content(work, factor_id, scope, f"{prefix}.{item['item']}")
    return work.compute(co2_id, scope, how, {"AD": given, "EF": factor})


@dataclass(frozen=True, slots=True)
class _Flow:
    """A unit's flow: its carbon as CO2 [t], and what of it the form counts (flows by heat)."""

    co2: MonthValue
    amount: MonthValue
    item: str
    counted: MonthValue | None


def _units(work: Work, units: Sequence[Mapping[str, Any]]) -> None:
    made: dict[str, list[MonthValue]] = {}
    used: dict[str, list[MonthValue]] = {}
    results = []
    for unit in units:
        inputs = [_flow(work, unit, flow) for flow in unit["inputs"]]
        outputs = [_flow(work, unit, flow) for flow in unit["outputs"]]
        for flows, by_item in ((inputs, used), (outputs, made)):
            for flow in flows:
                by_item.setdefault(flow.item, []).append(flow.amount)
        results.append((unit, _unit(work, unit, inputs, outputs)))
    if not units:
        return
    _net(work, results)
    for gas in sorted(made.keys() & OWN_GASES):
        _gas(work, gas, made[gas], used.get(gas, []))


def _unit(
    work: Work, unit: Mapping[str, Any], inputs: list[_Flow], outputs: list[_Flow]
) -> tuple[MonthValue, MonthValue]:
    """A unit's gross in and out by the form, its emissions, and the closure of its carbon.

    The form counts fuels, reductants and gases; the carbon balance takes every known flow. What
    the balance finds beyond the form stands in the closure.
    """
    scope = unit["id"]
    entered, left = (
        _sum(work, name, scope, [flow.counted for flow in flows if flow.counted is not None])
        for name, flows in (("unit_in_co2_t", inputs), ("unit_out_co2_t", outputs))
    )
    emitted = work.compute("unit_co2_t", scope, UNIT, {"IN": entered, "OUT": left})
    every_in = _sum(work, "unit_carbon_in_co2_t", scope, [flow.co2 for flow in inputs])
    every_out = _sum(work, "unit_carbon_out_co2_t", scope, [flow.co2 for flow in outputs])
    terms: dict[str, Term] = {"IN": every_in, "OUT": every_out}
    balance = work.compute("unit_balance_co2_t", scope, UNIT, terms)
    terms = {"BAL": balance, "E": emitted, "IN": every_in}
    work.compute("unit_closure", scope, CLOSURE, terms)
    if unit["metered_output"]:
        output = amount(work, "unit_output_t", scope)
        work.compute("unit_intensity", scope, INTENSITY, {"E": emitted, "P": output})
    return entered, emitted


def _sum(work: Work, parameter: str, scope: str, parts: Sequence[MonthValue]) -> MonthValue:
    terms = dict(zip(symbols(parts), parts, strict=True))
    return work.compute(parameter, scope, sum_of(parts, _GUIDE), terms)


def _flow(work: Work, unit: Mapping[str, Any], flow: Mapping[str, Any]) -> _Flow:
    scope = f"{unit['id']}.{flow['id']}"
    moved = amount(work, "flow_amount", scope, unit=flow["unit"])
    co2 = _flow_co2(work, scope, flow, moved)
    counted = _counted(work, scope, flow["item"], co2) if flow["basis"] == "heat" else None
    return _Flow(co2, moved, flow["item"], counted)


def _counted(work: Work, scope: str, item: str, co2: MonthValue) -> MonthValue:
    """What the form counts of a flow by heat: oxidised where the set's option says so."""
    if work.option("oxidation_in_steel", "none") == "none":
        return co2
    factor = work.factor(f"fuel.{item}.oxidation")
    share = work.add_factor("fuel_oxidation", scope, factor, scale=100, unit="%")
    return work.compute("flow_oxidised_co2_t", scope, OXIDISED, {"E": co2, "OF": share})


def _flow_co2(work: Work, scope: str, flow: Mapping[str, Any], moved: MonthValue) -> MonthValue:
    """The carbon of one flow, as CO2 [t]."""
    item = flow["item"]
    if flow["basis"] == "heat":
        terms: dict[str, Term] = {
            "FC": moved,
            "NCV": content(work, "flow_ncv", scope, f"fuel.{item}.ncv"),
            "CC": content(work, "flow_carbon", scope, f"fuel.{item}.carbon"),
        }
        return work.compute("flow_co2_t", scope, HEAT_FLOW, terms)
    if flow["basis"] == "carbon":
        carbon = content(work, "flow_carbon_content", scope, None)
        return work.compute("flow_co2_t", scope, CARBON_FLOW, {"M": moved, "C": carbon})
    factor = work.term(f"steel.{flow['basis']}.{item}")
    return work.compute("flow_co2_t", scope, FACTOR_FLOW, {"M": moved, "EF": factor})


def _net(
    work: Work, results: Sequence[tuple[Mapping[str, Any], tuple[MonthValue, MonthValue]]]
) -> None:
    """The units together by the factor set's netting rule; power units are left out."""
    rule = work.option("netting_rule_steel", "net")
    some = [pair for unit, pair in results if unit["kind"] != "power"]
    parts = [entered if rule == "gross_in" else emitted for entered, emitted in some]
    how = sum_of(parts, f"{_GUIDE}; option netting_rule_steel = {rule}")
    if rule == "net_floored":
        text = " + ".join(f"max(0, {name})" for name in symbols(parts)) or "0"
        how = Formula(text, how.clause, _floored)
    work.compute("units_co2_t", "site", how, dict(zip(symbols(parts), parts, strict=True)))


def _floored(**values: float) -> float:
    return math.fsum(max(0.0, value) for value in values.values())


def _gas(work: Work, gas: str, made: list[MonthValue], used: list[MonthValue]) -> None:
    """What of a by-product gas was made and neither used, flared nor sold."""
    scope = f"site.{gas}"
    outside = [amount(work, "gas_outside", scope)] if work.line("gas_outside", scope) else []
    names, minus = symbols(made, "M"), symbols([*used, *outside], "U")
    text = " + ".join(names) + "".join(f" − {name}" for name in minus)

    def apply(**values: float) -> float:
        return math.fsum(-value if name in minus else value for name, value in values.items())

    terms = dict(zip((*names, *minus), (*made, *used, *outside), strict=True))
    work.compute("gas_imbalance", scope, Formula(text, "gas balance", apply), terms)

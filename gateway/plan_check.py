"""Checks a control plan against what its sector requires and what the plant has.

Works on plain values: a plan alone, an agent's file, or the signed configuration of a site.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.calc.factors import FactorSet
from edge_agent.calc.substitution import Method
from edge_agent.errors import CalculationError
from gateway.month.hours import divisor_to
from gateway.plan import Form, Parameter

Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plant:
    """What a plan can be checked against.

    ``scopes`` gives, for each required parameter, what it must be given for; None where only the
    plan itself is at hand. ``series`` is known for a site's signed configuration only.
    """

    scopes: Mapping[str, Sequence[str]] | None = None
    meters: Mapping[str, Plain] | None = None
    series: Mapping[str, Plain] = field(default_factory=dict)
    factors: FactorSet | None = None


def plant_of(config: Plain, factors: FactorSet | None) -> Plant:
    """What a configuration says of a plant."""
    series = {item["name"]: item for item in config.get("series", ())}
    meters = {meter["id"]: meter for meter in config.get("meters", ())}
    return Plant(_SCOPES[config.get("sector", "aluminium")](config), meters, series, factors)


def check(form: Form, plan: Plain, plant: Plant) -> list[str]:
    """Every problem of a plan, in the order of form and plan; empty when it is good."""
    lines = plan["parameters"]
    problems = list(_missing(form, lines, plant))
    for line in lines:
        where = f"{line['id']} of {line['scope'] or 'every scope'}"
        problems += [f"{where}: {text}" for text in _line(form, line, plant)]
    return problems


def _missing(form: Form, lines: Sequence[Plain], plant: Plant) -> Iterator[str]:
    for parameter in form.parameters.values():
        own = [line["scope"] for line in lines if line["id"] == parameter.id]
        if plant.scopes is None:
            if parameter.required and not own:
                yield f"{parameter.id} {parameter.zh}: required, but the plan has no source for it"
            continue
        for scope in plant.scopes.get(parameter.id, ()):
            if scope not in own and None not in own:
                yield (
                    f"{parameter.id} {parameter.zh} of {scope}: required, but the plan has no "
                    f"source for it ({parameter.evidence or parameter.en})"
                )
    if plant.scopes is not None and not any(plant.scopes.values()):
        yield "the configuration has no line, kiln or unit that a month could be computed for"


def _line(form: Form, line: Plain, plant: Plant) -> Iterator[str]:
    parameter = form.parameters.get(line["id"])
    if parameter is None:
        near = difflib.get_close_matches(line["id"], form.parameters, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        yield f"the form {form.id} has no such parameter{hint}"
        return
    if line["unit"] not in parameter.units:
        yield f"unit is {line['unit']!r}; {' or '.join(parameter.units)} is right"
    known = plant.scopes.get(line["id"]) if plant.scopes else None
    if known and line["scope"] is not None and line["scope"] not in known:
        yield f"there is no such scope; the plant has {', '.join(known)}"
    for source in line["sources"]:
        yield from _source(parameter, line, source, plant)
    yield from _substitution(line, plant)


def _source(parameter: Parameter, line: Plain, source: Plain, plant: Plant) -> Iterator[str]:
    kind, refs = source["kind"], source["refs"]
    if kind == "default":
        if parameter.methods and "default" not in parameter.methods:
            yield f"the form allows {', '.join(parameter.methods)}, not a default"
        if plant.factors is not None and refs[0] not in plant.factors:
            yield f"the factor set {plant.factors.id} has no factor {refs[0]!r}"
    elif kind == "meter" and plant.meters is not None:
        for ref in refs:
            if ref not in plant.meters:
                known = ", ".join(sorted(plant.meters)) or "none"
                yield f"there is no meter {ref!r}; the plant has {known}"
            elif line["unit"] in parameter.units:
                yield from _meter_unit(ref, line["unit"], plant)


def _meter_unit(meter_id: str, unit: str, plant: Plant) -> Iterator[str]:
    for name in (f"{meter_id}.count", f"{meter_id}.amount"):
        if name in plant.series:
            try:
                divisor_to(plant.series[name], unit, (plant.meters or {}).get(meter_id))
            except CalculationError as error:
                yield str(error)


def _substitution(line: Plain, plant: Plant) -> Iterator[str]:
    order = line["substitution"]
    metered = [source for source in line["sources"] if source["kind"] == "meter"]
    if Method.REDUNDANT_METER in order and len(metered) < 2:
        yield "redundant_meter needs a second source of kind meter"
    if Method.TOTALISER_DIFFERENCE in order:
        spare = [source["refs"] for source in metered[1:] if len(source["refs"]) == 1]
        counted = [refs for refs in spare if not plant.series or f"{refs[0]}.count" in plant.series]
        if not counted:
            yield "totaliser_difference needs a second source that is one totaliser"
    if Method.CONSERVATIVE_BOUND in order and line["bound"] is None:
        yield "conservative_bound needs a bound: the highest (of output the lowest) amount of an hour"


def _smelter(config: Plain) -> dict[str, list[str]]:
    lines = [line["id"] for line in config.get("potlines", ())]
    meters = config.get("meters", ())
    return {
        **dict.fromkeys(("metal_t", "net_consumption", "sulphur", "ash", "ae_minutes"), lines),
        "electricity_mwh": [item["id"] for item in meters if item["role"] == "electricity"],
        "carbonate_t": [f"site.{item['id']}" for item in config.get("carbonates", ())],
    }


def _fuels(found: Sequence[tuple[str, Plain]]) -> dict[str, list[str]]:
    by_heat = [scope for scope, item in found if item.get("route") != "carbon_content"]
    by_content = [scope for scope, item in found if item.get("route") == "carbon_content"]
    return {
        "fuel_amount": [scope for scope, _ in found],
        "fuel_ncv": by_heat,
        "fuel_carbon": by_heat,
        "fuel_carbon_content": by_content,
    }


def _plant(config: Plain) -> dict[str, list[str]]:
    kilns = config.get("kilns", ())
    oxides = [kiln["id"] for kiln in kilns if kiln.get("process") == "oxides"]

    def parts(key: str) -> list[tuple[str, Plain]]:
        return [
            (f"{kiln['id']}.{item['id']}", item) for kiln in kilns for item in kiln.get(key, ())
        ]

    wastes = [scope for scope, _ in parts("alternative_fuels")]
    return {
        "clinker_t": [kiln["id"] for kiln in kilns],
        "substitute_t": [scope for scope, _ in parts("substitutes")],
        **_fuels(parts("fuels")),
        **dict.fromkeys(("clinker_cao", "clinker_mgo", "clinker_cao_nc", "clinker_mgo_nc"), oxides),
        **dict.fromkeys(
            ("alternative_t", "alternative_ncv", "alternative_factor", "fossil_fraction"), wastes
        ),
    }


def _works(config: Plain) -> dict[str, list[str]]:
    works = config.get("steel") or {}
    units = works.get("units", ())
    flows = [
        (f"{unit['id']}.{flow['id']}", flow)
        for unit in units
        for side in ("inputs", "outputs")
        for flow in unit.get(side, ())
    ]
    heat = [scope for scope, flow in flows if flow["basis"] == "heat"]
    return {
        **_fuels([(f"site.{item['id']}", item) for item in works.get("fuels", ())]),
        "material_t": [f"site.{item['id']}" for item in works.get("materials", ())],
        "product_t": [f"site.{item['id']}" for item in works.get("products", ())],
        "flow_amount": [scope for scope, _ in flows],
        "flow_ncv": heat,
        "flow_carbon": heat,
        "flow_carbon_content": [scope for scope, flow in flows if flow["basis"] == "carbon"],
        "unit_output_t": [unit["id"] for unit in units if unit.get("metered_output", True)],
        "crude_steel_t": ["site"],
    }


_SCOPES = {"aluminium": _smelter, "cement": _plant, "steel": _works}

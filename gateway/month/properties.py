"""Contents and heating values: from the laboratory, blended by mass, or a factor of the set."""

from dataclasses import replace

from edge_agent.calc.factors import Factor
from edge_agent.calc.substitution import Method, Substituted
from edge_agent.calc.windows import HOUR_NS, NS_PER_S
from edge_agent.errors import CalculationError
from gateway.month import entries as entries_
from gateway.month.entries import ANALYSIS, Entry
from gateway.month.model import MonthValue, Work
from gateway.plan import MEASURED

DAY_NS = 24 * HOUR_NS


def content(
    work: Work,
    parameter_id: str,
    scope: str,
    factor_id: str | None,
    *,
    scale: int = 1,
    unit: str = "",
) -> MonthValue:
    """A property by the control plan: the first source that has something for the month.

    A default behind a laboratory that has nothing is a substitution and listed as such.

    Args:
        work: the month's work.
        parameter_id: the property.
        scope: what it belongs to.
        factor_id: the factor to take where the plan has no line; None when there is none.
        scale: from the factor's unit to the form's (100 for a fraction shown in percent).
        unit: the form's unit, where the factor's is another.

    Raises:
        CalculationError: no source has anything.
    """
    line = work.line(parameter_id, scope)
    sources = line["sources"] if line else []
    wanted_lab = False
    for source in sources:
        if source["kind"] == "lab":
            wanted_lab = True
            value = _from_lab(work, (parameter_id, scope), source["refs"], unit)
            if value is not None:
                return value
        elif source["kind"] == "default":
            return _default(
                work, (parameter_id, scope), source["refs"][0], (scale, unit), missing=wanted_lab
            )
    if not sources and factor_id is not None:
        return _default(work, (parameter_id, scope), factor_id, (scale, unit), missing=False)
    message = f"{parameter_id} of {scope}: no analysis in the month, and no default in the plan"
    raise CalculationError(message)


def _from_lab(work: Work, name: tuple[str, str], refs: list[str], unit: str) -> MonthValue | None:
    parameter_id, scope = name
    found = work.entries.of(ANALYSIS, refs, parameter_id, *work.bounds)
    if not found:
        return None
    line = work.line(parameter_id, scope)
    entries_.check_unit(found, line["unit"] if line else unit)
    mean, uncertain = entries_.blended(found, f"analysis {parameter_id} {scope}")
    return work.add(
        parameter_id,
        scope,
        mean,
        unit=found[0].unit,
        method=MEASURED,
        source=f"{len(found)} analyses of {', '.join(refs)}, mean by mass",
        uncertain=uncertain,
        entries=tuple(found),
        completeness=_coverage(work, line["frequency"] if line else "", found),
    )


def _coverage(work: Work, frequency: str, found: list[Entry]) -> float | None:
    """Share of the analyses that the plan's frequency asks for; None where it cannot be told."""
    start_ns, end_ns = work.bounds
    if frequency == "month":
        return 1.0
    if frequency != "day":
        return None
    days = {(one.time_ns - start_ns) // DAY_NS for one in found}
    return len(days) / round((end_ns - start_ns) / DAY_NS)


def _default(
    work: Work, name: tuple[str, str], factor_id: str, shown: tuple[int, str], *, missing: bool
) -> MonthValue:
    parameter_id, scope = name
    factor: Factor = work.factor(factor_id)
    value = work.add_factor(parameter_id, scope, factor, scale=shown[0], unit=shown[1])
    if missing:
        start_ns, end_ns = work.bounds
        month_s = (end_ns - start_ns) / NS_PER_S
        instead = Substituted(
            start_ns, Method.GUIDE_DEFAULT, float(value.value or 0), month_s, factor_id
        )
        work.result.values[-1] = value = replace(value, substituted=(instead,))
        work.reserve(
            f"{parameter_id} of {scope}: no analysis in the month, the default was taken "
            "当月无化验值，采用缺省值"
        )
    return value

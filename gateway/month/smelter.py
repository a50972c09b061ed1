"""An aluminium smelter's month: potlines, fuels, carbonates, auxiliary values, total."""

from gateway.month.amounts import amount
from gateway.month.formula import Formula, sum_of, symbols
from gateway.month.meters import auxiliary, fuel
from gateway.month.model import MonthValue, Work
from gateway.month.potline import potline
from gateway.month.properties import content

CARBONATE = Formula("AD × EF", "CETS-AG-04.01-V01-2024 enterprise level", lambda AD, EF: AD * EF)


def smelter(work: Work) -> None:
    """All values of an aluminium smelter."""
    parts: list[MonthValue] = [potline(work, line) for line in work.config["potlines"]]
    parts += [fuel(work, meter) for meter in work.config["meters"] if meter["role"] == "fuel"]
    for item in work.config.get("carbonates", ()):
        scope = f"site.{item['id']}"
        used = amount(work, "carbonate_t", scope)
        factor = content(work, "carbonate_factor", scope, f"carbonate.{item['material']}.ef")
        parts.append(work.compute("carbonate_co2_t", scope, CARBONATE, {"AD": used, "EF": factor}))
    auxiliary(work)
    terms = dict(zip(symbols(parts), parts, strict=True))
    work.compute("total_co2e_t", "site", sum_of(parts), terms)

"""A cement plant's month: every clinker line with its process, fuels and deductions."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from edge_agent.calc import cement, combustion
from gateway.month import entries as entries_
from gateway.month import fuels
from gateway.month.amounts import amount
from gateway.month.formula import Formula, Term, quotient, sum_of, symbols
from gateway.month.fuels import Fuel
from gateway.month.meters import auxiliary
from gateway.month.model import MonthValue, Work
from gateway.month.properties import content

Kiln = Mapping[str, Any]
_GUIDE = "CETS-AG-02.01-V01-2024"
_OXIDES = "GB/T 32151.8-2015"


def _oxide_factor(CaO: float, MgO: float, CaO_n: float, MgO_n: float) -> float:
    return cement.clinker_factor(CaO / 100, MgO / 100, CaO_n / 100, MgO_n / 100)


OXIDE_FACTOR = Formula(
    "(CaO − CaO_n)/100 × 44/56 + (MgO − MgO_n)/100 × 44/40", _OXIDES, _oxide_factor
)
DEDUCTION = Formula("AD × D", _GUIDE, lambda AD, D: AD * D)
DIFFERENCE = Formula("Q − Q_stock", "", lambda Q, Q_stock: Q - Q_stock)
ALTERNATIVE = Formula(
    "FC × NCV × EF/1000 × FF/100",
    _OXIDES,
    lambda FC, NCV, EF, FF: combustion.alternative_fuel_co2(FC, NCV, EF / 1_000, FF / 100),
)
CARBIDE = Formula(
    "100 × C / (C + L)",
    "definition not confirmed",
    lambda C, L: cement.carbide_slag_rate(C, C + L) if C + L else None,
)
INTENSITY = quotient("E", "Q", _GUIDE)


def plant(work: Work) -> None:
    """All values of a cement plant."""
    lines = [_kiln(work, kiln) for kiln in work.config["kilns"]]
    auxiliary(work)
    terms = dict(zip(symbols(lines), lines, strict=True))
    work.compute("total_co2e_t", "site", sum_of(lines, _GUIDE), terms)


def _kiln(work: Work, kiln: Kiln) -> MonthValue:
    scope = kiln["id"]
    clinker = amount(work, "clinker_t", scope)
    if kiln["stock_balance"]:
        _by_stock(work, scope, clinker)
    process = _process(work, kiln, clinker)
    parts = [process]
    for item in kiln["fuels"]:
        name = f"{scope}.{item['id']}"
        parts.append(
            fuels.co2(
                work,
                Fuel(
                    name,
                    item["fuel"],
                    item["unit"],
                    fuels.oxidation_of(work, item["fuel"], item["equipment"]),
                    by_content=item["route"] == "carbon_content",
                ),
            )
        )
    parts += [
        _alternative(work, f"{scope}.{item['id']}", item) for item in kiln["alternative_fuels"]
    ]
    terms = dict(zip(symbols(parts), parts, strict=True))
    total = work.compute("kiln_co2_t", scope, sum_of(parts, _GUIDE), terms)
    work.compute("intensity", scope, INTENSITY, {"E": total, "Q": clinker})
    return total


def _by_stock(work: Work, scope: str, clinker: MonthValue) -> None:
    """Clinker by the balance of its store, and what the belt weigher differs from it."""
    made = entries_.stock_production(work.entries, f"{scope}.clinker", work.bounds)
    if made is None:
        work.add(
            "clinker_stock_t", scope, None, source="no stock entries in the month 当月无盘库记录"
        )
        return
    parts, found = made
    balance = cement.ClinkerStock(
        float(parts["used"]),
        float(parts["passed_on"]),
        float(parts["opening"]),
        float(parts["closing"]),
        float(parts["bought"]),
    )
    cement.clinker_by_stock(balance)
    exact = (
        parts["used"] + parts["passed_on"] - parts["bought"] + parts["closing"] - parts["opening"]
    )
    stock = work.add(
        "clinker_stock_t",
        scope,
        Decimal(exact),
        source="used in grinding + sold − bought + closing − opening",
        entries=tuple(found),
        note="; ".join(f"{name} {value}" for name, value in parts.items()),
    )
    work.compute("clinker_difference_t", scope, DIFFERENCE, {"Q": clinker, "Q_stock": stock})


def _process(work: Work, kiln: Kiln, clinker: MonthValue) -> MonthValue:
    scope = kiln["id"]
    if kiln["process"] == "oxides":
        oxides: dict[str, Term] = {
            symbol: content(work, parameter, scope, None, unit="%")
            for symbol, parameter in (
                ("CaO", "clinker_cao"),
                ("MgO", "clinker_mgo"),
                ("CaO_n", "clinker_cao_nc"),
                ("MgO_n", "clinker_mgo_nc"),
            )
        }
        factor = work.compute("clinker_factor", scope, OXIDE_FACTOR, oxides)
        return _oxide_process(work, scope, clinker, factor)
    factor = content(work, "clinker_factor", scope, f"clinker.{kiln['clinker_type']}.ef")
    deductions = [_deduction(work, scope, item) for item in kiln["substitutes"]]
    _carbide_slag(work, kiln)
    names = symbols(deductions, "D")
    terms: dict[str, Term] = {"Q": clinker, "EF": factor}
    terms |= dict(zip(names, deductions, strict=True))
    return work.compute("process_co2_t", scope, _with_deductions(names), terms)


def _oxide_process(work: Work, scope: str, clinker: MonthValue, factor: MonthValue) -> MonthValue:
    """Clinker by its oxides, and the dusts and raw-meal carbon that the plan gives sources for."""
    text, terms = "Q × EF", {"Q": clinker, "EF": factor}
    if work.line("kiln_dust_t", scope):
        terms["KD"] = amount(work, "kiln_dust_t", scope)
        text += " + KD × EF"
    if work.line("bypass_dust_t", scope):
        terms["BD"] = amount(work, "bypass_dust_t", scope)
        terms["d"] = content(work, "bypass_decomposition", scope, None, unit="%")
        text += " + BD × EF × d/100"
    if work.line("raw_meal_t", scope):
        terms["M"] = amount(work, "raw_meal_t", scope)
        terms["FR"] = content(work, "raw_meal_carbon", scope, None, scale=100, unit="%")
        text += " + M × FR/100 × 44/12"
    return work.compute("process_co2_t", scope, Formula(text, _OXIDES, _oxide_sum), terms)


def _oxide_sum(Q: float, EF: float, **more: float) -> float:
    dust = cement.Dust(
        more.get("KD", 0.0),
        more.get("BD", 0.0),
        more.get("d", 100.0) / 100,
        more.get("M", 0.0),
        more.get("FR", 0.0) / 100,
    )
    return cement.oxide_process_co2(Q, EF, dust).co2_t


def _with_deductions(names: Sequence[str]) -> Formula:
    def apply(Q: float, EF: float, **deducted: float) -> float:
        materials = [cement.Substitute(name, value, 1.0) for name, value in deducted.items()]
        return cement.line_process_co2([cement.Clinker("clinker", Q, EF)], materials).co2_t

    minus = "".join(f" − {name}" for name in names)
    return Formula(f"max(0, Q × EF{minus})", _GUIDE, apply)


def _deduction(work: Work, scope: str, item: Mapping[str, Any]) -> MonthValue:
    name = f"{scope}.{item['id']}"
    used = amount(work, "substitute_t", name)
    factor = content(work, "deduction_factor", name, f"deduction.{item['material']}")
    return work.compute("deduction_co2_t", name, DEDUCTION, {"AD": used, "D": factor})


def _carbide_slag(work: Work, kiln: Kiln) -> None:
    """Carbide slag in all calcareous materials, where the plan also gives the limestone."""
    scope = kiln["id"]
    slags = [item for item in kiln["substitutes"] if item["material"] == "carbide_slag"]
    if not slags or work.line("limestone_t", scope) is None:
        return
    slag = work.result.get("substitute_t", f"{scope}.{slags[0]['id']}")
    stone = amount(work, "limestone_t", scope)
    work.compute(
        "carbide_slag_rate",
        scope,
        CARBIDE,
        {"C": slag, "L": stone},
        note="definition unverified 定义未经核实",
    )


def _alternative(work: Work, scope: str, item: Mapping[str, Any]) -> MonthValue:
    """The fossil part of an alternative fuel [tCO2]."""
    name = item["fuel"]
    terms: dict[str, Term] = {
        "FC": amount(work, "alternative_t", scope),
        "NCV": content(work, "alternative_ncv", scope, f"alternative.{name}.ncv"),
        "EF": content(work, "alternative_factor", scope, f"alternative.{name}.ef"),
        "FF": content(
            work,
            "fossil_fraction",
            scope,
            f"alternative.{name}.fossil_fraction",
            scale=100,
            unit="%",
        ),
    }
    return work.compute("alternative_co2_t", scope, ALTERNATIVE, terms)

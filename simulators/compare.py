"""The simulator's truth beside the reported values: what the demo and its tests check."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

SAMPLE_PERIOD_S = 1.0
NS_PER_S = 10**9
CO2E_TOLERANCE = 0.001
CO2_PER_C = 44 / 12
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of the truth beside the reported one."""

    name: str
    truth: str
    reported: str
    tolerance: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """What the simulator wrote down."""

    summary: dict[str, Any]
    effects: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "Truth":
        """The truth in a folder."""
        summary = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
        lines = (folder / "effects.jsonl").read_text(encoding="utf-8").splitlines()
        effects = [json.loads(line) for line in lines if line]
        inside = range(summary["start_ns"], summary["end_ns"])
        return cls(summary, [item for item in effects if item["start_ns"] in inside])

    def counted(self, meter: str) -> Decimal:
        """A meter's amount over the accounted period, in its unit."""
        counts = self.summary["meters"][meter]
        count = int(counts["count"]) - int(counts["first_count"])
        return count * Decimal(str(counts["unit_scale"]))

    def cell_days(self) -> float:
        """Cell-days in circuit."""
        return math.fsum(pot["in_circuit_s"] for pot in self.summary["pots"].values()) / 86_400

    def effect_minutes(self) -> float:
        """Minutes above 8 V of all pots."""
        return math.fsum(pot["above_8v_s"] for pot in self.summary["pots"].values()) / 60


def factors(path: Path) -> dict[str, float]:
    """The numbers of a factor file by id, under the choices its options take."""
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    taken = {f"{name}={option['value']}" for name, option in file.get("options", {}).items()}
    listed = [item for item in file["factors"] if item.get("when", "") in {"", *taken}]
    return {item["id"]: float(item["value"]) for item in reversed(listed)}


def compare(truth: Truth, report: Report, numbers: dict[str, float]) -> list[Check]:
    """Every check of the demo.

    Effects: count exact, minutes of each within one sample period. Totals of meters: exact.
    CO2e: within 0.1 %.
    """
    checks = _effects(truth, report)
    for name, parameter, scope, meter, per_unit in (
        ("electricity R1, MWh", "electricity_mwh", "rectifier1_energy", "R1.energy", 1_000),
        ("electricity R2, MWh", "electricity_mwh", "rectifier2_energy", "R2.energy", 1_000),
        ("natural gas, 10^4 Nm3", "fuel_amount", "natural_gas", "gas.total", 10_000),
        ("molten aluminium, t", "metal_t", "line1", "scale.total", 1_000),
    ):
        expected = truth.counted(meter) / per_unit
        found = Decimal(value(report, parameter, scope))
        checks.append(Check(name, str(expected), str(found), "exact", expected == found))
    return checks + _emissions(truth, report, numbers)


def value(report: Report, parameter: str, scope: str) -> str:
    """A parameter's full value in a report.

    Raises:
        KeyError: there is none.
    """
    for item in report["parameters"]:
        if (item["id"], item["scope"]) == (parameter, scope):
            return str(item["value"])
    raise KeyError((parameter, scope))


def _effects(truth: Truth, report: Report) -> list[Check]:
    groups = sum(not item["restrike"] for item in truth.effects)
    counted = value(report, "ae_count", "line1")
    found, off = match_effects(truth.effects, report["effects"])
    listed = len(report["effects"])
    return [
        Check("anode effects (groups)", str(groups), counted, "exact", str(groups) == counted),
        Check(
            "anode effects (events)",
            str(len(truth.effects)),
            f"{listed}, {found} matched",
            "exact",
            found == len(truth.effects) == listed,
        ),
        Check(
            "largest error of one effect, s",
            "0",
            f"{off:g}",
            f"{SAMPLE_PERIOD_S:g}",
            off <= SAMPLE_PERIOD_S,
        ),
    ]


def match_effects(
    truth: Sequence[dict[str, Any]], reported: Sequence[dict[str, Any]]
) -> tuple[int, float]:
    """How many true effects were reported once, and the largest error of a net time [s]."""
    found, worst = 0, 0.0
    by_pot: dict[int, list[dict[str, Any]]] = {}
    for item in reported:
        by_pot.setdefault(int(str(item["pot"]).removeprefix("pot")), []).append(item)
    for effect in truth:
        near = [
            item
            for item in by_pot.get(effect["pot"], [])
            if abs(item["start"] - effect["start_ns"]) <= 2 * SAMPLE_PERIOD_S * NS_PER_S
        ]
        if len(near) == 1:
            found += 1
            worst = max(worst, abs(float(near[0]["net_s"]) - effect["net_s"]))
    return found, worst


def _emissions(truth: Truth, report: Report, numbers: dict[str, float]) -> list[Check]:
    metal_t = float(truth.counted("scale.total")) / 1_000
    aem = truth.effect_minutes() / truth.cell_days()
    cf4_t = numbers["pfc.slope.cwpb"] * aem * metal_t / 1_000
    c2f6_t = cf4_t * numbers["pfc.c2f6_ratio.cwpb"]
    pfc = cf4_t * numbers["gwp100.cf4"] + c2f6_t * numbers["gwp100.c2f6"]
    share = 1 - numbers["anode.sulphur"] - numbers["anode.ash"]
    anode = metal_t * numbers["anode.net_consumption"] * share * CO2_PER_C
    fuel = float(truth.counted("gas.total")) / 10_000 * CO2_PER_C
    for name in ("ncv", "carbon", "oxidation"):
        fuel *= numbers[f"fuel.natural_gas.{name}"]
    expected = (
        ("AEM, min/(cell.d)", "aem", "line1", aem),
        ("PFC, t CO2e", "pfc_co2e_t", "line1", pfc),
        ("anode CO2, t", "anode_co2_t", "line1", anode),
        ("fuel CO2, t", "fuel_co2_t", "natural_gas", fuel),
        ("total, t CO2e", "total_co2e_t", "site", pfc + anode + fuel),
    )
    return [_near(name, truth_, value(report, p, s)) for name, p, s, truth_ in expected]


def _near(name: str, truth: float, reported: str) -> Check:
    found = float(reported)
    ok = abs(found - truth) <= CO2E_TOLERANCE * abs(truth)
    return Check(name, f"{truth:.4f}", f"{found:.4f}", "0.1 %", ok)


def table(checks: Sequence[Check]) -> str:
    """The checks as aligned text."""
    head = ("", "simulator's truth", "reported", "tolerance", "")
    rows = [head] + [
        (item.name, item.truth, item.reported, item.tolerance, "ok" if item.ok else "DIFFERS")
        for item in checks
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if place in (0, 4) else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )

"""Which series an agent's configuration gives rise to, with unit, kind and interval."""

from dataclasses import replace
from typing import Any

from edge_agent.calc.rate import amount_unit, is_rate
from edge_agent.config import AgentConfig, Potline, totaliser_of
from edge_agent.readings import Series

MINUTE_S = 60
HOUR_S = 3600
_POT_HOURLY = (
    ("observed_s", "s"),
    ("out_s", "s"),
    ("ae_s", "s"),
    ("ae_count", "1"),
    ("ae_ov_vs", "V.s"),
    ("ae_ova_vs", "V.s"),
    ("ae_su_s", "s"),
    ("ae_su_count", "1"),
    ("ae_held_s", "s"),
    ("ae_held_count", "1"),
)
_LINE_MINUTELY = (
    ("ae_min", "min"),
    ("metal_est_t", "t"),
    ("cf4_kg", "kg"),
    ("c2f6_kg", "kg"),
    ("anode_co2_t", "t"),
)


def of_config(config: AgentConfig) -> list[Series]:
    """All series that the pipeline can write under a configuration."""
    series = [item for line in config.potlines for item in _of_line(line)]
    used = {line.current for line in config.potlines}
    for line in config.potlines:
        for number in line.pots.numbers():
            used.add(line.pots.voltage.format(n=number))
            if line.pots.status:
                used.add(line.pots.status.format(n=number))
    for meter in config.meters:
        tag = totaliser_of(config, meter.tag)
        used.add(meter.tag)
        if is_rate(tag.unit):
            series += _of_rate(meter.id, tag.unit, fuel=meter.role == "fuel")
            continue
        rule = tag.totaliser
        series.append(
            Series(
                f"{meter.id}.count",
                tag.unit,
                "counted",
                0,
                str(tag.scale),
                rule.modulus if rule else None,
                rule.max_rate_per_h if rule else None,
            )
        )
        if meter.role == "fuel":
            series.append(Series(f"{meter.id}.co2_t", "t", "computed", MINUTE_S))
    for device in config.devices:
        series += [
            Series(tag.id, tag.unit, "measured", MINUTE_S)
            for tag in device.tags
            if tag.id not in used
        ]
    return series


def _of_rate(meter_id: str, unit: str, *, fuel: bool) -> list[Series]:
    series = [
        Series(f"{meter_id}.rate", unit, "measured", MINUTE_S),
        Series(f"{meter_id}.amount", amount_unit(unit), "computed", HOUR_S),
        Series(f"{meter_id}.covered_s", "s", "computed", HOUR_S),
    ]
    return series + ([Series(f"{meter_id}.co2_t", "t", "computed", HOUR_S)] if fuel else [])


def _of_line(line: Potline) -> list[Series]:
    series = [Series(f"{line.id}.current_ka", "kA", "measured", MINUTE_S)]
    series += [
        Series(f"{line.id}.{name}", unit, "computed", MINUTE_S) for name, unit in _LINE_MINUTELY
    ]
    for number in line.pots.numbers():
        prefix = f"{line.id}.{line.pot_id(number)}"
        series.append(Series(f"{prefix}.v", "V", "measured", MINUTE_S))
        series += [
            Series(f"{prefix}.{name}", unit, "computed", HOUR_S) for name, unit in _POT_HOURLY
        ]
    return series


def to_plain(config: AgentConfig) -> list[dict[str, Any]]:
    """The series as plain maps for the configuration document.

    The pots of a line share one entry a measure, whose name holds ``{pot}``.
    """
    plain = [_entry(item) for item in of_config(config) if not _of_pot(item, config)]
    for line in config.potlines:
        prefix = f"{line.id}.{line.pot_id(line.pots.first)}."
        plain += [
            _entry(replace(item, name=f"{line.id}.{{pot}}.{item.name.removeprefix(prefix)}"))
            for item in _of_line(line)
            if item.name.startswith(prefix)
        ]
    return plain


def _of_pot(series: Series, config: AgentConfig) -> bool:
    line_id, _, rest = series.name.partition(".")
    return rest.startswith("pot") and any(line.id == line_id for line in config.potlines)


def _entry(item: Series) -> dict[str, Any]:
    return {
        "name": item.name,
        "unit": item.unit,
        "kind": item.kind,
        "interval_s": item.interval_s,
        "scale": item.scale,
        "modulus": item.modulus,
        "max_rate_per_h": item.max_rate_per_h,
    }

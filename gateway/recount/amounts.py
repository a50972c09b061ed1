"""Amounts: totalisers unwrapped and subtracted, rates added, weighings and stocks."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from gateway.recount.inputs import Inputs, NotCounted
from gateway.recount.rows import Row, Rows

_OPENING_NS = 2 * 3600 * 10**9
"""How much older than the month's first moment a totaliser's opening reading may be."""
_HOUR_NS = 3600 * 10**9
_SMALLER = {
    "kWh": ("MWh", 1_000),
    "Nm3": ("10^4Nm3", 10_000),
    "kg": ("t", 1_000),
    "MJ": ("GJ", 1_000),
}
"""Units of counters, and the larger unit that so many of them make."""
_PER_NORMAL = Decimal("293.15") / Decimal("273.15")
"""m3 of gas as sold (20 C) that make one at 0 C."""


def amount(
    inputs: Inputs, rows: Rows, name: tuple[str, str], meters: Sequence[str] = ()
) -> Decimal:
    """An amount by the first source of its line that has something; without a line, by meters.

    Substituted hours come on top as the report lists them; they are not worked out again here.
    """
    line = inputs.line(*name)
    sources = line.get("sources") or [{"kind": "meter", "refs": list(meters)}]
    unit = inputs.units[name]
    for source in sources:
        found = _from(inputs, rows, source, unit)
        if found is not None:
            return found + Decimal(repr(inputs.substituted.get(name, 0.0)))
    raise NotCounted(name[0])


def _from(inputs: Inputs, rows: Rows, source: Mapping[str, Any], unit: str) -> Decimal | None:
    refs = source["refs"]
    if source["kind"] == "meter" and refs:
        parts = [_metered(inputs, rows, ref, unit) for ref in refs]
        known = [part for part in parts if part is not None]
        return sum(known, Decimal(0)) if len(known) == len(parts) else None
    if source["kind"] == "entry":
        found = inputs.of("weighing", refs, "amount")
        return sum((Decimal(one["value"]) for one in found), Decimal(0)) if found else None
    if source["kind"] == "stock":
        return stock(inputs, refs[0], {"opening": 1, "bought": 1, "closing": -1, "passed_on": -1})
    return None


def stock(inputs: Inputs, item: str, signs: Mapping[str, int]) -> Decimal | None:
    """The stock entries of an item, added with signs by quantity; None when there are none."""
    parts = [
        sign * Decimal(one["value"])
        for quantity, sign in signs.items()
        for one in inputs.of("stock", [item], quantity)
    ]
    return sum(parts, Decimal(0)) if parts else None


def _metered(inputs: Inputs, rows: Rows, meter_id: str, unit: str) -> Decimal | None:
    series = {one["name"]: one for one in inputs.config["series"]}
    (meter,) = [one for one in inputs.config["meters"] if one["id"] == meter_id]
    counter, rate = (series.get(f"{meter_id}.{last}") for last in ("count", "amount"))
    if counter is not None:
        found = rows.between(counter["name"], inputs.start_ns - _OPENING_NS, inputs.end_ns + 1)
        counted = unwrapped(sorted(found), counter, inputs.start_ns)
        if counted is None:
            return None
        return Decimal(repr(counted)) * Decimal(counter["scale"]) / _per(counter, meter, unit)
    if rate is None:
        raise NotCounted(meter_id)
    found = rows.between(rate["name"], inputs.start_ns, inputs.end_ns)
    if not found:
        return None
    return Decimal(repr(math.fsum(value for _, value in found))) / _per(rate, meter, unit)


def unwrapped(
    found: Sequence[Row], counter: Mapping[str, Any], start_ns: int
) -> int | float | None:
    """What a counter rose by from its last reading at or before a moment to its last reading.

    Each reading is lifted by all that was lost at the drops before it: by the modulus at a
    roll-over (at most a tenth of it, or within the greatest rate), by the reading before the drop
    at a reset.
    """
    before = [place for place, (time_ns, _) in enumerate(found) if time_ns <= start_ns]
    found = found[before[-1] if before else 0 :]
    if not found:
        return None
    modulus, most = counter["modulus"], counter["max_rate_per_h"]
    lift: int | float = 0
    last_ns, last = found[0]
    for time_ns, reading in found[1:]:
        if reading < last:
            rise = reading - last + modulus if modulus is not None else -1
            is_slow = most is not None and rise * _HOUR_NS <= most * (time_ns - last_ns)
            is_rollover = rise >= 0 and (10 * rise <= modulus or is_slow)
            lift += modulus if is_rollover else last
        last_ns, last = time_ns, reading
    return last + lift - found[0][1]


def _per(series: Mapping[str, Any], meter: Mapping[str, Any], unit: str) -> Decimal:
    """How many of a series' units make one of another."""
    counted, divisor = series["unit"], Decimal(1)
    if counted == "m3" and meter.get("gas_at") == "sales_20c":
        counted, divisor = "Nm3", _PER_NORMAL
    if counted == unit:
        return divisor
    larger, many = _SMALLER.get(counted, ("", 1))
    if larger != unit:
        raise NotCounted(series["name"])
    return divisor * many

"""A smelter's month by every route, from rows given directly; expected figures by hand."""

import math
import random
from dataclasses import replace
from decimal import Decimal

import pytest

from edge_agent import config as config_
from edge_agent.calc.factors import Factor, Option
from edge_agent.errors import CalculationError
from edge_agent.pipeline.series import to_plain
from edge_agent.wire import cbor
from gateway import forms
from gateway.month import Basis, Entries, Entry, Points, compute

T0 = 1_790_784_000 * 10**9
HOUR_NS = 3600 * 10**9
HOURS = 744
METAL_T = 140.0


class Rows:
    """Two pots in circuit all month with 31.2 s of effect a day on the first; 140 t of metal."""

    def __init__(self, metal_t=METAL_T):
        self.metal_t = metal_t

    def points(self, series, start_ns, end_ns):
        times = [T0 + hour * HOUR_NS for hour in range(HOURS + 1)]
        whole = [(time, self.value(series, at)) for at, time in enumerate(times)]
        inside = [(t, x) for t, x in whole if start_ns <= t < end_ns and x is not None]
        return Points([t for t, _ in inside], [x for _, x in inside])

    def value(self, series, hour):
        name = series.rpartition(".")[2]
        counts = {
            "metal.count": self.metal_t * 1000,
            "energy.count": 744_000,
            "natural_gas.count": 0,
        }
        if series in counts:
            return round(counts[series] * hour / HOURS)
        effect = series.endswith("pot001." + name) and hour % 24 == 3
        return {
            "observed_s": 3600.0,
            "out_s": 0.0,
            "ae_s": 16.8 if effect else 0.0,
            "ae_count": 1 if effect else 0,
            "ae_ov_vs": 400.0 if effect else 0.0,
            "current_ka": 300.0,
            "v": 4.2,
        }.get(name)


@pytest.fixture
def compute_month(make_config, factors):
    def run(options=(), lines=(), entries=(), rows=None, extra=(), events=(), **changes):
        config = make_config(**changes)
        chosen = dict(factors.options)
        for name, value in dict(options).items():
            chosen[name] = Option(name, value, "test")
        more = {one.id: (one,) for one in extra}
        set_ = replace(factors, options=chosen, factors={**factors.factors, **more})
        plain = dict(cbor.decode(config_.effective(config, set_, to_plain(config))))
        plain["control_lines"] = [
            {"unit": unit, "id": name, "scope": scope, "sources": sources, "substitution": [],
             "evidence": "record", "frequency": "day", "bound": None, "default_per_hour": None, "reason": ""}
            for name, scope, unit, sources in lines
        ]  # fmt: skip
        basis = Basis(plain, set_, forms.find("aluminium"), Entries(entries))
        return compute(basis, "2026-10", rows or Rows(), list(events))

    return run


AEM = 31 * 16.8 / 60 / 62  # 0.14


def value(month, name, scope="line1"):
    return float(month.get(name, scope).value)


def test_the_slope_route_gives_slope_times_minutes_times_metal(compute_month):
    month = compute_month({"pfc_route": "slope"})
    assert value(month, "aem") == pytest.approx(AEM)
    assert value(month, "cf4_t") == pytest.approx(0.143 * AEM * METAL_T / 1000)
    expected = 0.143 * AEM * METAL_T * (6630 + 0.1 * 11100) / 1000
    assert value(month, "pfc_co2e_t") == pytest.approx(expected)


def test_the_overvoltage_route_takes_the_efficiency_in_percent(compute_month):
    month = compute_month({"pfc_route": "overvoltage"})
    aeo_mv = 1000 * 31 * 400 / (62 * 86_400)
    assert value(month, "aeo") == pytest.approx(aeo_mv)
    assert value(month, "ef_cf4") == pytest.approx(1.16 * aeo_mv / 94)


def test_the_default_route_needs_no_effects(compute_month):
    month = compute_month({"pfc_route": "default_ef"})
    assert value(month, "ef_cf4") == 0.034
    assert value(month, "pfc_co2e_t") == pytest.approx(
        METAL_T * (0.034 * 6630 + 0.0034 * 11100) / 1000
    )


def test_more_cf4_than_the_current_can_make_is_refused(compute_month):
    with pytest.raises(CalculationError, match="kA can make"):
        compute_month({"pfc_route": "slope"}, rows=Rows(25_000))


METER = [{"kind": "meter", "refs": ["metal"]}]
ANODES = (
    ("metal_t", "line1", "t", METER),
    ("anode_gross_t", "line1", "t", [{"kind": "entry", "refs": ["line1.set"]}]),
    ("anode_butts_t", "line1", "t", [{"kind": "entry", "refs": ["line1.butts"]}]),
    ("sulphur", "line1", "%", [{"kind": "lab", "refs": ["line1.anode"]}]),
    ("ash", "line1", "%", [{"kind": "lab", "refs": ["line1.anode"]}]),
)


def anodes(gross, butts, sulphur, ash):
    def one(kind, item, quantity, amount, unit):
        return Entry(kind, item, quantity, Decimal(str(amount)), unit, T0 + HOUR_NS)

    return [
        one("weighing", "line1.set", "amount", gross, "t"),
        one("weighing", "line1.butts", "amount", butts, "t"),
        one("analysis", "line1.anode", "sulphur", sulphur, "%"),
        one("analysis", "line1.anode", "ash", ash, "%"),
    ]


def test_weighed_anodes_and_butts_give_the_worked_case(compute_month):
    entries = anodes(12105.4, 2010.75, 1.63, 0.31)
    month = compute_month({"anode_route": "measured"}, ANODES, entries)
    assert str(month.get("anode_co2_t", "line1").reported) == "36295.65"  # case AL-04
    assert str(month.get("anode_net_t", "line1").reported) == "10094.65"


def test_gross_anodes_less_the_loss_rate_give_the_worked_case(compute_month):
    month = compute_month({"anode_route": "gross_loss"}, ANODES, anodes(11730.5, 1, 2, 0.4))
    assert str(month.get("anode_co2_t", "line1").reported) == "35607.05"  # case AL-03


def test_a_measured_route_without_weighed_anodes_takes_the_default_and_says_so(compute_month):
    month = compute_month({"anode_route": "measured"})
    assert value(month, "anode_co2_t") == pytest.approx(METAL_T * 0.411 * 0.976 * 44 / 12)
    assert any("no weighed anodes of line1" in text for text in month.reservations)


def test_low_voltage_emissions_are_not_estimated_without_a_factor_and_never_zero(compute_month):
    found = compute_month().get("low_voltage_co2e_t", "line1")
    assert found.value is None
    assert "not estimated" in found.source


def test_a_low_voltage_factor_gives_its_own_line_outside_the_total(compute_month):
    factor = Factor("pfc.low_voltage.cf4.cwpb", 0.01, "kg CF4/tAl", "test")
    month, without = compute_month(extra=[factor]), compute_month()
    assert value(month, "low_voltage_co2e_t") == pytest.approx(METAL_T * 0.01 * 6630 / 1000)
    assert value(month, "total_co2e_t", "site") == value(without, "total_co2e_t", "site")


def test_the_metal_is_checked_against_faraday_s_law(compute_month):
    month = compute_month()
    by_charge = 26.9815385 / (3 * 96485.33212) * 3600 / 1e6 * 300_000 * HOURS * 2 * 0.94
    assert value(month, "metal_faraday_t") == pytest.approx(by_charge)
    expected = 100 * (METAL_T - by_charge) / by_charge
    assert value(month, "metal_difference") == pytest.approx(expected)


def test_carbonates_of_the_enterprise_add_to_the_total(compute_month):
    lines = [
        (*METALLESS, [{"kind": "entry", "refs": [f"site.{name}"]}])
        for name in ("limestone", "soda_ash")
        for METALLESS in [("carbonate_t", f"site.{name}", "t")]
    ]
    entries = [
        Entry("weighing", f"site.{name}", "amount", Decimal(amount), "t", T0)
        for name, amount in (("limestone", "320"), ("soda_ash", "85.5"))
    ]
    carbonates = [{"id": name, "material": name} for name in ("limestone", "soda_ash")]
    month = compute_month(lines=lines, entries=entries, carbonates=carbonates)
    parts = [value(month, "carbonate_co2_t", f"site.{name}") for name in ("limestone", "soda_ash")]
    assert math.fsum(parts) == pytest.approx(164.7405)  # case AL-11
    process = value(month, "process_co2e_t")
    assert value(month, "total_co2e_t", "site") == pytest.approx(process + 164.7405)


def test_an_entry_in_another_unit_than_the_plan_s_is_refused(compute_month):
    entries = anodes(12105.4, 2010.75, 1.63, 0.31)
    entries[0] = replace(entries[0], unit="kg")
    with pytest.raises(CalculationError, match=r"amount of line1.set is in 'kg'; 't' is right"):
        compute_month({"anode_route": "measured"}, ANODES, entries)


def test_a_source_that_has_nothing_is_named(compute_month):
    with pytest.raises(CalculationError, match=r"anode_gross_t of line1: none of its sources"):
        compute_month({"anode_route": "measured"}, ANODES, [])


def test_each_printed_value_can_be_recomputed_from_the_printed_inputs(compute_month):
    month = compute_month({"pfc_route": "slope"})
    found = month.get("pfc_co2e_t", "line1")
    printed = {symbol: float(term.reported) for symbol, term in found.terms}
    by_hand = printed["P"] * (printed["F"] * 6630 + printed["G"] * 11100) / 1000
    assert float(found.recomputed) == pytest.approx(by_hand, abs=0.005)


def test_an_uncertain_slope_counts_once_for_both_gases(compute_month):
    """CF4 and C2F6 share slope and metal: relative uncertainties add fully, not by squares."""
    month = compute_month({"pfc_route": "slope"})
    slope, share = 0.06, month.get("pfc_co2e_t", "line1").relative_uncertainty
    effects, minutes, days = (
        value(month, name) for name in ("ae_count", "ae_minutes", "cell_days")
    )
    sampled = 1 / 60 * math.sqrt(effects / 6) / minutes  # ends between two samples of 1 s
    in_circuit = 1 / 86_400 * math.sqrt(value(month, "pots") / 6) / days
    parts = (2 * slope / 1.959964, 2 * sampled, 2 * in_circuit)
    assert share == pytest.approx(math.hypot(*parts), rel=1e-6)
    assert share > 2 * slope / 1.959964


def test_what_was_counted_is_exact(compute_month):
    month = compute_month({"pfc_route": "slope"})
    assert month.get("pots", "line1").relative_uncertainty == 0.0
    assert month.get("ae_count", "line1").relative_uncertainty == 0.0


def test_meters_without_an_accuracy_class_are_named_as_unstated(compute_month):
    unstated = compute_month().get("metal_t", "line1").uncertain.unstated
    assert unstated == {"meter metal"}


def test_daily_analyses_are_as_complete_as_the_days_that_have_one(compute_month):
    entries = anodes(12105.4, 2010.75, 1.63, 0.31)
    later = replace(entries[2], time_ns=T0 + 40 * HOUR_NS, value=Decimal("1.65"))
    month = compute_month({"anode_route": "measured"}, ANODES, [*entries, later])
    found = month.get("sulphur", "line1")
    assert found.completeness == pytest.approx(2 / 31)
    assert float(found.value) == pytest.approx(1.64)
    # Two values 0.02 apart: s = 0.01414, u = s / sqrt(2) = 0.01.
    assert found.uncertain.standard == pytest.approx(0.01)


def test_a_second_source_that_stands_in_for_the_whole_month_is_told(compute_month):
    sources = [{"kind": "entry", "refs": ["line1.tickets"]}, *METER]
    month = compute_month(lines=[("metal_t", "line1", "t", sources)])
    assert value(month, "metal_t") == METAL_T
    assert any(
        "line1.tickets" in text and "metal_t of line1" in text for text in month.reservations
    )


def test_two_stock_counts_at_one_end_are_refused(compute_month):
    def stock(quantity, amount):
        return Entry("stock", "line1.tap", quantity, Decimal(amount), "t", T0 + HOUR_NS)

    lines = [("metal_t", "line1", "t", [{"kind": "stock", "refs": ["line1.tap"]}])]
    twice = [stock("opening", "5"), stock("opening", "6"), stock("closing", "1")]
    with pytest.raises(CalculationError, match="2 opening counts"):
        compute_month(lines=lines, entries=twice)
    with pytest.raises(CalculationError, match="no closing count"):
        compute_month(lines=lines, entries=[stock("opening", "5")])
    with pytest.raises(CalculationError):
        compute_month(lines=lines, entries=[stock("opening", "5"), stock("closing", "9")])


def line(name, first, make_config):
    (one,) = make_config().potlines
    pots = one.pots.model_copy(update={"first": first, "count": 1})
    return one.model_copy(update={"id": name, "pots": pots}).model_dump(mode="json")


def test_two_lines_are_computed_apart_and_added(compute_month, make_config):
    lines = [line("line1", 1, make_config), line("line2", 2, make_config)]
    meters = [
        {"id": "metal", "tag": "scale", "role": "metal", "potline": "line1"},
        {"id": "metal2", "tag": "scale", "role": "metal", "potline": "line2"},
    ]

    class TwoScales(Rows):
        def value(self, series, hour):
            if series == "metal2.count":
                return round(60_000 * hour / HOURS)
            return super().value(series, hour)

    month = compute_month(rows=TwoScales(70.0), potlines=lines, meters=meters)
    assert value(month, "aem", "line1") == pytest.approx(2 * AEM)
    assert value(month, "aem", "line2") == 0
    assert value(month, "aed", "line1") == pytest.approx(16.8 / 60)
    assert month.get("aed", "line2").value is None
    parts = [value(month, "process_co2e_t", name) for name in ("line1", "line2")]
    assert value(month, "total_co2e_t", "site") == pytest.approx(math.fsum(parts))
    assert value(month, "anode_co2_t", "line2") == pytest.approx(60 * 0.411 * 0.976 * 44 / 12)


def test_a_month_without_a_control_plan_says_so(compute_month):
    assert "the site has no control plan 无数据质量控制方案" in compute_month().reservations


# -- events of an authentic agent that hold anything (rows 52, 62) -----------------------------

EFFECT = {
    "t": T0 + 60 * 10**9, "type": "effect_ended", "line": "line1", "pot": "pot001", "start": T0 + 10**9,
    "end": T0 + 60 * 10**9, "net_s": 31.5, "gross_s": 33.25, "est_s": 0.5, "peak_v": 28.5, "mean_v": 21.0,
    "ov_vs": 512.5, "ova_vs": 500.25, "group": 3, "reason": "below", "flags": ["suspect"],
}  # fmt: skip


def without(key):
    return {name: item for name, item in EFFECT.items() if name != key}


@pytest.mark.parametrize(
    "event",
    [
        *(
            {"t": T0, "type": kind}
            for kind in ("gap", "late_samples", "lost_records", "resumed", "tag_quality")
        ),
        {"t": T0, "type": "resumed", "reason": "x", "operator": "li", "lost_since": 2**63 - 1},
        {"t": T0, "type": "resumed", "reason": "x", "operator": "li", "lost_since": -1},
        *(without(key) for key in ("line", "pot", "start", "end", "net_s", "peak_v", "group", "reason")),
        EFFECT | {"net_s": "31.5"},
        EFFECT | {"start": True},
        EFFECT | {"start": EFFECT["end"] + 1},
        EFFECT | {"end": 2**63 - 1},
        EFFECT | {"peak_v": None},
        EFFECT | {"more": b"bytes"},
        EFFECT | {"flags": [[["deep"]]]},
        {"t": T0, "type": "late_samples", "count": "many"},
        {"t": T0, "type": "tag_quality", "severity": "bad", "reason": 4, "tag": "x"},
    ],
)  # fmt: skip
def test_a_malformed_event_is_left_out_and_named_and_stops_nothing(compute_month, event):
    month = compute_month({"pfc_route": "slope"}, events=[event, EFFECT])
    assert month.effects == [EFFECT]
    assert "1 malformed events left out 格式错误的事件未采用" in month.reservations
    assert value(month, "aem") == pytest.approx(AEM)


def test_well_formed_events_leave_no_reservation(compute_month):
    events = [EFFECT, {"t": T0, "type": "lost_records", "count": 7}]
    month = compute_month({"pfc_route": "slope"}, events=events)
    assert not [text for text in month.reservations if "malformed" in text]
    assert "7 records lost 记录丢失" in month.reservations


# -- meters against their rates, signals against their past (row 93) ------------------------------

MINUTE_NS = 60 * 10**9


class Metering(Rows):
    """``Rows`` with the energy meter by minutes and its power; a share of the power is missed."""

    def __init__(self, missed=(), power=60.0, current=None):
        super().__init__()
        self.missed, self.power, self.current = dict(missed), power, current

    def points(self, series, start_ns, end_ns):
        minutes = HOURS * 60
        if series == "energy.count":
            values, total = [], 0.0
            for minute in range(minutes + 1):
                values.append(round(total))
                total += self.power / 60 * (1 - self.missed.get(minute // 1440, 0.0))
        elif series == "power":
            values = [self.power] * minutes
        elif series == "line1.current_ka" and self.current:
            values = self.current
        else:
            return super().points(series, start_ns, end_ns)
        whole = [(T0 + place * MINUTE_NS, value) for place, value in enumerate(values)]
        inside = [(time, value) for time, value in whole if start_ns <= time < end_ns]
        return Points([time for time, _ in inside], [value for _, value in inside])


@pytest.fixture
def metered(compute_month, make_config):
    """A month whose energy meter is held against a tag with the power."""
    plain = make_config().model_dump(mode="json")
    power = {"id": "power", "address": 60, "type": "float32", "unit": "kW"}
    devices = [plain["devices"][0], {**plain["devices"][1]}]
    devices[1]["tags"] = [*devices[1]["tags"], power]
    meters = [dict(meter) for meter in plain["meters"]]
    meters[0]["check"] = {"rate": "power", "tolerance_percent": 2}

    def run(**changes):
        month = compute_month(rows=Metering(**changes), devices=devices, meters=meters)
        return [text for text in month.reservations if "energy" in text or "repeats" in text]

    return run


def test_a_totaliser_that_is_the_integral_of_its_rate_needs_no_reservation(metered):
    assert metered() == []


def test_a_totaliser_that_misses_a_part_is_named_with_both_amounts(metered):
    (text,) = metered(missed=dict.fromkeys(range(31), 0.1))
    assert text.startswith(
        "meter energy: counted 40175.000 kWh where the integral of power is 44639.000"
    )
    assert "10.0 % apart, 2 % is allowed" in text
    assert "2026-10-01, 2026-10-02, 2026-10-03, 2026-10-04, 2026-10-05 and 26 more" in text


def test_a_single_day_is_named_though_the_month_is_within(metered):
    (text,) = metered(missed={4: 0.5})
    assert "1.6 % apart, 2 % is allowed; by itself on 2026-10-05 累计量" in text


def test_a_totaliser_that_stands_still_is_named(metered):
    (text,) = metered(missed=dict.fromkeys(range(31), 1.0))
    assert "counted 0.000 kWh" in text
    assert "100.0 % apart" in text


def test_a_line_current_that_was_recorded_before_is_named(metered):
    dice = random.Random(93)
    current = [300 + dice.gauss(0, 0.5) for _ in range(HOURS * 60)]
    assert metered(current=current) == []
    current[20_000:20_180] = current[5_000:5_180]
    (text,) = metered(current=current)
    assert "line1.current_ka repeats itself exactly 数据完全重复: 180 min from " in text
    assert text.endswith("180 min from 2026-10-14T21:20 as from 2026-10-04T11:20")


def test_a_resumption_after_a_lost_disk_is_named(compute_month):
    event = {"type": "resumed", "reason": "the disk died", "operator": "li", "ack_at": T0}
    inside = event | {"t": T0 + 5 * HOUR_NS, "lost_since": T0 + 2 * HOUR_NS}
    before = event | {"t": T0 - HOUR_NS, "lost_since": T0 - 2 * HOUR_NS}
    (text,) = (
        one for one in compute_month(events=[before, inside]).reservations if "lost with" in one
    )
    assert text.startswith("1 outboxes lost")
    assert "lost since 2026-09-30T18:00Z, continued 2026-09-30T21:00Z, the disk died (li)" in text

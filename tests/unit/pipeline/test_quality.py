"""Quality with its reason: what is bad is not in a mean, and every row and event says why."""

import numpy as np
import pytest

from edge_agent import factor_sets
from edge_agent.calc.quality import judge
from edge_agent.calc.rules import JudgeState, Rules
from edge_agent.config import AgentConfig
from edge_agent.drivers.hj212_values import Hj212Config
from edge_agent.pipeline import Pipeline
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD, Quality, Reason, Sample, Severity

NS = 10**9
MINUTE = 60 * NS
T0 = 1_790_784_000 * NS  # 2026-10-01 00:00 in Shanghai
FAR = 2**62
BASE = {"driver": "modbus", "host": "127.0.0.1", "unit": 1, "interval_s": 1}


def quality(severity, reason):
    return Quality.of(Severity[severity], Reason[reason])


def config(*, totaliser=None, meter=None, **tag):
    tags = [
        {"id": "x", "address": 0, "type": "float32", "unit": "kPa", **tag},
        {"id": "service", "address": 2, "type": "uint16"},
        {"id": "count", "address": 4, "type": "uint32", "unit": "kWh", "totaliser": {}}
        | (totaliser or {}),
    ]
    return AgentConfig.model_validate(
        {
            "site": "s",
            "agent": "a",
            "state_dir": "state",
            "keys": {"signing": "k.pem", "gateway": ["g.pem"]},
            "factor_set": "cets-ag-04.01-v01-2024",
            "time": {"source": "device", "lateness_s": 0},
            "devices": [{"id": "d", "tags": tags, **BASE}],
            "meters": [{"id": "e", "tag": "count", "role": "electricity"} | (meter or {})],
        }
    )


def pipeline(settings):
    return Pipeline(settings, factor_sets.find(settings.factor_set))


def run(settings, readings, *, minutes, restart=False):
    """Rows by (series, minute) and events, after whole minutes."""
    line = pipeline(settings)
    rows, events = {}, []
    for minute in range(minutes):
        until = T0 + (minute + 1) * MINUTE
        line.feed([r for r in readings if until - MINUTE <= r.time_ns < until], FAR)
        produce = line.advance(until)
        events += produce.events
        for columns in produce.pieces:
            for row in columns.records():
                rows[row.series, (row.time_ns - T0) // MINUTE] = (row.value, row.quality)
        if restart:
            state, line = line.dump(), pipeline(settings)
            line.restore(state)
    return rows, [event for event in events if event["type"] == "tag_quality"]


def signal(values, tag="x"):
    return [Sample(tag, T0 + at * NS, value) for at, value in enumerate(values)]


def told(events):
    return [(e["tag"], e["severity"], e["reason"], (e["t"] - T0) // NS) for e in events]


def test_values_out_of_range_are_not_in_the_mean_and_are_told_once():
    values = [10.0] * 60 + [10.0, 99.0] * 30 + [10.0] * 60
    rows, events = run(config(range=[0, 50]), signal(values), minutes=3)
    assert rows["x", 0] == (10.0, GOOD)
    assert rows["x", 1] == (10.0, quality("UNCERTAIN", "PARTIAL"))
    assert rows["x", 2] == (10.0, GOOD)
    assert told(events) == [("x", "bad", "range", 61), ("x", "good", "none", 120)]
    assert events[0]["count"] == 30


def test_an_hourly_value_is_a_full_minute_and_one_of_a_second_is_not():
    hour = {"id": "so2", "factor": "a21026", "field": "Avg", "command": "2061"}
    logger = {"mn": "A", "password_file": "pw"}
    cems = {"driver": "hj212", "id": "cems", "port": 9212, "loggers": [logger], "tags": [hour]}
    cems = Hj212Config.model_validate(cems)
    settings = config()
    settings = settings.model_copy(update={"devices": (*settings.devices, cems)})
    rows, _ = run(settings, [*signal([5.0]), *signal([7.0], "so2")], minutes=1)
    assert rows["so2", 0] == (7.0, GOOD)
    assert rows["x", 0] == (5.0, quality("UNCERTAIN", "PARTIAL"))


def test_a_minute_without_a_usable_value_is_a_row_without_value_that_says_why():
    rows, _ = run(config(range=[0, 50]), signal([99.0] * 60), minutes=1)
    assert rows["x", 0] == (None, quality("BAD", "RANGE"))


def test_a_spike_is_bad_and_what_follows_it_is_not():
    values = [5.0] * 30 + [900.0] + [5.5] * 29
    rows, events = run(config(max_rate_per_s=2.0), signal(values), minutes=1)
    assert rows["x", 0][0] == pytest.approx((5.0 * 30 + 5.5 * 29) / 59, rel=1e-6)
    assert told(events) == [("x", "bad", "rate", 30)]


def test_a_true_step_is_plausible_as_soon_as_there_was_time_for_it():
    times = np.arange(20, dtype=np.int64) * NS
    values = np.where(times < 5 * NS, 0.0, 10.0)
    given = np.zeros(20, dtype=np.int64)
    got = judge(times, values, given, None, Rules(max_rate_per_s=1.0), JudgeState())
    bad = np.flatnonzero(got == quality("BAD", "RATE")).tolist()
    assert bad == list(range(5, 14))  # from 14 s on, ten seconds after the last zero


@pytest.mark.parametrize("restart", [False, True])
def test_a_frozen_value_is_bad_from_its_time_on_also_across_restarts(restart):
    values = [float(n) for n in range(30)] + [7.0] * 150
    rows, events = run(config(stuck_s=60), signal(values), minutes=3, restart=restart)
    assert rows["x", 0][1] == GOOD
    assert rows["x", 1] == (7.0, quality("UNCERTAIN", "PARTIAL"))  # 30 of its 60 seconds
    assert rows["x", 2] == (None, quality("BAD", "STUCK"))
    assert told(events) == [("x", "bad", "stuck", 90)]


@pytest.mark.parametrize("restart", [False, True])
def test_values_during_maintenance_are_bad_and_counts_are_marked(restart):
    settings = config(maintenance="service", totaliser={"maintenance": "service"})
    readings = signal([4.0] * 60 + [77.0] * 60 + [4.0] * 60)
    readings += [Sample("service", T0, 0), Sample("service", T0 + 60 * NS, 1)]
    readings += [Sample("service", T0 + 120 * NS, 0)]
    readings += [Sample("count", T0 + at * NS, 1_000 + at) for at in range(180)]
    rows, events = run(settings, readings, minutes=3, restart=restart)
    assert rows["x", 0] == (4.0, GOOD)
    assert rows["x", 1] == (None, quality("BAD", "MAINTENANCE"))
    assert rows["x", 2] == (4.0, GOOD)
    assert [rows["e.count", minute] for minute in range(3)] == [
        (1_059, GOOD),
        (1_119, quality("UNCERTAIN", "MAINTENANCE")),
        (1_179, GOOD),
    ]
    assert ("e", "uncertain", "maintenance", 119) in told(events)


def test_a_lapsed_calibration_makes_values_uncertain_from_the_next_local_day_on():
    lapsing = {"calibrated_until": "2026-09-30"}
    valid = {"calibrated_until": "2026-10-01"}
    readings = [*signal([4.0] * 60), *signal([1_000 + n for n in range(60)], "count")]
    rows, events = run(config(instrument=lapsing, meter=valid), readings, minutes=1)
    assert rows["x", 0] == (4.0, quality("UNCERTAIN", "CALIBRATION"))
    assert rows["e.count", 0] == (1_059, GOOD)
    assert told(events) == [("x", "uncertain", "calibration", 0)]
    rows, events = run(config(instrument=valid, meter=lapsing), readings, minutes=1)
    assert rows["x", 0] == (4.0, GOOD)
    assert rows["e.count", 0] == (1_059, quality("UNCERTAIN", "CALIBRATION"))
    assert told(events) == [("e", "uncertain", "calibration", 59)]


def test_a_meter_takes_the_calibration_of_its_tags_instrument():
    settings = config(totaliser={"instrument": {"calibrated_until": "2026-09-30"}})
    rows, _ = run(settings, signal([1_000 + n for n in range(60)], "count"), minutes=1)
    assert rows["e.count", 0][1] == quality("UNCERTAIN", "CALIBRATION")


def test_lost_communication_is_a_row_with_its_reason_and_a_devices_no_is_another():
    readings = [
        *signal([4.0] * 60),
        Sample("x", T0 + 70 * NS, None, BAD_COMMS),
        *(Sample("x", T0 + (120 + n) * NS, None, BAD_DEVICE) for n in range(60)),
    ]
    rows, _ = run(config(), readings, minutes=3)
    assert rows["x", 1] == (None, BAD_COMMS)
    assert rows["x", 2] == (None, BAD_DEVICE)


def test_what_the_device_calls_uncertain_stays_uncertain_in_the_record():
    doubt = quality("UNCERTAIN", "CLOCK")
    readings = [Sample("x", T0 + n * NS, 4.0, doubt if n == 7 else GOOD) for n in range(60)]
    readings += [Sample("count", T0 + n * NS, n + 9, doubt) for n in range(60)]
    rows, _ = run(config(), readings, minutes=1)
    assert rows["x", 0] == (4.0, doubt)
    assert rows["e.count", 0] == (68, doubt)


def ramp(minutes, per_minute):
    return [value for minute in range(minutes) for value in [per_minute(minute)] * 60]


@pytest.mark.parametrize("restart", [False, True])
def test_a_deadband_ships_what_moved_and_an_unchanged_value_at_least_in_every_silence(restart):
    settings = config(deadband={"absolute": 0.5, "max_silence_s": 300})
    values = ramp(14, lambda minute: 10.0 if minute != 12 else 11.0)
    rows, _ = run(settings, signal(values), minutes=14, restart=restart)
    assert [minute for name, minute in rows if name == "x"] == [0, 5, 10, 12, 13]


def test_a_percent_deadband_follows_the_value_shipped_last():
    settings = config(deadband={"percent": 10, "max_silence_s": 86_400})
    values = ramp(5, lambda minute: 100.0 + 4 * minute)
    rows, _ = run(settings, signal(values), minutes=5)
    assert [minute for name, minute in rows if name == "x"] == [0, 3]


def test_a_deadband_never_hides_that_the_quality_changed():
    settings = config(range=[0, 50], deadband={"absolute": 5, "max_silence_s": 86_400})
    values = ramp(4, lambda minute: 99.0 if minute == 2 else 10.0)
    rows, _ = run(settings, signal(values), minutes=4)
    assert rows["x", 2] == (None, quality("BAD", "RANGE"))
    assert rows["x", 3] == (10.0, GOOD)
    assert ("x", 1) not in rows

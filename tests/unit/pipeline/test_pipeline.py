"""The pipeline: order, duplicates, restarts and limits do not change what is counted."""

import random
from pathlib import Path

import numpy as np
import pytest
import yaml

from edge_agent import factor_sets
from edge_agent.config import AgentConfig
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.journal import decode_readings, encode_readings
from edge_agent.pipeline.parts import cut
from edge_agent.readings import BAD_DEVICE, Sample

NS = 10**9
T0 = 1_790_784_000 * NS  # 2026-10-01 00:00 in Shanghai
ROOT = Path(__file__).resolve().parents[3]
FAR = 2**62


@pytest.fixture(scope="module")
def config():
    plain = yaml.safe_load((ROOT / "configs/plants/aluminium.yaml").read_text())
    for device in plain["devices"]:
        tags = []
        for tag in device["tags"]:
            numbers = range(1, 3) if tag.pop("repeat", None) else (0,)
            tags += [
                {k: v.format(n=n) if isinstance(v, str) else v for k, v in tag.items()}
                for n in numbers
            ]
        device["tags"] = tags
    plain["potlines"][0]["pots"]["count"] = 2
    plain["time"] = {"source": "device", "lateness_s": 5}
    return AgentConfig.model_validate(plain)


def pipeline(config):
    return Pipeline(config, factor_sets.find(config.factor_set))


def plant(seconds, effect=(3_590, 3_650), seed=3):
    """Readings of two pots at 1 Hz, of which the first has an effect across the hour."""
    rng = random.Random(seed)
    readings = [
        Sample("line1.pot001.status", T0, 1),
        Sample("line1.pot002.status", T0, 1),
    ]
    for second in range(seconds):
        now = T0 + second * NS
        high = effect[0] <= second < effect[1]
        readings += [
            Sample("line1.current", now, 300 + rng.uniform(-0.5, 0.5)),
            Sample(
                "line1.pot001.voltage", now, rng.uniform(20, 30) if high else rng.uniform(4.1, 4.3)
            ),
            Sample("line1.pot002.voltage", now, rng.uniform(4.1, 4.3)),
        ]
        if second % 10 == 0:
            readings.append(Sample("r1.energy", now, (99_999_000 + second) % 100_000_000))
    return readings


def run(config, readings, *, piece=200, restart_every=0):
    """All rows and events, optionally with restarts from state and journal on the way."""
    line = pipeline(config)
    rows, events, journal, live = [], [], [], []
    state = line.dump()
    for count, start in enumerate(range(0, len(readings), piece), start=1):
        part = readings[start : start + piece]
        live += line.feed(part, FAR)
        journal.append(encode_readings(part))
        due = line.due_ns(FAR)
        if due is not None:
            produce = line.advance(due)
            rows += [record for columns in produce.pieces for record in columns.records()]
            events += produce.events
            state, journal = line.dump(), []
        if restart_every and count % restart_every == 0:
            line = pipeline(config)
            line.restore(state)
            for written in journal:
                line.feed(decode_readings(written), FAR)
    return rows, events, live


@pytest.fixture(scope="module")
def plain_run(config):
    return run(config, plant(7_500))


def key(record):
    return (record.series, record.time_ns)


def test_restarts_change_nothing(config, plain_run):
    rows, events, _ = run(config, plant(7_500), restart_every=3)
    assert sorted(rows, key=key) == sorted(plain_run[0], key=key)
    assert events == plain_run[1]
    assert len(rows) > 800


def test_shuffled_and_repeated_readings_change_nothing(config, plain_run):
    readings = plant(7_500)
    rng = random.Random(8)
    mixed = []
    for start in range(0, len(readings), 12):
        part = readings[start : start + 12]
        part += rng.sample(part, min(3, len(part)))
        rng.shuffle(part)
        mixed += part
    rows, events, _ = run(config, mixed)
    assert sorted(rows, key=key) == sorted(plain_run[0], key=key)
    assert events == plain_run[1]


def test_an_effect_across_the_hour_is_split_by_time_and_counted_once(plain_run):
    rows, events, _ = plain_run
    values = {key(record): record.value for record in rows}
    hour = 3_600 * NS
    assert values["line1.pot001.ae_s", T0] == 10
    assert values["line1.pot001.ae_s", T0 + hour] == 50
    assert values["line1.pot001.ae_count", T0] == 1
    assert values["line1.pot001.ae_count", T0 + hour] == 0
    assert values["line1.pot001.observed_s", T0] == 3_600
    assert values["line1.pot002.ae_s", T0 + hour] == 0
    (ended,) = [event for event in events if event["type"] == "effect_ended"]
    assert (ended["start"], ended["end"]) == (T0 + 3_590 * NS, T0 + 3_650 * NS)
    assert ended["net_s"] == 60


def test_the_live_lane_announces_at_the_third_sample_above(config):
    line = pipeline(config)
    announced = None
    for reading in plant(60, effect=(20, 60)):
        for event in line.feed([reading], FAR):
            assert event["type"] == "effect_started"
            assert announced is None
            announced = (event["t"], reading.time_ns)
    assert announced == (T0 + 20 * NS, T0 + 22 * NS)


def test_silence_is_told_as_a_gap_of_all_pots_at_once(config):
    readings = [r for r in plant(1_000) if not 300 * NS <= r.time_ns - T0 < 400 * NS]
    _, events, _ = run(config, readings)
    (gap,) = [event for event in events if event["type"] == "gap"]
    assert gap["pots"] == ["pot001", "pot002"]
    assert (gap["from"] - T0, gap["to"] - T0) == (304 * NS, 400 * NS)


def test_late_readings_are_left_out_and_told(config):
    readings = plant(1_000)
    late = [r for r in readings if r.tag == "line1.pot002.voltage" and r.time_ns == T0 + 100 * NS]
    rest = [r for r in readings if r not in late]
    _, events, _ = run(config, rest + late + plant(1_200)[len(readings) :])
    (told,) = [event for event in events if event["type"] == "late_samples"]
    assert (told["tag"], told["count"]) == ("line1.pot002", 1)


def test_a_bad_voltage_is_missing_and_never_zero(config):
    readings = [
        Sample(r.tag, r.time_ns, None, BAD_DEVICE)
        if r.tag == "line1.pot001.voltage" and r.time_ns == T0 + 50 * NS
        else r
        for r in plant(300)
    ]
    rows, events, _ = run(config, readings)
    means = [r.value for r in rows if r.series == "line1.pot001.v"]
    assert all(4.1 <= mean <= 4.3 for mean in means)
    assert not [event for event in events if event["type"] == "gap"]


def test_a_totaliser_that_rolls_over_ships_raw_counts_and_an_event(plain_run):
    rows, events, _ = plain_run
    counts = [r.value for r in rows if r.series == "rectifier1_energy.count"]
    assert all(isinstance(count, int) for count in counts)
    (event,) = [event for event in events if event["type"] == "totaliser_rollover"]
    assert event["after"] < event["before"] < 100_000_000


def test_a_pot_out_of_circuit_has_no_cell_time(config):
    readings = [*plant(7_500, effect=(0, 0)), Sample("line1.pot002.status", T0 + 600 * NS, 0)]
    readings.sort(key=lambda r: r.time_ns)
    rows, _, _ = run(config, readings)
    values = {key(record): record.value for record in rows}
    assert values["line1.pot002.observed_s", T0] == 600
    assert values["line1.pot002.out_s", T0] == 3_000


def test_readings_from_the_future_are_refused_under_system_time(config):
    plain = config.model_copy(update={"time": config.time.model_copy(update={"source": "system"})})
    line = pipeline(plain)
    now = T0 + 60 * NS
    line.feed([*plant(60), Sample("line1.pot001.voltage", T0 + 10**6 * NS, 30.0)], now)
    assert line.memory.newest_ns < now
    (event,) = [e for e in line.advance(T0 + 60 * NS).events if e["type"] == "late_samples"]
    assert event["reason"] == "future"


def test_batches_after_a_two_day_outage_span_less_than_a_day(config):
    line = pipeline(config)
    line.feed(plant(900), FAR)
    line.feed([Sample(r.tag, r.time_ns + 2 * 86_400 * NS, r.value) for r in plant(900)], FAR)
    produce = line.advance(line.due_ns(FAR))
    for columns, events in cut(produce.pieces, produce.events):
        times = [*columns.time_ns, *(event["t"] for event in events)]
        assert max(times) - min(times) <= 86_400 * NS
        assert len(columns) <= config.outbox.max_rows
    assert np.all(np.array([len(columns) for columns in produce.pieces]) > 0)

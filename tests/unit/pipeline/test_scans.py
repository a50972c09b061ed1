"""Scans are a faster way to the same rows: whatever comes as scans gives what samples would."""

import random

import pytest

from edge_agent import factor_sets
from edge_agent.config import AgentConfig
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.journal import decode_readings, encode_readings
from edge_agent.pipeline.signals import SignalWorker
from edge_agent.readings import BAD_DEVICE, Quality, Reason, Sample, Scan, Severity

NS = 10**9
MINUTE = 60 * NS
T0 = 1_790_784_000 * NS
FAR = 2**62
TAGS = ("line.ka", "pot1.v", "pot2.v", "hall.temperature", "kwh", "gas", "scale")
LATE = 5


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(time={"source": "device", "lateness_s": LATE})


def scans(seconds, seed=5, *, hall=None):
    rng = random.Random(seed)
    for second in range(seconds):
        values = (
            300 + rng.uniform(-1, 1),
            rng.uniform(4.1, 4.3) if second % 700 > 30 else rng.uniform(20, 30),
            rng.uniform(4.1, 4.3),
            hall(second) if hall else rng.uniform(20, 30),
            1_000_000 - 50 + second % 1_000_000 if second < 50 else second,
            2**40 + second,
            2**53 + 1 + second,
        )
        yield Scan(TAGS, T0 + second * NS, values)


def samples(readings):
    for reading in readings:
        yield from (reading.samples() if isinstance(reading, Scan) else [reading])


def run(config, readings, *, restart=False, piece=7):
    line = Pipeline(config, factor_sets.find(config.factor_set))
    rows, events, journal = [], [], []
    state = line.dump()
    for start in range(0, len(readings), piece):
        part = readings[start : start + piece]
        events += line.feed(part, FAR)
        journal.append(encode_readings(part))
        if (due := line.due_ns(FAR)) is not None:
            produce = line.advance(due)
            rows += [row for columns in produce.pieces for row in columns.records()]
            events += produce.events
            state, journal = line.dump(), []
        if restart and start % 5 == 0:
            line = Pipeline(config, factor_sets.find(config.factor_set))
            line.restore(state)
            for written in journal:
                line.feed(decode_readings(written), FAR)
    rows.sort(key=lambda row: (row.time_ns, row.series))
    told = [event for event in events if event["type"] != "effect_started"]
    return rows, sorted(told, key=lambda event: (event["t"], event["type"], str(event)))


def spoiled(readings, seed):
    """The same with some scans missing, some twice, some late, and bad samples between."""
    rng = random.Random(seed)
    for reading in readings:
        if rng.random() < 0.1:
            continue
        yield reading
        if rng.random() < 0.05:
            yield reading
        if rng.random() < 0.05:
            yield Sample("hall.temperature", reading.time_ns + NS // 2, None, BAD_DEVICE)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "hall",
    [None, lambda second: 99.0 if 100 < second < 140 or second > 400 else 21.5],
    ids=["in_range", "out_of_range_at_times"],
)
def test_scans_give_the_rows_and_events_of_their_samples(config, hall, restart):
    given = list(scans(800, hall=hall))
    rows, events = run(config, given, restart=restart)
    expected_rows, expected_events = run(config, list(samples(given)))
    assert rows == expected_rows
    assert events == expected_events
    assert len([row for row in rows if row.series == "hall.temperature"]) >= 12


@pytest.mark.parametrize("seed", range(6))
def test_scans_that_are_missing_twice_or_mixed_with_bad_samples_give_the_same(config, seed):
    given = list(spoiled(list(scans(500, seed)), seed))
    assert run(config, given, restart=seed % 2 == 1)[0] == run(config, list(samples(given)))[0]


def test_a_mean_of_scans_is_the_mean_to_the_wires_precision_and_counts_stay_exact(config):
    given = [
        Scan(TAGS, T0 + n * NS, (300.0, 4.2, 4.2, 20.0 + n, n, n, 2**53 + 1)) for n in range(70)
    ]
    rows, _ = run(config, given, piece=70)
    values = {row.series: row.value for row in rows if row.time_ns // MINUTE == T0 // MINUTE}
    assert values["hall.temperature"] == 49.5
    assert values["metal.count"] == 2**53 + 1
    assert isinstance(values["metal.count"], int)


def test_a_minute_with_too_few_scans_is_partial(config):
    given = [Scan(TAGS, T0 + n * NS, (300.0, 4.2, 4.2, 20.0, n, n, n)) for n in range(30)]
    rows, _ = run(config, [*given, Scan(TAGS, T0 + 90 * NS, given[0].values)], piece=50)
    (row,) = [row for row in rows if row.series == "hall.temperature"]
    assert row.quality == Quality.of(Severity.UNCERTAIN, Reason.PARTIAL)


def plain(lateness_s):
    tags = [{"id": f"x{n}", "address": n, "type": "uint16"} for n in range(3)]
    device = {"id": "d", "driver": "modbus", "host": "h", "unit": 1, "interval_s": 1, "tags": tags}
    return AgentConfig.model_validate(
        {
            "site": "s",
            "agent": "a",
            "state_dir": "state",
            "keys": {"signing": "k.pem", "gateway": ["g.pem"]},
            "factor_set": "cets-ag-04.01-v01-2024",
            "time": {"source": "device", "lateness_s": lateness_s},
            "devices": [device],
        }
    )


def two_rates(seconds):
    for second in range(seconds):
        tags = ("x0", "x1", "x2") if second % 10 == 0 else ("x0", "x1")
        yield Scan(tags, T0 + second * NS, tuple(float(second + n) for n in range(len(tags))))


@pytest.mark.parametrize("late_s", [0, 5])
def test_a_tag_that_is_read_with_others_at_times_has_one_row_a_minute(late_s):
    config, given = plain(late_s), list(two_rates(400))
    rows, _ = run(config, given)
    assert rows == run(config, list(samples(given)))[0]
    assert len({(row.series, row.time_ns) for row in rows}) == len(rows) == 3 * 6


@pytest.mark.parametrize("late_s", [0, 5])
def test_means_of_a_block_are_computed_together_minute_after_minute(late_s, monkeypatch):
    judged = []
    monkeypatch.setattr(SignalWorker, "process", lambda self, *_: judged.append(self.tag_id))
    rows, _ = run(
        plain(late_s),
        [Scan(("x0", "x1", "x2"), T0 + n * NS, (1.0, 2.0, 3.0)) for n in range(400)],
    )
    assert len(rows) == 3 * 6
    assert len(judged) <= 3  # nothing is due at the first boundary


def test_what_waits_for_its_minute_is_counted_and_given_back_with_it():
    config = plain(5)
    line = Pipeline(config, factor_sets.find(config.factor_set))
    assert line.held_bytes == 0
    line.feed(list(two_rates(60)), FAR)
    assert line.held_bytes == 8 * (6 * 4 + 54 * 3)
    line.feed([Sample("x0", T0 + NS // 2, 1.0)] * 10, FAR)
    before = line.held_bytes
    assert before > 8 * (6 * 4 + 54 * 3) + 10 * 16
    again = Pipeline(config, factor_sets.find(config.factor_set))
    again.restore(line.dump())
    assert 0 < again.held_bytes <= before
    line.feed(list(two_rates(70))[60:], FAR)
    line.advance(T0 + MINUTE)
    assert line.held_bytes == 8 * (1 * 4 + 9 * 3)


def test_the_journal_gives_scans_back_as_they_were():
    given = [*scans(3), Sample("x", T0, None, BAD_DEVICE), Sample("y", T0, 7)]
    back = decode_readings(encode_readings(given))
    assert back[:2] == given[3:]
    assert [(s.tags, s.time_ns, s.values) for s in back[2:]] == [
        (s.tags, s.time_ns, s.values) for s in given[:3]
    ]
    assert isinstance(back[2].values[6], int)


def test_a_clock_set_back_in_the_first_minute_leaves_all_minutes(config):
    """Scans that came before the accounting began, out of order: as after a start with a wrong clock."""
    ahead = [Scan(one.tags, one.time_ns + 120 * NS, one.values) for one in scans(20)]
    readings = [*ahead, *scans(90)]
    want = run(config, list(samples(readings)), piece=len(readings) * len(TAGS))
    assert run(config, readings, piece=len(readings)) == want

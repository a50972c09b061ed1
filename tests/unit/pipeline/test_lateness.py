"""Each tag waits for its own stragglers: slow sources count, fast ones are not delayed by them."""

import random

import pytest
from pydantic import ValidationError

from edge_agent import factor_sets
from edge_agent.calc.rules import UNCERTAIN_MAINTENANCE
from edge_agent.config import AgentConfig
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.journal import decode_readings, encode_readings
from edge_agent.pipeline.lateness import Lateness
from edge_agent.readings import Sample, Scan

NS = 10**9
MINUTE, HOUR = 60 * NS, 3_600 * NS
T0 = 1_790_784_000 * NS  # 2026-10-01 00:00 in Shanghai
FAR = 2**62
FACTORS = factor_sets.find("cets-ag-02.01-v01-2024")
BASE = {"driver": "modbus", "host": "127.0.0.1", "interval_s": 60}


def tag(name, address, **more):
    return {"id": name, "address": address, "type": "float32", **more}


def plant(slow_s=2 * 3600, *, usual_s=5, fast=(), slow=(), **device):
    """A live device, and one whose values come an hour late: a rate, a count and a plain tag."""
    total = {"id": "total", "address": 2, "type": "uint32", "unit": "kg", "totaliser": {}}
    fast_tags = [tag("fast", 0), *fast]
    slow_tags = [tag("slow", 0), tag("feed", 4, unit="t/h"), total, *slow]
    return AgentConfig.model_validate(
        {
            "site": "cm-001",
            "agent": "gw-01",
            "state_dir": "state",
            "keys": {"signing": "a.pem", "gateway": ["g.pem"]},
            "factor_set": FACTORS.id,
            "sector": "cement",
            "time": {"source": "system", "lateness_s": usual_s},
            "devices": [
                {"id": "a", "unit": 1, "tags": fast_tags, **BASE},
                {"id": "b", "unit": 2, "tags": slow_tags, "lateness_s": slow_s, **BASE, **device},
            ],
            "meters": [
                {"id": "belt", "tag": "feed", "role": "material"},
                {"id": "scale", "tag": "total", "role": "material"},
            ],
        }
    )


def slow_rows(first, last):
    """What the slow device measured each minute of [first, last)."""
    for minute in range(first, last):
        at = T0 + minute * MINUTE
        yield Sample("slow", at, 10.0 + minute)
        yield Sample("feed", at, 120.0 + minute % 7)
        yield Sample("total", at, 1_000 + 2 * minute)


def hours_of_files(hours, delay_min=5):
    """Readings by the minute in which they arrive: live ones at once, an hour's together after it."""
    arrivals = {}
    for minute in range(60 * hours):
        arrivals.setdefault(minute, []).append(Sample("fast", T0 + minute * MINUTE, minute / 2))
    for hour in range(hours):
        rows = list(slow_rows(60 * hour, 60 * hour + 60))
        arrivals.setdefault(60 * hour + 60 + delay_min, []).extend(rows)
    return arrivals


class Run:
    """An agent's calculation, minute by minute, with the state and journal that a restart needs."""

    def __init__(self, config):
        self.rows, self.order, self.events = {}, [], []
        self.start(config)
        self.state, self.journal = self.line.dump(), []

    def start(self, config):
        self.line = Pipeline(config, FACTORS)

    def restart(self, config):
        self.start(config)
        self.line.restore(self.state)
        for written in self.journal:
            self.line.feed(decode_readings(written), FAR)

    def minute(self, minute, readings=(), settled_ns=None):
        now = T0 + (minute + 1) * MINUTE
        if readings:
            self.line.feed(list(readings), now)
            self.journal.append(encode_readings(list(readings)))
        due = self.line.due_ns(now + 6 * NS, settled_ns)
        if due is None:
            return
        produce = self.line.advance(due, settled_ns)
        for columns in produce.pieces:
            for record in columns.records():
                key = record.series, (record.time_ns - T0) // MINUTE
                assert key not in self.rows, "one row twice"
                self.rows[key] = record.value
                self.order.append((minute, *key))
        self.events += produce.events
        self.state, self.journal = self.line.dump(), []

    def of(self, series):
        return {minute: value for (name, minute), value in self.rows.items() if name == series}

    def late(self):
        return {
            (event["tag"], event["count"])
            for event in self.events
            if event["type"] == "late_samples"
        }


def run(config, arrivals, minutes, *, restarts=()):
    made = Run(config)
    for minute in range(minutes):
        made.minute(minute, arrivals.get(minute, ()))
        if minute in restarts:
            made.restart(config)
    return made


@pytest.fixture(scope="module")
def late():
    """Three hours of files, each five minutes after its hour."""
    return run(plant(), hours_of_files(3), 60 * 5 + 10)


def test_an_hour_that_comes_after_its_end_counts_in_full_and_nothing_is_late(late):
    assert late.of("slow") == {minute: 10.0 + minute for minute in range(180)}
    assert late.of("scale.count") == {minute: 1_000 + 2 * minute for minute in range(180)}
    assert late.late() == set()


def test_amounts_and_counts_are_those_of_readings_that_come_at_once(late):
    at_once = {
        minute: [Sample("fast", T0 + minute * MINUTE, minute / 2), *slow_rows(minute, minute + 1)]
        for minute in range(180)
    }
    prompt = run(plant(5), at_once, 310)
    assert prompt.rows == late.rows
    for hour in (0, 1):
        assert late.of("belt.amount")[60 * hour] == pytest.approx(123, abs=0.2)
        assert late.of("belt.covered_s")[60 * hour] == 3600


def test_the_minutes_of_a_fast_device_do_not_wait(late):
    waited = {
        series: {minute - at for minute, name, at in late.order if name == series}
        for series in ("fast", "slow")
    }
    assert waited["fast"] == {0}
    assert waited["slow"] == {120}


def test_restarts_lose_and_double_nothing(late):
    rng = random.Random(5)
    again = run(plant(), hours_of_files(3), 310, restarts=rng.sample(range(310), 60))
    assert again.rows == late.rows
    assert again.late() == set()


def test_what_comes_later_than_its_own_lateness_is_left_out_and_counted():
    arrivals = hours_of_files(3)
    missing = [reading for reading in slow_rows(30, 40) if reading.tag != "feed"]
    arrivals[65] = [reading for reading in arrivals[65] if reading not in missing]
    arrivals[200] = arrivals.get(200, []) + missing  # after 160 minutes and more
    made = run(plant(), arrivals, 310)
    assert made.late() == {("slow", 10), ("scale", 10)}
    assert set(range(180)) - set(made.of("slow")) == set(range(30, 40))
    assert made.of("scale.count")[40] == 1_080
    (told,) = [event for event in made.events if event.get("tag") == "slow"]
    assert (told["t"], told["to"]) == (T0 + 30 * MINUTE, T0 + 39 * MINUTE)


def test_rows_that_come_again_after_they_were_accounted_are_not_late():
    arrivals = hours_of_files(2)
    arrivals[260] = [reading for reading in slow_rows(100, 120) if reading.tag == "total"]
    assert run(plant(), arrivals, 310).late() == set()


def test_a_tag_s_own_lateness_stands_above_its_device_s():
    """Real-time values and hourly means of one logger."""
    config = plant(slow=[tag("now", 8, lateness_s=5)])
    arrivals = hours_of_files(2)
    for minute in range(120):
        arrivals[minute] = [*arrivals.get(minute, ()), Sample("now", T0 + minute * MINUTE, 1.5)]
    made = run(config, arrivals, 250)
    assert {minute - at for minute, name, at in made.order if name == "now"} == {0}
    assert {minute - at for minute, name, at in made.order if name == "slow"} == {120}
    assert (len(made.of("now")), len(made.of("slow"))) == (120, 120)


def test_scans_of_tags_with_different_patience_give_the_same_rows():
    config = plant(slow=[tag("now", 8, lateness_s=5)])
    names = ("slow", "now")
    arrivals = {
        minute: [Scan(names, T0 + minute * MINUTE, [float(minute), minute + 0.5])]
        for minute in range(60)
    }
    made = run(config, arrivals, 190, restarts=(10, 33))
    assert made.of("slow") == {minute: float(minute) for minute in range(60)}
    assert made.of("now") == {minute: minute + 0.5 for minute in range(60)}
    assert {minute - at for minute, name, at in made.order if name == "now"} == {0}
    assert {minute - at for minute, name, at in made.order if name == "slow"} == {120}


def test_a_shorter_lateness_than_usual_is_not_delayed_by_the_usual_one():
    config = plant(60, usual_s=3600)
    arrivals = {minute: list(slow_rows(minute, minute + 1)) for minute in range(30)}
    arrivals[0].append(Sample("fast", T0, 1.0))
    made = run(config, arrivals, 100)
    assert {minute - at for minute, name, at in made.order if name == "slow"} == {1}
    assert {minute - at for minute, name, at in made.order if name == "fast"} == {60}


def test_who_waits_shorter_does_not_go_beyond_what_is_settled():
    """A device with history tells of the time after minute 10: nobody is accounted beyond it."""
    made = Run(plant(60, usual_s=300))
    for minute in range(30):
        made.minute(minute, slow_rows(minute, minute + 1), T0 + 10 * MINUTE + 30 * NS)
    assert max(made.of("slow")) == 9
    for minute in range(30, 33):
        made.minute(minute)
    assert set(made.of("slow")) == set(range(30))


@pytest.mark.parametrize(("first_s", "second_s"), [(7200, 5), (5, 7200), (7200, 1800)])
def test_a_changed_lateness_loses_and_doubles_nothing_over_the_restart(first_s, second_s):
    arrivals = {
        minute: [Sample("fast", T0 + minute * MINUTE, 1.0), *slow_rows(minute, minute + 1)]
        for minute in range(400)
    }
    made = Run(plant(first_s))
    for minute in range(600):
        made.minute(minute, arrivals.get(minute, ()))
        if minute == 200:
            made.restart(plant(second_s))
    assert made.of("slow") == {minute: 10.0 + minute for minute in range(400)}
    assert made.of("scale.count") == {minute: 1_000 + 2 * minute for minute in range(400)}
    assert made.late() == set()


@pytest.mark.parametrize("restarts", [(), range(0, 310, 7)])
def test_a_fast_flag_is_remembered_until_the_slow_tag_it_judges_has_come(restarts):
    """In maintenance from minute 20 to 50, known at once; the values come after the hour."""
    service = {"id": "service", "address": 8, "type": "uint16"}
    config = plant(fast=[service], slow=[tag("judged", 10, maintenance="service")])
    arrivals = hours_of_files(3)
    for minute in range(180):
        at = T0 + minute * MINUTE
        arrivals[minute].append(Sample("service", at, int(20 <= minute < 50)))
        arrivals[60 * (minute // 60) + 65] += [Sample("judged", at, 1.0)]
    made = run(config, arrivals, 310, restarts=restarts)
    judged = made.of("judged")
    assert len(judged) == 180
    assert {m for m, value in judged.items() if value is None} == set(range(20, 50))
    assert {minute - at for minute, name, at in made.order if name == "service"} == {0}


def test_a_tag_waits_for_a_slow_flag():
    service = {"id": "service", "address": 8, "type": "uint16"}
    config = plant(fast=[tag("judged", 10, maintenance="service")], slow=[service])
    assert Lateness(config).of("judged") == 2 * HOUR
    assert Lateness(config).of("fast") == 5 * NS
    arrivals = hours_of_files(2)
    for minute in range(120):
        at = T0 + minute * MINUTE
        arrivals[minute].append(Sample("judged", at, 1.0))
        arrivals[60 * (minute // 60) + 65] += [Sample("service", at, int(20 <= minute < 50))]
    judged = run(config, arrivals, 250).of("judged")
    assert {m for m, value in judged.items() if value is None} == set(range(20, 50))


def test_a_potline_waits_for_its_slowest_tag_and_announces_effects_at_once(make_config):
    plain = make_config().model_dump(mode="json")
    pots = next(device for device in plain["devices"] if device["id"] == "pots")
    next(item for item in pots["tags"] if item["id"] == "line.ka")["lateness_s"] = 600
    config = make_config(devices=plain["devices"])
    line = Pipeline(config, factor_sets.find(config.factor_set))
    assert max(map(line._lateness.of, line._line_tags["line1"])) == 600 * NS
    rows, started = {}, None
    for second in range(1_500):
        now = T0 + second * NS
        volts = 25.0 if 100 <= second < 200 else 4.2
        urgent = line.feed([Sample("pot1.v", now, volts), Sample("pot2.v", now, 4.2)], now)
        started = second if urgent and started is None else started
        if second % 60 == 30 and second >= 630:
            minute = second // 60 - 10  # the current comes ten minutes late
            line.feed(
                [Sample("line.ka", T0 + (60 * minute + s) * NS, 300.0) for s in range(60)], now
            )
        due = line.due_ns(now)
        if due is not None:
            for columns in line.advance(due).pieces:
                rows |= {(row.series, row.time_ns): second for row in columns.records()}
    assert 100 <= started <= 110
    assert rows["line1.current_ka", T0] >= 660
    assert rows["line1.pot001.v", T0] >= 660
    assert ("line1.current_ka", T0 + 12 * MINUTE) in rows


@pytest.mark.parametrize("value", [-1, 3 * 86_400 + 1, float("nan"), float("inf")])
def test_a_lateness_outside_zero_to_three_days_is_refused(value):
    with pytest.raises(ValidationError, match="lateness_s"):
        plant(value)


def test_quality_of_a_slow_count_follows_the_flag_of_its_time():
    """A count is never left out; it is marked by the flag that stood at its own time."""
    service = {"id": "service", "address": 8, "type": "uint16"}
    config = plant(fast=[service])
    device = config.devices[1]
    tags = tuple(
        item.model_copy(update={"maintenance": "service"}) if item.id == "total" else item
        for item in device.tags
    )
    config = config.model_copy(
        update={"devices": (config.devices[0], device.model_copy(update={"tags": tags}))}
    )
    line, marked = Pipeline(config, FACTORS), set()
    arrivals = hours_of_files(2)
    for minute in range(250):
        now = T0 + (minute + 1) * MINUTE
        on = Sample("service", T0 + minute * MINUTE, int(20 <= minute < 50))
        line.feed([*arrivals.get(minute, ()), on], now)
        due = line.due_ns(now + 6 * NS)
        for columns in line.advance(due).pieces if due else ():
            marked |= {
                (row.time_ns - T0) // MINUTE
                for row in columns.records()
                if row.series == "scale.count" and row.quality == UNCERTAIN_MAINTENANCE
            }
    assert marked == set(range(20, 50))

"""The agent's stream and the recomputation from stored samples give the same, in any batches."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import yaml

from edge_agent import factor_sets
from edge_agent.calc.detector_state import DetectorSettings, Gap
from edge_agent.calc.line_detector import LineRules, StatusChange
from edge_agent.calc.pot_block import PotBlock
from edge_agent.calc.recompute import Piece, recompute
from edge_agent.config import AgentConfig
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.journal import decode_readings, encode_readings
from edge_agent.readings import BAD_DEVICE, AnodeEffect, Sample, Waveform

NS = 10**9
T0 = 1_790_784_000 * NS - 1_200 * NS  # twenty minutes before an hour, in Shanghai
POTS, SECONDS = 5, 6_000
FAR = 2**62
ROOT = Path(__file__).resolve().parents[3]
HOURLY = {
    "observed_s": lambda sums: sums.observed_ns / NS,
    "out_s": lambda sums: sums.out_ns / NS,
    "ae_s": lambda sums: sums.effect_ns / NS,
    "ae_count": lambda sums: sums.effects,
    "ae_ov_vs": lambda sums: sums.overvoltage_v_s,
    "ae_ova_vs": lambda sums: sums.overvoltage_algebraic_v_s,
    "ae_su_s": lambda sums: sums.start_up_ns / NS,
    "ae_held_s": lambda sums: sums.held_ns / NS,
}


@pytest.fixture(scope="module")
def config():
    plain = yaml.safe_load((ROOT / "configs/plants/aluminium.yaml").read_text())
    for device in plain["devices"]:
        tags = []
        for tag in device["tags"]:
            numbers = range(1, POTS + 1) if tag.pop("repeat", None) else (0,)
            tags += [
                {k: v.format(n=n) if isinstance(v, str) else v for k, v in tag.items()}
                for n in numbers
            ]
        device["tags"] = tags
    plain["potlines"][0]["pots"]["count"] = POTS
    plain["time"] = {"source": "device", "lateness_s": 5}
    return AgentConfig.model_validate(plain)


class Plant:
    """A hundred minutes of five pots: effects, dropouts, wrong values, an outage, a start-up."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        drift = np.cumsum(0.001 * rng.standard_normal((POTS, SECONDS)), axis=1)
        self.volts = 4.2 + drift + 0.02 * rng.standard_normal((POTS, SECONDS))
        for pot in range(POTS):
            for at in rng.integers(100, SECONDS - 500, 4):
                length = int(rng.integers(1, 300))
                self.volts[pot, at : at + length] = rng.normal(26, 6, length)
        self.volts[:, 1_100:1_170] = 4.2 + 0.02 * rng.standard_normal((POTS, 70))
        self.volts[:, 1_170:1_215] = 27 + rng.standard_normal((POTS, 45))  # over the hour, all
        self.current = 300 + rng.standard_normal(SECONDS)
        self.current[3_300:3_600] = 0.0
        self.volts[:, 3_300:3_600] = 1.4 + 0.01 * rng.standard_normal((POTS, 300))
        wrong = rng.random((POTS, SECONDS)) < 0.0005
        self.volts[wrong] = 655.35
        self.volts[2, 3_700:4_400] = self.volts[2, 3_700]  # frozen
        self.bad = rng.random((POTS, SECONDS)) < 0.0005
        self.absent = np.zeros((POTS, SECONDS), dtype=np.bool_)
        for at in rng.integers(0, SECONDS - 1_000, 6):
            self.absent[rng.integers(0, POTS), at : at + int(rng.integers(3, 200))] = True
        self.absent[:, 1_100:1_300] = False
        self.status = {3: [(0, 1), (3_000, 0), (4_400, 2), (4_700, 1)], 4: [(0, 2), (2_500, 1)]}

    def readings(self):
        """What the drivers deliver, in order of time."""
        at = {(pot, second): value for pot, some in self.status.items() for second, value in some}
        for second in range(SECONDS):
            now = T0 + second * NS
            yield Sample("line1.current", now, float(self.current[second]))
            for pot in range(POTS):
                tag = f"line1.pot{pot + 1:03d}"
                if (pot, second) in at:
                    yield Sample(f"{tag}.status", now, at[pot, second])
                if self.absent[pot, second]:
                    continue
                if self.bad[pot, second]:
                    yield Sample(f"{tag}.voltage", now, None, BAD_DEVICE)
                else:
                    yield Sample(f"{tag}.voltage", now, float(self.volts[pot, second]))

    def stored(self, rng):
        """The stored samples in pieces of random length."""
        edges = [0, *sorted(rng.sample(range(1, SECONDS), 20)), SECONDS]
        for first, last in itertools.pairwise(edges):
            seconds = np.arange(first, last)
            parts = []
            for pot in range(POTS):
                values = np.where(self.bad[pot], np.nan, self.volts[pot])[first:last]
                there = ~self.absent[pot, first:last]
                parts.append((T0 + seconds[there] * NS, values[there]))
            changes = {
                f"pot{pot + 1:03d}": [
                    StatusChange(T0 + second * NS, value != 0, value == 2)
                    for second, value in some
                    if first <= second < last
                ]
                for pot, some in self.status.items()
            }
            yield Piece(
                PotBlock.joined(parts),
                T0 + seconds * NS,
                self.current[first:last],
                T0 + last * NS,
                changes,
            )


def stream(config, readings, rng, *, restarts):
    """Rows and events of an agent that gets the readings in batches of random size."""
    line = Pipeline(config, factor_sets.find(config.factor_set))
    state, journal, rows, events = line.dump(), [], [], []
    start = 0
    while start < len(readings):
        size = rng.choice([1, 7, 60, 700, 5_000, 20_000])
        part = readings[start : start + size]
        start += size
        line.feed(part, FAR)
        journal.append(encode_readings(part))
        due = line.due_ns(FAR)
        if due is not None:
            produce = line.advance(due)
            rows += [record for columns in produce.pieces for record in columns.records()]
            events += produce.events
            state, journal = line.dump(), []
        if restarts and rng.random() < 0.1:
            line = Pipeline(config, factor_sets.find(config.factor_set))
            line.restore(state)
            for written in journal:
                line.feed(decode_readings(written), FAR)
    return {(row.series, row.time_ns): row.value for row in rows}, events


def mixed(readings, rng):
    """Shuffled and repeated within what the agent waits for."""
    out = []
    for start in range(0, len(readings), 20):
        part = readings[start : start + 20]
        part += rng.sample(part, min(4, len(part)))
        rng.shuffle(part)
        out += part
    return out


@pytest.mark.parametrize("seed", range(4))
def test_stream_and_recomputation_agree_for_any_batches(config, seed):
    rng = random.Random(seed)
    plant = Plant(seed)
    readings = list(plant.readings())
    if seed % 2:
        readings = mixed(readings, rng)
    rows, events = stream(config, readings, rng, restarts=seed >= 2)

    line = config.potlines[0]
    rules = LineRules(
        DetectorSettings(**line.detector.model_dump()),
        off_below_ka=line.nominal_ka * line.current_off_share,
    )
    names = [f"pot{n + 1:03d}" for n in range(POTS)]
    results = list(recompute(names, rules, plant.stored(rng)))
    hours = {(pot, at): sums for result in results for pot, at, sums in result.hours}
    outputs = [item for result in results for item in result.outputs]

    compared = 0
    for (pot, at), sums in hours.items():
        if (f"line1.{pot}.observed_s", at) not in rows:
            continue
        compared += 1
        for name, value in HOURLY.items():
            assert rows.get((f"line1.{pot}.{name}", at), 0) == value(sums), (pot, at, name)
    assert compared == 2 * POTS
    assert sum(sums.effect_ns for sums in hours.values()) > 0
    assert sum(sums.held_ns for sums in hours.values()) > 0

    ended = {(e["pot"], e["start"]): e for e in events if e["type"] == "effect_ended"}
    effects = {(e.pot, e.start_ns): e for e in outputs if isinstance(e, AnodeEffect)}
    assert ended.keys() == effects.keys()
    assert len(ended) > POTS
    for key, effect in effects.items():
        event = ended[key]
        assert event["end"] == effect.end_ns
        assert event["net_s"] == effect.above_threshold_s
        assert event["ova_vs"] == effect.overvoltage_algebraic_v_s
        assert event["group"] == effect.group
        assert tuple(event.get("flags", ())) == effect.flags
        assert event.get("i_before_ka") == effect.current_before_ka

    told = {(e["from"], e["to"], pot) for e in events if e["type"] == "gap" for pot in e["pots"]}
    assert told == {(g.start_ns, g.end_ns, g.pot) for g in outputs if isinstance(g, Gap)}

    # The line's minutes hold all counted effect time of the hours that are out.
    last = max(at for series, at in rows if series == "line1.ae_min")
    minutes = sum(v for (series, at), v in rows.items() if series == "line1.ae_min")
    counted = sum(
        sums.effect_ns for (_, at), sums in hours.items() if at + 3_600 * NS <= last + 60 * NS
    )
    assert minutes * 60 * NS >= counted - 1


def test_twenty_minutes_delivered_again_change_nothing(config):
    """Replay: a server that sends a stretch again, as values and as arrays."""
    plant = Plant(9)
    readings = list(plant.readings())
    again = [r for r in readings if 1_000 <= (r.time_ns - T0) // NS < 2_200]
    arrays = [
        Waveform(
            f"line1.pot{pot + 1:03d}.voltage",
            T0 + 1_000 * NS,
            NS,
            np.where(plant.bad[pot] | plant.absent[pot], np.nan, plant.volts[pot])[1_000:2_200],
        )
        for pot in range(POTS)
    ]
    cut = next(i for i, r in enumerate(readings) if r.time_ns >= T0 + 2_200 * NS)
    replayed = [*readings[:cut], *again, *arrays, *readings[cut:]]
    one = stream(config, readings, random.Random(1), restarts=False)
    two = stream(config, replayed, random.Random(1), restarts=False)
    assert two[0] == one[0]

    def without_late(events):
        return sorted(repr(e) for e in events if e["type"] != "late_samples")

    assert without_late(two[1]) == without_late(one[1])


# -- clock steps of the source ---------------------------------------------------------------


def stepped(at, step_s, seconds=5_400, high=()):
    """One pot whose source clock moves by ``step_s`` at a second; the rest of the line likewise."""
    for second in range(seconds):
        now = T0 + (second + (step_s if second >= at else 0)) * NS
        yield Sample("line1.current", now, 300.0 + second % 7)
        for pot in range(POTS):
            is_high = pot == 0 and any(first <= second < last for first, last in high)
            volt = (27.0 if is_high else 4.2) + 0.001 * ((second + pot) % 5)
            yield Sample(f"line1.pot{pot + 1:03d}.voltage", now, volt)


class SmallBatches(random.Random):
    """Batches of half a minute, as they come in quiet operation."""

    def choice(self, _sizes):
        return 30 * (POTS + 1)


def told(events, kind):
    return [event for event in events if event["type"] == kind]


def test_a_backward_step_doubles_neither_time_nor_effects_and_is_told(config):
    """Ten minutes back at second 3 000: what was accounted stays, the repetition is left out."""
    readings = list(stepped(3_000, -600, 5_800, high=[(2_700, 2_760), (3_300, 3_360)]))
    rows, events = stream(config, readings, SmallBatches(), restarts=False)
    ended = told(events, "effect_ended")
    assert [(event["start"] - T0) // NS for event in ended] == [2_700]
    assert ended[0]["net_s"] == 60
    hour = T0 + 1_200 * NS
    assert rows["line1.pot001.observed_s", hour] == 3_600
    assert rows["line1.pot001.ae_s", hour] == 60
    late = [event for event in told(events, "late_samples") if event["tag"] == "line1.pot001"]
    # All but the minute still open, which takes them in, and the last one accounted, whose
    # moments are known.
    assert sum(event["count"] for event in late) >= 600 - 2 * 60


def test_a_backward_step_within_the_lateness_keeps_the_higher_of_two_values(config):
    """Three seconds back in the middle of an effect of sixty seconds: 57 different moments."""
    readings = list(stepped(2_730, -3, high=[(2_700, 2_760)]))
    rows, events = stream(config, readings, random.Random(3), restarts=False)
    (ended,) = told(events, "effect_ended")
    assert ended["net_s"] == 57
    assert rows["line1.pot001.observed_s", T0 + 1_200 * NS] == 3_600


def test_a_forward_step_is_silence_in_which_an_effect_ends_after_a_minute_at_most(config):
    readings = list(stepped(2_730, 600, high=[(2_700, 2_730)]))
    rows, events = stream(config, readings, random.Random(4), restarts=False)
    (ended,) = told(events, "effect_ended")
    assert ended["reason"] == "ended_in_gap"
    assert (ended["net_s"], ended["est_s"]) == (29 + 5 + 60, 60)
    assert told(events, "gap")
    hour = T0 + 1_200 * NS
    # 600 s of silence less the hold of 4 s beyond the last period; a minute of it is estimated.
    assert rows["line1.pot002.observed_s", hour] == 3_600 - 596
    assert rows["line1.pot001.observed_s", hour] == 3_600 - 596 + 60

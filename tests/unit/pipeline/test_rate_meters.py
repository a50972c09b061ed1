"""The agent's meters give the same rows for any split of the readings into steps and restarts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent import factor_sets
from edge_agent.config import AgentConfig
from edge_agent.pipeline import Pipeline
from edge_agent.readings import Sample

NS = 10**9
T0 = 1_790_784_000 * NS
FACTORS = factor_sets.find("cets-ag-02.01-v01-2024")


def plant():
    tags = [
        {"id": "feed", "address": 0, "type": "float32", "unit": "t/h", "range": [0, 100]},
        {
            "id": "total",
            "address": 2,
            "type": "uint32",
            "unit": "kg",
            "totaliser": {"modulus": 5000},
        },
    ]
    device = {"id": "d", "driver": "modbus", "host": "127.0.0.1", "unit": 1, "interval_s": 30}
    return AgentConfig.model_validate(
        {
            "site": "cm-001",
            "agent": "gw-01",
            "state_dir": "state",
            "keys": {"signing": "a.pem", "gateway": ["g.pem"]},
            "factor_set": FACTORS.id,
            "sector": "cement",
            "time": {"source": "device", "lateness_s": 0},
            "devices": [{**device, "tags": tags}],
            "meters": [
                {"id": "belt", "tag": "feed", "role": "material"},
                {"id": "scale", "tag": "total", "role": "material"},
            ],
        }
    )


CONFIG = plant()


def rows(pieces):
    return {
        (record.series, record.time_ns): record.value
        for columns in pieces
        for record in columns.records()
    }


def readings(values):
    out = []
    for step, value in enumerate(values):
        if value is not None:
            out.append(Sample("feed", T0 + step * 60 * NS, value))
        out.append(Sample("total", T0 + step * 60 * NS, step * 37 % 5000))
    return out


def run(samples, minutes, edges, *, restart):
    """Rows of all steps together; a step is fed up to an edge and accounted there."""
    pipeline, found = Pipeline(CONFIG, FACTORS), {}
    for edge in (*edges, minutes + 60):
        due = [one for one in samples if one.time_ns < T0 + edge * 60 * NS]
        samples = samples[len(due) :]
        pipeline.feed(due, 2**62)
        new = rows(pipeline.advance(T0 + edge * 60 * NS).pieces)
        assert not found.keys() & new.keys()
        found |= new
        if restart:
            state = pipeline.dump()
            pipeline = Pipeline(CONFIG, FACTORS)
            pipeline.restore(state)
    return found


@given(
    st.lists(st.none() | st.floats(0, 100), min_size=130, max_size=260),
    st.sets(st.integers(1, 250), max_size=5),
    st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_split_and_restart_gives_the_same_rows(values, cuts, restart):
    values = [1.0, *values]
    samples, minutes = readings(values), len(values)
    whole = run(samples, minutes, [], restart=False)
    edges = sorted(cut for cut in cuts if cut < minutes)
    # A totaliser ships the last reading of each minute and of each step; readings are minutely here.
    assert run(samples, minutes, edges, restart=restart) == whole


def test_an_even_feed_gives_its_hourly_amount_and_full_cover():
    found = run(readings([60.0] * 121), 121, [], restart=False)
    assert found["belt.amount", T0] == pytest.approx(60.0)
    assert found["belt.covered_s", T0] == 3600.0
    assert found["belt.rate", T0] == 60.0

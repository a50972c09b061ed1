"""Batches: what is signed is what is verified, and an agent makes nothing that is refused."""

import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import errors
from edge_agent.readings import GOOD, Columns, Quality, Reason, Severity
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import batch_rules
from edge_agent.wire.batch import ClockState

SITE, AGENT = "al-001", "gw-01"
T0 = 1_767_196_800_000_000_000
MS = 10**6

names = st.from_regex(r"[a-z0-9_.-]{1,12}(/[a-z0-9_.-]{1,12}){0,2}", fullmatch=True)
clean = st.text(
    st.characters(exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")), max_size=8
).map(lambda text: unicodedata.normalize("NFC", text))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
positive_floats = st.floats(allow_nan=False, allow_infinity=False).filter(lambda v: v != 0)


@st.composite
def batches(draw):
    """Fields of any batch that an agent may make; row times with millisecond resolution."""
    series = tuple(draw(st.lists(names, min_size=1, max_size=5, unique=True)))
    row = st.tuples(
        st.integers(0, len(series) - 1),
        st.integers(0, 86_400_000).map(lambda ms: T0 + ms * MS),
        numbers,
        st.sampled_from([int(GOOD), 24, 40, 63]),
    ) | st.tuples(
        st.integers(0, len(series) - 1),
        st.integers(0, 86_400_000).map(lambda ms: T0 + ms * MS),
        st.none(),
        st.sampled_from([int(Quality.of(Severity.BAD, reason)) for reason in Reason]),
    )
    rows = draw(st.lists(row, max_size=20))
    columns = Columns(series, *map(list, zip(*rows, strict=True))) if rows else Columns(series)
    event = st.builds(
        lambda kind, t, text, number: {"t": t, "type": kind, "reason": text, "n": number},
        st.sampled_from(sorted(batch_rules.EVENT_TYPES)),
        st.integers(0, 2**63 - 1),
        clean,
        st.integers(-(2**63), 2**63 - 1) | positive_floats,
    )
    return {
        "seq": draw(st.integers(1, 2**53 - 1)),
        "prev": draw(st.binary(min_size=32, max_size=32)),
        "first_ns": T0,
        "last_ns": T0 + 86_400_000 * MS,
        "clock": ClockState("ptp", draw(st.booleans()), draw(st.integers(-999, 999)), 5, 2),
        "columns": columns,
        "events": tuple(draw(st.lists(event, max_size=4))),
        "legal_sha256": draw(st.none() | st.binary(min_size=32, max_size=32)),
        "log": draw(
            st.none() | st.tuples(st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32))
        ),
    }


@given(fields=batches())
def test_any_batch_comes_back_as_it_was_signed(fields, make_batch, signer, ring):
    batch = make_batch(**fields)
    raw = wire_batch.sign(batch, signer)
    verified = wire_batch.verify(raw, SITE, AGENT, ring)
    assert verified.flags == ()
    assert verified.sha256 == hashlib.sha256(raw).digest()
    assert list(verified.batch.columns.records()) == list(batch.columns.records())
    got = [type(value) for value in verified.batch.columns.value]
    assert got == [type(value) for value in batch.columns.value]
    for name in fields.keys() - {"columns"}:
        assert getattr(verified.batch, name) == fields[name], name


@given(fields=batches())
def test_the_same_batch_gives_the_same_bytes(fields, make_batch, signer):
    assert wire_batch.sign(make_batch(**fields), signer) == wire_batch.sign(
        make_batch(**fields), signer
    )


def test_row_times_keep_milliseconds(make_batch, signer, ring):
    columns = Columns(("a",), [0, 0], [T0 + 1_999_999, T0 + 5_000_001], [1, 2], [0, 0])
    verified = wire_batch.verify(
        wire_batch.sign(make_batch(columns=columns), signer), SITE, AGENT, ring
    )
    assert verified.batch.columns.time_ns == [T0 + 1_000_000, T0 + 5_000_000]


def test_a_measured_negative_zero_is_sent_as_zero(make_batch, signer, ring):
    columns = Columns(("a",), [0], [T0], [-0.0], [0])
    verified = wire_batch.verify(
        wire_batch.sign(make_batch(columns=columns), signer), SITE, AGENT, ring
    )
    assert str(verified.batch.columns.value) == "[0.0]"


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": "NoAnswer: line 1\nline 2"},
        {"reason": "BadAnswer: \x00\x1b[2J"},
        {"reason": "server says e\u0301"},
        {"reason": "server says \u202e"},
        {"ova_vs": -0.0},
        {"net_s": float("nan")},
        {"deep": [[[[[[1]]]]]]},
        {"big": 2**64},
    ],
    ids=["line break", "control", "not NFC", "direction", "-0.0", "NaN", "deep", "65 bits"],
)
def test_an_event_that_the_gateway_would_refuse_is_never_sent_as_it_is(
    fields, make_batch, signer, ring
):
    # A signed batch that the gateway refuses stops the plant's chain for ever.
    batch = make_batch(events=({"t": T0, "type": "device_state", **fields},))
    try:
        raw = wire_batch.sign(batch, signer)
    except errors.EvidenceError:
        return
    assert wire_batch.verify(raw, SITE, AGENT, ring).flags == ()


@pytest.mark.parametrize(
    "event", [{"t": T0, "type": "party"}, {"type": "gap"}, {"t": 1.5, "type": "gap"}]
)
def test_an_event_outside_the_closed_list_makes_no_batch(event, make_batch):
    with pytest.raises(errors.BadProfile):
        wire_batch.payload(make_batch(events=(event,)))


def test_more_events_than_a_batch_holds_make_no_batch(make_batch):
    event = {"t": T0, "type": "gap"}
    with pytest.raises(errors.BadProfile):
        wire_batch.payload(make_batch(events=(event,) * 1_025))

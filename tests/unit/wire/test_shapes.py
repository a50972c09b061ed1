"""Reading by shape finds what reading in full finds, whatever the bytes."""

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import BadProfile
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, shapes
from edge_agent.wire.shapes import Shapes

SERIES = [f"line1.pot{n:03d}.v" for n in range(30)]


def fields(**changed):
    base = {
        "v": 1, "site": "al-001", "agent": "gw-01", "seq": 7, "prev": bytes(32), "boot": bytes(16),
        "t0": 1_790_784_000 * 10**9, "t1": 1_790_784_060 * 10**9, "mono": [5, 6],
        "clock": {"src": "ntp", "sync": True, "off": 1, "err": 2, "steps": 0},
        "config": bytes(32), "sw": "edge-agent/0.1.0", "lrs": bytes(32), "log": [9, bytes(32)],
        "series": SERIES, "s": list(range(30)), "dt": [3] + [0] * 29,
        "x": [4.25 + n / 64 for n in range(30)], "q": [0] * 30, "events": [],
    }  # fmt: skip
    return base | changed


def outcome(read, encoded):
    try:
        return read(encoded)
    except BadProfile:
        return "refused"


def filled():
    reader = Shapes()
    reader.read(cbor.encode(fields()))
    return reader


CHANGES = {
    "nothing": {},
    "other values": {"x": [float(n) for n in range(30)], "seq": 8},
    "an integer beyond 64 bits": {"x": [2**63] + [1.0] * 29},
    "the greatest integer": {"x": [2**63 - 1] + [1.0] * 29},
    "not a number": {"x": [float("nan")] * 30},
    "infinity": {"x": [float("inf")] + [1.0] * 29},
    "negative zero": {"x": [-0.0] + [1.0] * 29},
    "a bool among the values": {"x": [True] + [1.0] * 29},
    "a text among the values": {"x": ["1"] + [1.0] * 29},
    "a missing value of good quality": {"x": [None] + [1.0] * 29},
    "a missing value of bad quality": {"x": [None] + [1.0] * 29, "q": [0x24] + [0] * 29},
    "a value too few": {"x": [1.0] * 29},
    "values are no list": {"x": {"a": 1}},
    "other names": {"series": [*SERIES[:-1], "other"]},
    "rows in another order": {"s": list(range(29, -1, -1))},
    "other times": {"dt": [0, *([1] * 29)]},
    "times behind the end": {"t1": 1_790_784_000 * 10**9},
    "an event": {"events": [{"t": 1, "type": "gap"}]},
    "an unknown event": {"events": [{"t": 1, "type": "nothing"}]},
    "no head of the log": {"log": None},
    "a wrong head of the log": {"log": [0, bytes(32)]},
    "seq is a bool": {"seq": True},
    "seq is a float": {"seq": 7.0},
    "software with a control character": {"sw": "a\nb"},
    "a clock source that is not NFC": {
        "clock": {"src": "e\u0301", "sync": True, "off": 1, "err": 2, "steps": 0}
    },
    "a clock without steps": {"clock": {"src": "ntp", "sync": True, "off": 1, "err": 2}},
    "a float in the clock": {
        "clock": {"src": "ntp", "sync": True, "off": 1.5, "err": 2, "steps": 0}
    },
    "registers": {"r": [1]},
    "an unknown key": {"zzzz": 1},
    "a short prev": {"prev": bytes(31)},
    "mono of three": {"mono": [1, 2, 3]},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_as_by_reading_in_full(name):
    encoded = cbor.encode(fields(**CHANGES[name]))
    for _ in range(2):
        reader = filled()
        assert repr(outcome(reader.read, encoded)) == repr(outcome(wire_batch.read, encoded))


def test_the_usual_batch_is_not_read_in_full(monkeypatch):
    reader = filled()
    expected = wire_batch.read(cbor.encode(fields(x=[1.5] * 30, seq=9)))
    monkeypatch.setattr(shapes.batch, "read", lambda _: pytest.fail("read in full"))
    assert reader.read(cbor.encode(fields(x=[1.5] * 30, seq=9))) == expected


def test_maps_in_another_order_are_refused():
    plain = fields()
    clock = dict(sorted(plain["clock"].items(), reverse=True))
    order = sorted(plain, key=lambda key: (len(key), key))
    encoded = cbor2.dumps({key: clock if key == "clock" else plain[key] for key in order})
    assert outcome(filled().read, encoded) == "refused"
    at = cbor.encode(plain).index(b"\x62t0")
    swapped = bytearray(cbor.encode(plain))
    swapped[at : at + 12], swapped[at + 12 : at + 24] = (
        swapped[at + 12 : at + 24],
        swapped[at : at + 12],
    )
    assert outcome(filled().read, bytes(swapped)) == "refused"


def test_every_bit_flip_is_found_as_by_reading_in_full():
    genuine, reader = cbor.encode(fields()), filled()
    for place in range(len(genuine)):
        for bit in range(8):
            flipped = bytearray(genuine)
            flipped[place] ^= 1 << bit
            flipped = bytes(flipped)
            assert repr(outcome(reader.read, flipped)) == repr(outcome(wire_batch.read, flipped))


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.booleans()),
        min_size=30,
        max_size=30,
    ),
    st.binary(max_size=6),
    st.integers(0, 900),
)
def test_any_values_and_splices_are_found_as_by_reading_in_full(values, splice, place):
    encoded = cbor.encode(fields(x=values))
    for payload in (encoded, encoded[:place] + splice + encoded[place + len(splice) :]):
        assert repr(outcome(filled().read, payload)) == repr(outcome(wire_batch.read, payload))


def test_shapes_take_bounded_room():
    reader = Shapes(max_bytes=20_000)
    for number in range(50):
        names = [f"line{number}.pot{n:03d}" for n in range(30)]
        reader.read(cbor.encode(fields(series=names)))
        assert reader._bytes == sum(one.room for one in reader._known.values()) <= 20_000
    assert 1 < len(reader._known) < 20
    for number in range(5):
        wide = fields(s=list(range(30)), q=[number] * 30)
        reader.read(cbor.encode(wide))
    assert reader._bytes == sum(one.room for one in reader._known.values())


def test_a_signed_batch_is_verified_alike(signer, ring):
    raw = cose.sign(cose.MessageType.BATCH, cbor.encode(fields()), signer)
    full = wire_batch.verify(raw, "al-001", "gw-01", ring)
    assert wire_batch.verify(raw, "al-001", "gw-01", ring, read=filled().read) == full

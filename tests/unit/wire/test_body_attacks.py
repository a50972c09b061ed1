"""Rows of trust.md section 5 that concern the payload: refused, or kept with a flag, no rows."""

import time
import tracemalloc

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent import errors
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import batch_rules, cbor, cose
from edge_agent.wire.cose import MessageType

SITE, AGENT = "al-001", "gw-01"
T0 = 1_767_196_800_000_000_000
GAP = {"t": T0, "type": "gap"}


@pytest.fixture
def receive(ring, signer):
    """What becomes of a payload that the agent itself signed."""

    def verify(payload):
        raw = cose.sign(MessageType.BATCH, payload, signer)
        return wire_batch.verify(raw, SITE, AGENT, ring)

    return verify


@pytest.fixture
def flags(receive, make_fields):
    """The flags of a batch with changed fields, which must then have no rows and no events."""

    def verify(**changes):
        verified = receive(cbor.encode(make_fields(**changes)))
        if verified.flags:
            assert len(verified.batch.columns) == 0
            assert not verified.batch.events
            assert verified.batch.seq == 1
        return verified.flags

    return verify


@pytest.fixture
def refused(receive):
    def verify(payload):
        with pytest.raises(errors.BadProfile):
            receive(payload)

    return verify


def spliced(fields, name, encoded):
    """The payload with the value of one key replaced by given bytes."""
    mark = b"\x78\x1asplice-here-splice-here-xx"
    payload = cbor.encode(fields | {name: mark[2:].decode()})
    assert payload.count(mark) == 1
    return payload.replace(mark, encoded)


def test_splicing_the_same_value_in_changes_nothing(receive, make_fields):
    payload = spliced(make_fields(), "seq", b"\x01")
    assert payload == cbor.encode(make_fields())
    assert receive(payload).flags == ()


@pytest.mark.parametrize(
    "seq",
    [
        b"\x00",
        b"\x20",
        cbor2.dumps(2**53),
        cbor2.dumps(2**63),
        cbor2.dumps(2**64 - 1),
        b"\xc2\x41\x01",
        b"\xc2\x49\x01" + bytes(8),
        b"\xf5",
        b"\xf9\x3c\x00",
        b"\x611",
        b"\xf6",
    ],
)
def test_a_number_that_no_batch_can_have_is_refused(seq, refused, make_fields):  # row 21
    refused(spliced(make_fields(), "seq", seq))


def test_the_highest_number_is_accepted(receive, make_fields):
    assert receive(cbor.encode(make_fields(seq=2**53 - 1))).batch.seq == 2**53 - 1


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": True},
        {"site": "AL-001"},
        {"site": "a" * 33},
        {"agent": "gw/01"},
        {"agent": ""},
        {"prev": bytes(31)},
        {"prev": "0" * 32},
        {"boot": bytes(17)},
        {"t0": -1},
        {"t0": T0 + 60_000_000_001},
        {"t1": T0 + 24 * 3600 * 10**9 + 1},
        {"t1": 2**63},
        {"t0": True},
        {"config": bytes(33)},
        {"config": None},
    ],
)
def test_a_chain_field_out_of_its_range_is_refused(changes, refused, make_fields):
    refused(cbor.encode(make_fields(**changes)))


@pytest.mark.parametrize(
    "name", ["v", "site", "agent", "seq", "prev", "boot", "t0", "t1", "config"]
)
def test_a_missing_chain_field_is_refused(name, refused, make_fields):
    refused(cbor.encode(make_fields(drop=[name])))


@pytest.mark.parametrize("payload", [[], "text", 7, None, [1, 2], True])
def test_a_payload_that_is_no_map_is_refused(payload, refused):
    refused(cbor.encode(payload))


NOT_FINITE = {
    "nan half": b"\xf9\x7e\x00",
    "inf half": b"\xf9\x7c\x00",
    "-inf half": b"\xf9\xfc\x00",
}
NOT_FINITE_LONG = {
    "nan single": b"\xfa\x7f\xc0\x00\x00",
    "inf single": b"\xfa\x7f\x80\x00\x00",
    "-inf single": b"\xfa\xff\x80\x00\x00",
    "nan double": b"\xfb\x7f\xf8" + bytes(6),
    "inf double": b"\xfb\x7f\xf0" + bytes(6),
    "-inf double": b"\xfb\xff\xf0" + bytes(6),
    "nan with a message": b"\xf9\x7e\x01",
}


@pytest.mark.parametrize("encoded", NOT_FINITE.values(), ids=NOT_FINITE)
def test_a_value_that_is_not_finite_makes_the_rows_unusable(
    encoded, receive, make_fields
):  # row 50
    verified = receive(spliced(make_fields(), "x", b"\x82\xf9\x44\x40" + encoded))
    assert verified.flags == ("body_nonfinite",)
    assert len(verified.batch.columns) == 0


@pytest.mark.parametrize("encoded", NOT_FINITE_LONG.values(), ids=NOT_FINITE_LONG)
def test_a_value_that_is_not_finite_and_not_shortest_is_refused(encoded, refused, make_fields):
    refused(spliced(make_fields(), "x", b"\x82\xf9\x44\x40" + encoded))  # row 50


@pytest.mark.parametrize("name", ["seq", "t0", "t1", "v"])
@pytest.mark.parametrize(
    "encoded", (NOT_FINITE | NOT_FINITE_LONG).values(), ids=NOT_FINITE | NOT_FINITE_LONG
)
def test_a_chain_field_that_is_not_finite_is_refused(name, encoded, refused, make_fields):
    refused(spliced(make_fields(), name, encoded))  # row 50


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_event_with_a_number_that_is_not_finite_is_flagged(value, flags):  # row 50
    assert flags(events=[GAP | {"net_s": value}]) == ("body_nonfinite",)


def test_a_clock_or_quality_that_is_not_finite_is_flagged(flags, make_fields):  # row 50
    clock = make_fields()["clock"]
    assert flags(clock=clock | {"off": float("nan")}) == ("body_schema",)
    assert flags(q=[0, float("inf")]) == ("body_schema",)


@pytest.mark.parametrize(
    "encoded",
    [b"\xf9\x80\x00", b"\xfa\x80\x00\x00\x00", b"\xfb\x80" + bytes(7)]
    + [b"\xfa\x3f\x80\x00\x00", b"\xfb\x3f\xf0" + bytes(6), b"\xfb\x40\x09\x21\xfb\x40" + bytes(3)],
    ids=["-0 half", "-0 single", "-0 double", "1.0 single", "1.0 double", "single as double"],
)
def test_negative_zero_and_floats_not_in_shortest_form_are_refused(
    encoded, refused, make_fields
):  # row 51
    refused(spliced(make_fields(), "x", b"\x82\xf9\x44\x40" + encoded))


@pytest.mark.parametrize("value", [5e-324, 2.2e-308, 1e308, -1.7976931348623157e308, 6e-8])
def test_subnormal_and_huge_floats_pass_unchanged(value, receive, make_fields):  # row 51
    verified = receive(cbor.encode(make_fields(x=[value, -3])))
    assert verified.flags == ()
    assert verified.batch.columns.value == [value, -3]


@pytest.mark.parametrize("encoded", [b"\x18\x01", b"\x19\x00\x01", b"\x1b" + bytes(7) + b"\x01"])
def test_integers_not_in_shortest_form_are_refused(encoded, refused, make_fields):
    refused(spliced(make_fields(), "seq", encoded))


BAD_ROWS = {
    "unequal s": {"s": [0]},
    "unequal dt": {"dt": [0, 0, 0]},
    "unequal x": {"x": [4.25]},
    "unequal q": {"q": []},
    "index beyond": {"s": [0, 2]},
    "index negative": {"s": [-1, 1]},
    "index a float": {"s": [0.0, 1]},
    "index a bool": {"s": [False, 1]},
    "quality beyond": {"q": [0, 64]},
    "quality negative": {"q": [0, -1]},
    "value a text": {"x": ["4", 1]},
    "value a bool": {"x": [True, 1]},
    "null but good": {"x": [None, 1]},
    "null but uncertain": {"x": [None, 1], "q": [24, 0]},
    "series no list": {"series": {}},
    "mono of three": {"mono": [1, 2, 3]},
    "mono of bools": {"mono": [True, False]},
    "software no text": {"sw": 3},
    "clock empty": {"clock": {}},
    "lrs short": {"lrs": bytes(31)},
    "log a number": {"log": 1},
    "log of nothing": {"log": [0, bytes(32)]},
    "log too large": {"log": [2**63, bytes(32)]},
    "log with a short root": {"log": [1, bytes(31)]},
    "log of three": {"log": [1, bytes(32), 1]},
    "log size true": {"log": [True, bytes(32)]},
    "an unknown key": {"zz": 1},
    "events no list": {"events": {}},
    "an event no map": {"events": [1]},
    "an event without time": {"events": [{"type": "gap"}]},
    "an event of unknown type": {"events": [{"t": T0, "type": "party"}]},
    "an event type of a list": {"events": [{"t": T0, "type": ["gap"]}]},
    "an event type of a map": {"events": [{"t": T0, "type": {"gap": 1}}]},
    "an event time a float": {"events": [{"t": 1.5, "type": "gap"}]},
    "too many events": {"events": [GAP] * 1_025},
}


@pytest.mark.parametrize("changes", BAD_ROWS.values(), ids=BAD_ROWS)
def test_an_authentic_batch_with_a_broken_body_is_kept_without_rows(changes, flags):  # row 52
    assert flags(**changes) == ("body_schema",)


@pytest.mark.parametrize("name", ["mono", "clock", "sw", "series", "s", "dt", "x", "q", "events"])
def test_an_authentic_batch_without_a_body_field_is_kept_without_rows(name, receive, make_fields):
    assert receive(cbor.encode(make_fields(drop=[name]))).flags == ("body_schema",)


def test_a_null_of_bad_quality_is_a_row(receive, make_fields):
    verified = receive(cbor.encode(make_fields(x=[None, 7], q=[36, 0])))
    assert verified.flags == ()
    assert verified.batch.columns.value == [None, 7]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64 - 1])
def test_a_value_beyond_64_bits_signed_is_flagged(value, flags):
    assert flags(x=[4.25, value]) == ("body_range",)


def test_the_extreme_64_bit_values_pass(flags):
    assert flags(x=[2**63 - 1, -(2**63)]) == ()


@pytest.mark.parametrize(
    "steps", [[0, 60_001], [-1, 0], [60_000, -60_001], [0, 2**62], [-(2**63), 0], [86_400_001, 0]]
)
def test_rows_that_walk_outside_the_batch_s_time_are_flagged(steps, flags):  # row 53
    assert flags(dt=steps) == ("body_time",)


def test_rows_that_walk_back_inside_the_batch_s_time_pass(flags):
    assert flags(dt=[60_000, -60_000]) == ()


@pytest.mark.parametrize(
    "item",
    [
        b"\x9b\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\x9a\xff\xff\xff\xff",
        b"\xbb\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\x5b\x80" + bytes(7),
        b"\x7b\x7f" + b"\xff" * 7,
        b"\x5a\xff\xff\xff\xff",
    ],
    ids=["array 2^32", "array 2^32-1", "map 2^32", "bytes 2^63", "text 2^63-1", "bytes 2^32-1"],
)
def test_a_head_that_claims_more_than_the_message_is_refused_before_allocation(
    item, make_fields, signer, ring
):  # row 55
    payload = spliced(make_fields(), "x", item + cbor2.dumps(bytes(100_000)))
    raw = cose.sign(MessageType.BATCH, payload, signer)
    tracemalloc.start()
    try:
        with pytest.raises(errors.BadProfile):
            wire_batch.verify(raw, SITE, AGENT, ring)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(raw)


@pytest.mark.parametrize("opening", [b"\x81", b"\xa1\x61a", b"\x9f", b"\xd2", b"\xc0\x81"])
def test_deep_nesting_is_refused_quickly_and_without_recursion(opening, refused):  # row 56
    payload = opening * 10_000 + b"\x00"
    took = []
    for _ in range(5):
        begin = time.perf_counter()
        refused(payload)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.01


def test_six_levels_pass_and_seven_do_not(flags, refused, make_fields):
    deep = make_fields(events=[GAP | {"a": [[[1]]]}])
    assert flags(events=deep["events"]) == ()
    refused(cbor.encode(make_fields(events=[GAP | {"a": [[[[1]]]]}])))


TAGS = {
    "date text": b"\xc0\x74" + b"2013-03-21T20:04:00Z",
    "date number": b"\xc1\x00",
    "bignum": b"\xc2\x49\x01" + bytes(8),
    "negative bignum": b"\xc3\x41\x01",
    "decimal with a huge exponent": b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01",
    "bigfloat": b"\xc5\x82\x20\x03",
    "expected base64": b"\xd7\x41\x00",
    "embedded": b"\xd8\x18\x41\x00",
    "rational": b"\xd8\x1e\x82\x01\x02",
    "shared": b"\xd8\x1c\x81\xd8\x1d\x00",
    "uri": b"\xd8\x20\x61a",
    "regex": b"\xd8\x23\x62(a",
    "mime": b"\xd8\x24\x61a",
    "uuid": b"\xd8\x25\x50" + bytes(16),
    "string reference": b"\xd9\x01\x00\x81\x61a",
    "ip": b"\xd9\x01\x04\x44\x7f\x00\x00\x01",
    "set": b"\xd9\x01\x02\x81\x01",
    "complex": b"\xd9\xa7\xf8\x82\x01\x02",
    "self-described": b"\xd9\xd9\xf7\x00",
    "unassigned": b"\xda\x7f\xff\xff\xff\x00",
    "the largest": b"\xdb" + b"\xff" * 8 + b"\x00",
    "undefined": b"\xf7",
    "simple 16": b"\xf0",
    "simple 255": b"\xf8\xff",
    "an indefinite array": b"\x9f\x01\xff",
    "an indefinite map": b"\xbf\xff",
    "an indefinite text": b"\x7f\x61a\xff",
    "indefinite bytes": b"\x5f\x41a\xff",
    "a stray break": b"\xff",
}


@pytest.mark.parametrize("item", TAGS.values(), ids=TAGS)
def test_tags_and_other_items_outside_the_profile_are_refused(item, refused, make_fields):
    for name in ("sw", "x", "seq", "zz"):  # row 58
        refused(spliced(make_fields(), name, item))


def test_a_tag_around_the_payload_is_refused(refused, make_fields):  # row 58
    refused(b"\xd9\xd9\xf7" + cbor.encode(make_fields()))


def test_a_decimal_of_a_billion_digits_constructs_nothing():  # row 58
    with pytest.raises(errors.BadProfile, match="tag"):
        cbor.decode(b"\xc4\x82\x1a\x3b\x9a\xca\x00\x01")


def as_map(pairs):
    return bytes([0xA0 + len(pairs)]) + b"".join(key + value for key, value in pairs)


@pytest.mark.parametrize(
    "item",
    [
        as_map([(b"\x61a", b"\x01"), (b"\x61a", b"\x02")]),
        as_map([(b"\x61b", b"\x01"), (b"\x61a", b"\x02")]),
        as_map([(b"\x62aa", b"\x01"), (b"\x61b", b"\x02")]),
        as_map([(b"\x0a", b"\x01"), (b"\x20", b"\x02"), (b"\x18\x18", b"\x03")]),
        as_map([(b"\x0a", b"\x01"), (b"\x18\x18", b"\x02"), (b"\x20", b"\x03")]),
        as_map([(b"\x41a", b"\x01")]),
        as_map([(b"\xf5", b"\x01")]),
        as_map([(b"\x80", b"\x01")]),
    ],
    ids=[
        "double",
        "unsorted",
        "long first",
        "mixed by length",
        "mixed bytewise",
        "bytes",
        "bool",
        "list",
    ],
)
def test_maps_with_double_unsorted_or_other_keys_are_refused(item, refused, make_fields):  # row 59
    refused(spliced(make_fields(), "zz", item))
    with pytest.raises(errors.BadProfile):
        cbor.decode(item)


def test_double_or_unsorted_keys_of_the_payload_itself_are_refused(refused, make_fields):  # row 59
    payload = cbor.encode(make_fields())
    first = cbor2.dumps("q") + cbor2.dumps([0, 0])
    assert payload[1 : 1 + len(first)] == first
    refused(bytes([payload[0] + 1]) + first + payload[1:])
    refused(payload[:1] + payload[1 + len(first) :] + first)


@pytest.mark.parametrize(
    "content",
    [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf4\x90\x80\x80"]
    + [b"a\x00b", b"a\nb", b"\x1b[2J", b"\x7f"]
    + [text.encode() for text in ("\u200f", "\u202eevil", "\ufeff", "e\u0301", "\u212b", "\u2028")],
)
def test_text_that_is_not_clean_is_refused(content, refused, make_fields):  # row 60
    item = bytes([0x60 + len(content)]) + content
    refused(spliced(make_fields(), "sw", item))
    refused(spliced(make_fields(), "series", b"\x82\x61a" + item))
    refused(spliced(make_fields(), "events", as_map([(item, b"\x01")])))


def test_clean_text_of_any_script_passes(flags):
    assert flags(events=[GAP | {"reason": "槽电压缺失 Å é"}]) == ()


@pytest.mark.parametrize(
    "name",
    ["a b", "a,b", "a=b", 'a"b', "a\\b", "a'b", "A", "", "/a", "a/", "a//b", "é", "a" * 65]
    + ["a;b", "a:b", "a%b", "a$b", "a{b", "a*", "../a" * 60, "/".join(["a" * 60] * 4)],
)
def test_a_series_name_with_separators_is_flagged(name, flags):  # row 61
    assert flags(series=["line.kwh", name]) == ("body_names",)


def test_a_series_that_stands_twice_is_flagged(flags):  # row 52
    (flag,) = flags(series=["line.kwh", "line.kwh"])
    assert flag.startswith("body_")


def test_too_many_series_are_flagged(flags):
    assert flags(series=[f"s{n}" for n in range(4_097)]) == ("body_names",)


@given(st.text(max_size=12) | st.from_regex(r"[a-z0-9_./-]{0,12}", fullmatch=True))
def test_an_accepted_name_holds_no_separator_of_any_store(name):  # row 61
    if batch_rules.valid_series_name(name):
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_./-")
        assert len(f"{name} v=1i 1\n".splitlines()) == 1
        assert all(name.split("/"))


def plain_values():
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**64), 2**64 - 1)
        | st.floats(width=16)
        | st.text("ab\u00e9\u200f", max_size=3)
        | st.binary(max_size=3)
    )
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["t", "type", "src", "é"]), inner, max_size=3)
        ),
        max_leaves=6,
    )


@given(data=st.data())
def test_an_authentic_payload_of_any_shape_is_accepted_flagged_or_refused(
    data, make_fields, signer, ring
):
    names = data.draw(st.lists(st.sampled_from([*make_fields(), "lrs", "log", "r"]), max_size=3))
    fields = make_fields() | {name: data.draw(plain_values()) for name in names}
    raw = cose.sign(MessageType.BATCH, cbor.encode(fields), signer)
    try:
        verified = wire_batch.verify(raw, SITE, AGENT, ring)
    except errors.EvidenceError:
        return
    assert verified.flags or verified.batch.software == fields["sw"]

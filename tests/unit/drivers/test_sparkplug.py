"""Sparkplug B: payloads, the state of a node, and plain MQTT values."""

import contextlib
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.clock import SystemClock
from edge_agent.drivers.mqtt import MqttDriver
from edge_agent.drivers.mqtt_config import MqttConfig
from edge_agent.drivers.mqtt_link import Message
from edge_agent.drivers.mqtt_values import at, instant_ns, loads, parse_path, plain_number
from edge_agent.drivers.sparkplug_payload import MAX_PAYLOAD, decode, rebirth_request, value_of
from edge_agent.drivers.sparkplug_state import KINDS, Node
from edge_agent.errors import BadAnswer
from edge_agent.readings import Quality
from simulators.sparkplug_node import SparkplugNode, field, metric, payload

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT / "tests" / "cases" / "mqtt"


def one(**fields):
    (found,) = decode(payload([metric(**fields)], seq=3, time_ms=5)).metrics
    return found


# Two's complement as the specification asks for, and the wider sign some clients send.
@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int8", -7, -7),
        ("int16", -32_768, -32_768),
        ("int32", -123_456, -123_456),
        ("int64", -(2**63), -(2**63)),
        ("uint8", 255, 255),
        ("uint16", 65_535, 65_535),
        ("uint32", 4_294_967_295, 4_294_967_295),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("double", 1.5e300, 1.5e300),
        ("float", 0.25, 0.25),
        ("boolean", True, 1),
        ("string", "12", None),
        ("int32", None, None),
        ("uint8", 256, None),
        ("int16", 40_000, -25_536),
    ],
)
def test_a_metric_carries_the_number_of_its_datatype(kind, value, expected):
    found = one(name="m", kind=kind, value=value)
    assert value_of(found, found.datatype) == expected


def test_an_integer_too_large_for_its_datatype_is_none():
    found = one(name="m", kind="int32", value=70_000)
    assert value_of(found, 2) is None  # as an Int16


def test_a_payload_keeps_time_sequence_quality_and_history():
    raw = payload([metric(name="m", alias=4, kind="int8", value=1, historical=True, quality=192)],
                  seq=200, time_ms=1_790_000_000_123)  # fmt: skip
    found = decode(raw)
    assert (found.time_ms, found.seq) == (1_790_000_000_123, 200)
    (only,) = found.metrics
    assert (only.alias, only.is_historical, only.quality, only.time_ms) == (4, True, 192, None)


def test_a_rebirth_request_is_the_specifications_command():
    (only,) = decode(rebirth_request(77)).metrics
    assert (only.name, only.datatype, value_of(only, 11)) == ("Node Control/Rebirth", 11, 1)


@given(raw=st.binary(max_size=300))
def test_no_bytes_make_the_payload_decoder_fail_otherwise_than_by_bad_answer(raw):
    node = Node(is_online=True, datatypes={"": {"m": 3}}, aliases={1: ("", "m")})
    try:
        found = decode(raw)
    except BadAnswer:
        return
    for kind in KINDS:
        node.take(kind, "" if kind[0] == "N" else "d", found)


def test_a_payload_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(BadAnswer, match="larger"):
        decode(bytes(MAX_PAYLOAD + 1))


def test_a_deeply_nested_payload_is_skipped_as_unknown():
    inner = b""
    for _ in range(200):
        inner = field(9, inner)
    assert decode(field(2, field(8, inner))).metrics[0].raw is None


class Session:
    """The simulator's node, and what the state made of each of its messages."""

    def __init__(self):
        self.state = Node()
        self.outcomes = []
        self.sent = []
        self.sim = SparkplugNode("g", "n", self._take)

    def _take(self, topic, raw):
        _, _, kind, _, *device = topic.split("/")
        self.sent.append((kind, device[0] if device else "", decode(raw)))
        self.outcomes.append(self.state.take(*self.sent[-1]))

    def values(self, place=-1):
        updates = self.outcomes[place].updates
        return {(u.device, u.name): u.value for u in updates if u.name != "bdSeq"}


@pytest.fixture
def session():
    made = Session()
    made.sim.birth({"load": ("double", 1.5)})
    made.sim.birth({"total": ("uint64", 9_876_543_210), "power": ("float", 0.5)}, "meter")
    return made


def test_births_and_data_by_alias_give_values(session):
    assert session.values(1) == {("meter", "total"): 9_876_543_210, ("meter", "power"): 0.5}
    session.sim.report({"power": 2.25}, "meter")
    session.sim.report({"load": 3.5})
    assert session.values(-2) == {("meter", "power"): 2.25}
    assert session.values() == {("", "load"): 3.5}
    assert not any(outcome.rebirth for outcome in session.outcomes)


def test_the_sequence_goes_round_after_255(session):
    for number in range(600):
        session.sim.report({"load": number + 0.5})
    assert session.values() == {("", "load"): 599.5}


def test_after_a_gap_nothing_is_taken_until_the_node_is_born_again(session):
    session.sim.skip()
    session.sim.report({"load": 7.5})
    gap = session.outcomes[-1]
    assert (gap.updates, sorted(gap.died)) == ([], ["", "meter"])
    assert gap.rebirth == "seq 3 in NDATA, expected 2"
    session.sim.report({"load": 8.5})
    assert session.outcomes[-1].rebirth == "NDATA before NBIRTH"
    session.sim.birth({"load": ("double", 9.5)})
    assert session.values() == {("", "load"): 9.5}


def test_a_message_that_comes_twice_is_not_taken_twice(session):
    session.sim.report({"load": 7.5})
    again = session.state.take(*session.sent[-1])
    assert (again.updates, again.rebirth) == ([], "seq 2 in NDATA, expected 3")


def test_data_before_any_birth_asks_for_one():
    late = Session()
    late.sim._known["", "load"] = (1, "double")
    late.sim.report({"load": 1.5})
    assert late.outcomes[-1].rebirth == "NDATA before NBIRTH"


def test_an_alias_of_a_new_birth_does_not_mean_what_it_meant_before(session):
    session.sim.birth({"other": ("double", 4.5), "load": ("double", 1.5)})
    session.sim.report({"other": 5.5})
    assert session.values() == {("", "other"): 5.5}


def test_a_devices_data_after_the_nodes_new_birth_waits_for_the_devices(session):
    session.sim._known["meter", "power"] = (3, "float")
    known = dict(session.sim._known)
    session.sim.birth({"load": ("double", 1.5)})
    assert session.outcomes[-1].died == ["meter"]
    session.sim._known = known
    session.sim.report({"power": 2.5}, "meter")
    assert session.outcomes[-1].updates == []
    assert "before its birth" in session.outcomes[-1].rebirth


def test_an_unknown_alias_or_a_changed_datatype_asks_for_births(session):
    session.sim._known["", "ghost"] = (99, "double")
    session.sim.report({"ghost": 1.5})
    assert "is in no birth" in session.outcomes[-1].rebirth
    session.sim._send("NDATA", "", [metric(name="load", kind="int32", value=4)])
    assert "changed its datatype" in session.outcomes[-1].rebirth


def test_an_alias_of_the_node_is_not_valid_in_a_devices_message(session):
    session.sim.birth({"load": ("double", 2.5)}, "twin")  # the node has a load of its own, alias 1
    session.sim._known["twin", "stolen"] = (1, "double")
    session.sim.report({"stolen": 1.5}, "twin")
    assert session.outcomes[-1].updates == []


def test_a_death_of_the_session_ends_it_and_a_late_will_of_an_older_one_does_not(session):
    session.sim.birth({"load": ("double", 1.5)})
    session.sim.death(bd_seq=0)
    assert session.outcomes[-1].died == []
    session.sim.report({"load": 2.5})
    assert session.values() == {("", "load"): 2.5}
    session.sim.death()
    assert session.outcomes[-1].died == [""]


def test_a_devices_death_ends_the_device_only(session):
    session.sim.death("meter")
    assert session.outcomes[-1].died == ["meter"]
    session.sim.report({"load": 2.5})
    assert session.values() == {("", "load"): 2.5}


# --- plain values -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"12.5", 12.5), (b" -7\n", -7), (b"1e3", 1000.0), (True, 1), (2.5, 2.5), ("3.25", 3.25),
        (b"", None), (b"nan", None), (b"0x1F", None), (b"1,5", None), ("9" * 65, None),
        (b"\xff", None), (None, None), ([1], None), (math.inf, None), (2**64, None),
    ],
)  # fmt: skip
def test_a_number_is_a_number_and_nothing_else_is(raw, expected):
    got = plain_number(raw)
    assert got == expected
    assert type(got) is type(expected)


def test_a_path_leads_to_its_value_and_a_wrong_one_to_none():
    document = loads(b'{"data": {"power": [1.5, {"x": 2.5}]}}')
    assert at(document, parse_path("data.power[1].x")) == 2.5
    assert at(document, parse_path("data.power[0]")) == 1.5
    for path in ("data.power[2]", "data.none.x", "data[0]", "data.power.x"):
        assert at(document, parse_path(path)) is None
    assert at([[7]], parse_path("[0][0]")) == 7


@pytest.mark.parametrize("text", ["", ".a", "a.", "a..b", "a[", "a[x]", "a[1]b", "a]"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match="is no path"):
        parse_path(text)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b'{"a": NaN}', b"[" * 100_000, b"1" * 5000, b"\xff\xfe", bytes(300_000)]
)
def test_hostile_json_is_a_bad_answer(payload):
    with pytest.raises(BadAnswer):
        loads(payload)


@given(raw=st.binary(max_size=200))
def test_no_payload_makes_the_plain_decoder_fail_otherwise_than_by_bad_answer(raw):
    with contextlib.suppress(BadAnswer):
        plain_number(at(loads(raw), ("a",)))
    plain_number(raw)


def test_times_are_read_in_their_unit():
    assert instant_ns(1_790_000_000, "s") == 1_790_000_000 * 10**9
    assert instant_ns("1790000000123", "ms") == 1_790_000_000_123 * 10**6
    assert instant_ns("2026-09-21T22:13:20.123+08:00", "iso") == 1_790_000_000_123 * 10**6
    assert instant_ns("2026-09-21T22:13:20", "iso") is None
    assert instant_ns("yesterday", "iso") is None
    assert instant_ns(1e300, "s") is None


BASE = {
    "driver": "mqtt",
    "id": "m",
    "host": "h",
    "client_id": "c",
    "tags": [{"id": "t", "topic": "a/b"}],
}
METRIC = {"id": "t", "group": "g", "node": "n", "metric": "m"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tags": [{"id": "t"}]}, "are missing"),
        ({"tags": [{"id": "t", "topic": "a/#"}]}, "pattern"),
        ({"tags": [{**METRIC, "topic": "a"}]}, "either topic, or group"),
        ({"tags": [{**METRIC, "node": "a/b"}]}, "pattern"),
        ({"tags": [{**METRIC, "path": "a"}]}, "belongs to a topic"),
        ({"tags": [{"id": "t", "topic": "a", "time_path": "t"}]}, "needs path"),
        ({"tags": [{"id": "t", "topic": "a", "path": "a..b"}]}, "is no path"),
        ({"client_id": ""}, "pattern"),
        ({"qos": 2}, "Input should be 0 or 1"),
        ({"surprise": 1}, "Extra"),
    ],
)
def test_a_wrong_configuration_is_refused_and_says_what_would_be_right(changes, message):
    with pytest.raises(ValidationError, match=message):
        MqttConfig.model_validate({**BASE, **changes})


def test_no_local_path_leaves_with_the_configuration():
    secret = {"password_file": "a.pw", "tls": {"ca": "ca.pem", "cert": "c.pem", "key": "k.pem"}}
    text = json.dumps(MqttConfig.model_validate({**BASE, **secret}).model_dump(mode="json"))
    assert not any(path in text for path in ("a.pw", ".pem"))


def test_the_page_of_the_driver_shows_a_configuration_that_loads():
    page = (ROOT / "docs" / "drivers" / "mqtt.md").read_text(encoding="utf-8")
    (device,) = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["devices"]
    assert len(MqttConfig.model_validate(device).tags) == 4


class At(SystemClock):
    def utc_ns(self):
        return 1_772_325_060 * 10**9


def quality_name(value):
    quality = Quality(value)
    names = [quality.severity.name.lower(), quality.reason.name.lower()]
    return names[0] if names[1] == "none" else "/".join(names)


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
def test_messages_give_the_readings_of_their_case(folder):
    config = MqttConfig.model_validate(
        yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    )
    driver = MqttDriver(config, At())
    readings = []
    for message in json.loads((folder / "input.json").read_text()):
        text = message.get("text")
        payload = bytes.fromhex(message["hex"]) if text is None else text.encode()
        found = Message(message["topic"], payload, is_retained=False, mid=0, qos=0)
        readings += driver._read(found, At().utc_ns())
    got = [[r.tag, r.time_ns, r.value, quality_name(r.quality)] for r in readings]
    expected = json.loads((folder / "expected.json").read_text())
    assert got == expected
    for reading, (*_, value, _) in zip(readings, expected, strict=True):
        assert type(reading.value) is type(value)

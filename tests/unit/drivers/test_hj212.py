"""HJ 212: golden packets over a socket, framing in noise, configurations that are refused."""

import asyncio
import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.clock import SystemClock
from edge_agent.drivers.hj212 import Hj212Driver
from edge_agent.drivers.hj212_packets import (
    Damaged,
    Packet,
    Splitter,
    crc16,
    encode,
    number,
    parse,
    time_ns,
    values,
)
from edge_agent.drivers.hj212_values import Hj212Config
from edge_agent.errors import BadAnswer, ConfigError
from edge_agent.readings import Quality

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT / "tests" / "cases" / "hj212"
NOW = datetime(2026, 3, 1, 9, 0, 5, tzinfo=ZoneInfo("Asia/Shanghai"))


class At(SystemClock):
    """A clock that stands at NOW, or at another time of the plant."""

    def __init__(self, now=NOW):
        self.now = now

    def utc_ns(self):
        return round(self.now.timestamp()) * 10**9


def quality_name(value):
    quality = Quality(value)
    names = [quality.severity.name.lower(), quality.reason.name.lower()]
    return names[0] if names[1] == "none" else "/".join(names)


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
async def test_packets_give_the_readings_and_the_answers_of_their_case(folder, tmp_path):
    (tmp_path / "pw").write_text("123456\n")
    fields = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    fields["loggers"][0]["password_file"] = tmp_path / "pw"
    config = Hj212Config.model_validate(fields)
    expected = json.loads((folder / "expected.json").read_text())
    clock = At(datetime(2026, 3, 1, 8, 31, tzinfo=NOW.tzinfo) if "flag" in folder.name else NOW)
    async with asyncio.timeout(30), Hj212Driver(config, clock) as driver:
        reader, writer = await asyncio.open_connection("127.0.0.1", driver.port)
        writer.write((folder / "input.bin").read_bytes())
        readings, samples, deliveries = [], driver.samples(), 0
        while len(readings) < len(expected["readings"]):
            readings += await anext(samples)
            deliveries += 1
            driver.kept(deliveries)
        answers = Splitter()
        heard = []
        while len(heard) < len(expected["answers"]):
            heard += answers.feed(await reader.read(4096))
        await samples.aclose()
        writer.close()
    got = [[r.tag, r.time_ns // 10**9, r.value, quality_name(r.quality)] for r in readings]
    assert got == expected["readings"]
    texts = [encode(packet)[6:-6].decode() for packet in heard]
    assert sorted(texts) == sorted(expected["answers"])


# Printed CRCs: HJ 212-2017 annex A; a public test quoting HJ 212-2025 annex A.1; loggers' packets.
@pytest.mark.parametrize(
    ("segment", "crc"),
    [
        (
            "QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
            "CP=&&RtdInterval=30&&",
            0x1C80,
        ),
        (
            "QN=20240601085857223;ST=32;CN=1011;PW=123456;MN=010000A8900016F000169DC0;Flag=9;"
            "CP=&&&&",
            0x2200,
        ),
        (
            "QN=20200623122504356;ST=31;CN=2081;PW=123456;MN=88888880000001;Flag=5;"
            "CP=&&DataTime=20200623122504;RestartTime=20200623122342&&",
            0x1100,
        ),
    ],
)
def test_the_checksum_is_the_printed_one(segment, crc):
    assert crc16(segment.encode()) == crc


PACKET = Packet("20260301083001000", "31", "2011", "pw", "CEMS0001", 5, data="DataTime=1;a1-Rtd=2")


@given(
    before=st.binary(max_size=60), after=st.binary(max_size=60), cuts=st.lists(st.integers(1, 30))
)
def test_a_packet_is_found_in_noise_however_it_is_cut(before, after, cuts):
    stream = before + encode(PACKET) + after
    splitter, found = Splitter(), []
    for size in [*cuts, len(stream)]:
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    if b"#" not in before:
        assert found[0] == PACKET


def test_a_false_length_costs_its_own_packet_only():
    lying = b"##9999" + encode(PACKET)[6:]
    splitter = Splitter()
    found = list(splitter.feed(lying + encode(PACKET) + bytes(10_100)))
    assert [type(one) for one in found] == [Damaged, Packet]


@given(stream=st.binary(max_size=3000).map(lambda raw: raw.replace(b"\x01", b"##0010")))
def test_no_stream_makes_the_splitter_fail_or_grow(stream):
    splitter = Splitter()
    for found in splitter.feed(stream):
        assert isinstance(found, Packet | Damaged)
    assert len(splitter._buffer) <= 20_020


@given(segment=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_no_segment_makes_the_parser_fail_otherwise_than_by_bad_answer(segment):
    for wrapped in (segment, b"CN=2011;MN=m;CP=&&" + segment + b"&&"):
        try:
            packet = parse(wrapped)
            values(packet.data)
        except BadAnswer:
            pass


@pytest.mark.parametrize(
    "segment",
    [
        b"CN=2011;MN=m;CP=&&",
        b"CN=2011;CP=&&&&",
        b"CN=2011;MN=m;MN=m;CP=&&&&",
        b"CN=2011;MN=m;Flag=x;CP=&&&&",
        b"CN=2011;MN=m;Flag=2;PNUM=2;PNO=3;CP=&&&&",
        b"CN=2011;MN=m;Flag=9;CP=&&{0xE4,0x3E}&&",
        b"CN=2011;MN=m\xff;CP=&&&&",
    ],
)
def test_a_segment_of_a_wrong_form_is_refused(segment):
    with pytest.raises(BadAnswer):
        parse(segment)


@pytest.mark.parametrize("text", ["", "nan", "inf", "1e999", "0x10", "1,5", "--1", "９", "1_000"])
def test_what_is_no_decimal_number_is_none(text):
    assert number(text) is None


def test_a_time_is_the_plants():
    assert time_ns("20260301083000", ZoneInfo("Asia/Shanghai")) == 1_772_325_000 * 10**9
    for wrong in (
        "20260230000000",
        "2026030108300",
        "2026030108300x",
        "",
        "２０２６０３０１０８３０００",
    ):
        assert time_ns(wrong, ZoneInfo("Asia/Shanghai")) is None


BASE = {
    "driver": "hj212",
    "id": "cems",
    "port": 0,
    "loggers": [{"mn": "A", "password_file": "a.pw"}],
    "tags": [{"id": "so2", "factor": "a21026"}],
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loggers": []}, "at least 1"),
        ({"loggers": [{"mn": "A"}]}, "password_file"),
        ({"loggers": BASE["loggers"] * 2}, "stands twice"),
        ({"loggers": [*BASE["loggers"], {"mn": "B", "password_file": "b"}]}, "names no logger"),
        ({"tags": [{"id": "t", "factor": "a1", "logger": "C"}]}, "no logger 'C'"),
        ({"tags": [{"id": "t", "factor": "a1", "field": "Avg", "command": "2011"}]}, "does not"),
        ({"tags": [{"id": "t", "factor": "a1", "command": "2061"}]}, "does not come with"),
        ({"timezone": "Mars"}, "no time zone"),
        ({"surprise": 1}, "Extra"),
    ],
)
def test_a_wrong_configuration_is_refused_and_says_what_would_be_right(changes, message):
    with pytest.raises(ValidationError, match=message):
        Hj212Config.model_validate({**BASE, **changes})


def test_no_path_of_a_password_leaves_with_the_configuration():
    assert "a.pw" not in Hj212Config.model_validate(BASE).model_dump_json()


async def test_a_missing_password_file_is_a_configuration_error(tmp_path):
    loggers = [{"mn": "A", "password_file": tmp_path / "none"}]
    config = Hj212Config.model_validate({**BASE, "loggers": loggers})
    with pytest.raises(ConfigError, match="cannot be read or is empty"):
        await Hj212Driver(config, SystemClock()).__aenter__()


def test_the_page_of_the_driver_shows_a_configuration_that_loads():
    page = (ROOT / "docs" / "drivers" / "hj212.md").read_text(encoding="utf-8")
    (device,) = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["devices"]
    assert len(Hj212Config.model_validate(device).tags) == 4

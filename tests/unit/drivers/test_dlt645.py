"""DL/T 645: golden exchanges, frames in noise, configurations that are refused."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge_agent.clock import SystemClock
from edge_agent.drivers.base import Lines
from edge_agent.drivers.dlt645 import Dlt645Config, Dlt645Driver
from edge_agent.drivers.dlt645_frames import Deframer, Frame, bcd, encode, error_text
from edge_agent.errors import BadAnswer, ConfigError
from edge_agent.readings import BAD_DEVICE, GOOD

CASES = Path(__file__).resolve().parents[2] / "cases" / "dlt645"
METER = {"driver": "dlt645", "id": "m", "address": "000000000061", "interval_s": 60}
TCP = {"host": "h", "port": 9001}
TAG = {"id": "t", "quantity": "forward_active_energy"}


async def play(exchange, reader, writer):
    """Answer each question of the script; anything else ends the connection."""
    for question, answer in exchange:
        if await reader.readexactly(len(question)) != question:
            break
        writer.write(answer)
    writer.close()


def script(folder):
    lines = (folder / "exchange.txt").read_text().splitlines()
    frames = [bytes.fromhex(line[2:]) for line in lines]
    assert [line[0] for line in lines] == [">", "<"] * (len(lines) // 2)
    return list(zip(frames[::2], frames[1::2], strict=True))


@pytest.mark.parametrize("folder", sorted(CASES.iterdir()), ids=lambda folder: folder.name)
async def test_an_exchange_gives_the_values_of_its_case(folder):
    exchange = script(folder)
    server = await asyncio.start_server(lambda r, w: play(exchange, r, w), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fields = yaml.safe_load((folder / "config.yaml").read_text())
    config = Dlt645Config.model_validate({**fields, "port": port, "gap_s": 0, "timeout_s": 20})
    async with server, Dlt645Driver(config, SystemClock()) as driver:
        samples = await driver.read()
    expected = json.loads((folder / "expected.json").read_text())
    assert {sample.tag: sample.value for sample in samples} == expected
    for sample in samples:
        assert type(sample.value) is type(expected[sample.tag])
        assert sample.quality == (BAD_DEVICE if sample.value is None else GOOD)


FRAME = Frame("202611240007", 0x91, bytes.fromhex("0000010056341200"))


def test_a_frame_is_the_one_the_standards_rules_give():
    raw = encode(Frame("000000000061", 0x11, bytes.fromhex("00000100")))
    # 68 61 00 00 00 00 00 68 11 04 33 33 34 33, sum = 0x68+0x61+0x68+0x11+4+0x33*3+0x34 = 0x213
    assert raw.hex(" ") == "68 61 00 00 00 00 00 68 11 04 33 33 34 33 13 16"


@given(
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
    cuts=st.lists(st.integers(1, 9), max_size=60),
)
def test_a_frame_is_found_in_noise_however_it_is_cut(before, after, cuts):
    stream = before + encode(FRAME) + after
    deframer, found = Deframer(), []
    for size in [*cuts, len(stream)]:
        found += deframer.feed(stream[:size])
        stream = stream[size:]
    if 0x68 not in before and 0x68 not in after:
        assert found == [FRAME]


def test_a_frame_that_begins_inside_a_false_start_is_still_found():
    false_start = bytes.fromhex("68 61 00 00 00 00 00 68 91 20")
    deframer = Deframer()
    found = list(deframer.feed(false_start + encode(FRAME) + bytes(40)))
    assert found == [FRAME]


@given(stream=st.binary(max_size=2000))
def test_no_stream_makes_the_deframer_fail_or_grow(stream):
    deframer = Deframer()
    list(deframer.feed(stream))
    assert len(deframer._buffer) <= 424


@pytest.mark.parametrize("place", range(8, 20))
def test_a_frame_with_one_changed_byte_is_not_a_frame(place):
    raw = bytearray(encode(FRAME))
    raw[place] ^= 0x01
    assert list(Deframer().feed(bytes(raw) + bytes(260))) == []


def test_digits_are_lowest_first_and_the_top_bit_is_a_sign_only_where_told():
    assert bcd(bytes.fromhex("563412")) == 123456
    assert bcd(bytes.fromhex("563492"), is_signed=True) == -123456
    assert bcd(bytes.fromhex("563492")) == 923456
    assert bcd(bytes.fromhex("5634FF"), is_signed=True) is None
    assert bcd(bytes.fromhex("3A")) is None


@given(raw=st.binary(max_size=12), is_signed=st.booleans())
def test_no_bytes_make_the_number_decoder_fail(raw, is_signed):
    assert isinstance(bcd(raw, is_signed=is_signed), int | None)


def test_an_error_word_is_said_in_words():
    assert error_text(b"\x06") == "no such data, wrong password or no right to (error word 06)"
    with pytest.raises(BadAnswer):
        error_text(b"")


@pytest.mark.parametrize(
    ("device", "tag", "message"),
    [
        ({"address": "61"}, {}, "twelve digits in quotation marks"),
        ({"address": "AAAAAAAAAA61"}, {}, "no meter address"),
        ({"address": 202611240007}, {}, "twelve digits in quotation marks"),
        ({"serial": "/dev/ttyS1"}, {}, "either serial, or host and port"),
        ({"host": None}, {}, "either serial, or host and port"),
        ({"baud": 2401}, {}, "2400"),
        ({"timezone": "Asia/Beijing"}, {}, "Asia/Shanghai is right"),
        ({}, {"quantity": "forward_active_energi"}, "did you mean forward_active_energy"),
        ({}, {"quantity": "voltage.d"}, "voltage.a"),
        ({}, {"data_id": "00010000"}, "either quantity or data_id"),
        ({}, {"quantity": None, "data_id": "0001"}, "pattern"),
        ({}, {"quantity": None, "data_id": "0201FF00"}, "give length and decimals"),
        ({}, {"quantity": "active_power", "totaliser": {}}, "no totaliser"),
        ({}, {"quantity": "clock_offset", "totaliser": {}}, "no totaliser"),
        ({}, {"surprise": 1}, "Extra"),
    ],
)
def test_a_wrong_configuration_is_refused_and_says_what_would_be_right(device, tag, message):
    fields = {**METER, **TCP, **device, "tags": [{**TAG, **tag}]}
    with pytest.raises(ValidationError, match=message):
        Dlt645Config.model_validate(fields)


def test_decimals_become_the_scale_and_a_counter_knows_where_it_rolls_over():
    config = Dlt645Config(**METER, **TCP, tags=[{**TAG, "totaliser": {}}])
    (tag,) = config.tags
    assert (tag.scale, tag.unit, tag.totaliser.modulus) == ("0.01", "kWh", 10**8)
    again = Dlt645Config.model_validate(config.model_dump())
    assert again == config


def meter(address, **fields):
    tags = [{**TAG, "id": f"m{address.lower()}.t"}]
    return Dlt645Config.model_validate(
        {**METER, "serial": "/dev/ttyS9", "id": f"m{address[-3:].lower()}", **fields}
        | {"address": address, "tags": tags}
    )


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (meter("A" * 12), "would answer to AAAAAAAAAAAA"),
        (meter("000000000062", baud=9600), "otherwise than the device before it"),
    ],
)
def test_meters_that_cannot_share_a_line_are_a_configuration_error(second, message):
    lines = Lines()
    Dlt645Driver(meter("000000000061"), SystemClock()).share(lines)
    with pytest.raises(ConfigError, match=message):
        Dlt645Driver(second, SystemClock()).share(lines)


def test_the_page_of_the_driver_shows_a_configuration_that_loads():
    page = (CASES.parents[2] / "docs" / "drivers" / "dlt645.md").read_text(encoding="utf-8")
    sample = page.split("```yaml\n")[1].split("```")[0]
    (device,) = yaml.safe_load(sample)["devices"]
    config = Dlt645Config.model_validate(device)
    assert config.tags[0].scale == "2"
    assert config.tags[2].scale == "0.1"

"""Frames: known ones byte for byte, and any bytes at all without another error than BadAnswer."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.drivers.blocks import Block
from edge_agent.drivers.modbus.frames import (
    Frame,
    Question,
    RtuFraming,
    TcpFraming,
    UnitSilent,
    accept,
)
from edge_agent.errors import BadAnswer, DeviceError, Refused

# Modbus application protocol V1.1b3, 6.3: registers 108 to 110 are 555, 0 and 100
HOLDING = Question(17, 3, 107, 3)
ASKED = bytes.fromhex("03006b0003")
ANSWERED = bytes.fromhex("0306022b00000064")
# the same request to unit 17 as RTU frame, from the serial line's usual worked example
RTU_ASKED = bytes.fromhex("1103006b00037687")
RTU_ANSWERED = bytes.fromhex("110306ae4156524340")
RTU_CHECKSUM = bytes.fromhex("49ad")


def test_a_question_is_wrapped_as_the_standard_prints_it():
    assert HOLDING.pdu == ASKED
    assert TcpFraming().wrap(HOLDING, 0x1501) == bytes.fromhex("150100000006 11") + ASKED
    assert RtuFraming().wrap(HOLDING, 7) == RTU_ASKED


def test_the_answer_of_the_standard_gives_its_registers():
    assert accept(HOLDING, ANSWERED) == struct.pack(">3H", 555, 0, 100)


def test_a_serial_frame_with_the_checksum_of_the_worked_example_is_taken():
    arrived = bytearray(RTU_ANSWERED + RTU_CHECKSUM)
    frame = RtuFraming().take(arrived)
    assert frame == Frame(None, 17, RTU_ANSWERED[1:])
    assert accept(HOLDING, frame.pdu) == RTU_ANSWERED[3:]
    assert not arrived


@pytest.mark.parametrize("place", range(11))
def test_one_wrong_bit_in_a_serial_frame_is_seen(place):
    arrived = bytearray(RTU_ANSWERED + RTU_CHECKSUM)
    arrived[place] ^= 0x04
    try:
        frame = RtuFraming().take(arrived)
    except BadAnswer:
        return
    assert frame is None  # a longer frame is waited for, until the time-out


@pytest.mark.parametrize(("count", "size"), [(1, 1), (8, 1), (9, 2), (2000, 250)], ids=str)
def test_bits_come_eight_to_a_byte(count, size):
    question = Question(1, 1, 0, count)
    assert question.size == size
    assert accept(question, bytes([1, size]) + bytes(size)) == bytes(size)
    with pytest.raises(BadAnswer):
        accept(question, bytes([1, size + 1 & 0xFF]) + bytes(size + 1))


@pytest.mark.parametrize(
    ("pdu", "error"),
    [
        ("8302", Refused),
        ("8303", Refused),
        ("8306", Refused),
        ("830a", UnitSilent),
        ("830b", UnitSilent),
        ("83", BadAnswer),
        ("830200", BadAnswer),
        ("8402", BadAnswer),
        ("", BadAnswer),
        ("03", BadAnswer),
        ("0306022b0000", BadAnswer),
        ("0306022b0000006400", BadAnswer),
        ("0304022b0000", BadAnswer),
        ("0406022b00000064", BadAnswer),
        ("0307022b00000064", BadAnswer),
    ],
)
def test_what_is_not_an_answer_to_the_question_is_not_taken(pdu, error):
    with pytest.raises(error) as raised:
        accept(HOLDING, bytes.fromhex(pdu))
    if error is Refused:
        assert raised.value.code == bytes.fromhex(pdu)[1]


@pytest.mark.parametrize("length", [0, 1, 2, 255, 256, 65_535])
def test_a_length_that_no_answer_has_is_refused_without_waiting_for_it(length):
    arrived = bytearray(struct.pack(">HHHB", 1, 0, length, 17) + b"\3")
    with pytest.raises(BadAnswer, match=f"length {length} "):
        TcpFraming().take(arrived)


@pytest.mark.parametrize(
    ("table", "function"), [("coil", 1), ("discrete", 2), ("holding", 3), ("input", 4)]
)
def test_a_table_is_read_by_its_function(table, function):
    block = Block(table, 107, 3, ())
    assert Question.of(17, block) == Question(17, function, 107, 3)


def test_an_exception_is_a_whole_frame_on_every_line():
    tcp = bytearray(bytes.fromhex("0007 0000 0003 11 8302"))
    assert TcpFraming().take(tcp) == Frame(7, 17, b"\x83\x02")
    rtu = bytearray(bytes.fromhex("118302c134"))
    assert RtuFraming().take(rtu) == Frame(None, 17, b"\x83\x02")
    assert not tcp
    assert not rtu


def test_frames_behind_each_other_are_taken_one_by_one():
    arrived = bytearray((RTU_ANSWERED + RTU_CHECKSUM) * 2 + RTU_ANSWERED[:1])
    framing = RtuFraming()
    for _ in range(2):
        assert framing.take(arrived) == Frame(None, 17, RTU_ANSWERED[1:])
    assert framing.take(arrived) is None
    assert arrived == RTU_ANSWERED[:1]


QUESTIONS = st.builds(
    Question, st.integers(1, 247), st.integers(1, 4), st.integers(0, 65_535), st.integers(1, 125)
)


@given(
    pieces=st.lists(st.binary(max_size=40), max_size=12),
    question=QUESTIONS,
    framing=st.sampled_from((TcpFraming(), RtuFraming())),
)
def test_any_bytes_give_an_answer_more_to_wait_for_or_the_drivers_own_error(
    pieces, question, framing
):
    arrived = bytearray()
    try:
        for piece in pieces:
            arrived += piece
            while (frame := framing.take(arrived)) is not None:
                assert len(frame.pdu) <= 253
                assert len(accept(question, frame.pdu)) == question.size
    except DeviceError:
        return
    assert len(arrived) <= 6 + 255


@given(question=QUESTIONS, values=st.binary(min_size=250, max_size=250), cut=st.integers(1, 300))
def test_an_answer_in_pieces_is_the_same_answer(question, values, cut):
    data = values[: question.size]
    pdu = bytes([question.function, len(data)]) + data
    frame = struct.pack(">HHHB", 9, 0, len(pdu) + 1, question.unit) + pdu
    arrived = bytearray(frame[:cut])
    taken = TcpFraming().take(arrived)
    if taken is None:
        assert cut < len(frame)
        arrived += frame[cut:]
        taken = TcpFraming().take(arrived)
    assert taken == Frame(9, question.unit, pdu)
    assert accept(question, taken.pdu) == data

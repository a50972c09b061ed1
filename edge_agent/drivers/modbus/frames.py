"""Questions to bytes and bytes to answers: pure, for frames with and without transaction ids.

Requests and checksums are built by pymodbus. Answers are taken apart here, because its framers
look for a frame behind bytes that are none, believe any length, and accept a byte count that is
not the question's. Numbers in brackets are clauses of the Modbus application protocol V1.1b3.
"""

import struct
from dataclasses import dataclass
from typing import Protocol

from pymodbus.framer import FramerRTU

from edge_agent.drivers.blocks import Block
from edge_agent.errors import BadAnswer, NoAnswer, Refused

FUNCTIONS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}  # 6.1 to 6.4
_BIT_FUNCTIONS = (1, 2)
_ERROR_BIT = 0x80  # 7
_UNIT_IS_SILENT = (10, 11)  # a gateway's word for a unit behind it that does not answer (7)
_MBAP = struct.Struct(">HHHB")
_MAX_PDU = 253  # 4.1
_NO_UNIT = (0x00, 0xFF)  # what noise at a turn-around looks like; no unit has these numbers


class UnitSilent(NoAnswer):
    """A gateway's word that the unit behind it does not answer; the line itself is well."""


@dataclass(frozen=True, slots=True)
class Question:
    """One read request to one unit."""

    unit: int
    function: int
    address: int
    count: int

    @classmethod
    def of(cls, unit: int, block: Block) -> "Question":
        """The question that reads a block."""
        return cls(unit, FUNCTIONS[block.table], block.address, block.count)

    @property
    def size(self) -> int:
        """Bytes of values that the answer holds."""
        is_bits = self.function in _BIT_FUNCTIONS
        return -(-self.count // 8) if is_bits else 2 * self.count

    @property
    def pdu(self) -> bytes:
        """Function, address and count."""
        return struct.pack(">BHH", self.function, self.address, self.count)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it came; ``transaction`` is None where frames have none."""

    transaction: int | None
    unit: int
    pdu: bytes


class Framing(Protocol):
    """How questions and answers are wrapped on one kind of line."""

    def wrap(self, question: Question, transaction: int) -> bytes:
        """The bytes that ask the question."""
        ...

    def take(self, arrived: bytearray) -> Frame | None:
        """Remove the first frame from what arrived; None while it is not complete.

        Raises BadAnswer when what arrived can never become a frame.
        """
        ...


class TcpFraming:
    """MBAP header: transaction id, protocol 0, length, unit."""

    def wrap(self, question: Question, transaction: int) -> bytes:
        """The bytes that ask the question."""
        pdu = question.pdu
        return _MBAP.pack(transaction, 0, len(pdu) + 1, question.unit) + pdu

    def take(self, arrived: bytearray) -> Frame | None:
        """Remove the first frame; a length no answer can have is refused before it is awaited."""
        if len(arrived) < _MBAP.size:
            return None
        transaction, protocol, length, unit = _MBAP.unpack_from(arrived)
        if protocol != 0:
            raise BadAnswer(f"protocol {protocol} is not Modbus's 0")
        if not 3 <= length <= _MAX_PDU + 1:
            raise BadAnswer(f"length {length} is not one of an answer")
        end = _MBAP.size - 1 + length
        if len(arrived) < end:
            return None
        pdu = bytes(arrived[_MBAP.size : end])
        del arrived[:end]
        return Frame(transaction, unit, pdu)


class RtuFraming:
    """Unit, PDU, checksum; the PDU says how long it is."""

    def wrap(self, question: Question, transaction: int) -> bytes:  # noqa: ARG002 (has none)
        """The bytes that ask the question."""
        body = bytes([question.unit]) + question.pdu
        return body + _checksum(body)

    def take(self, arrived: bytearray) -> Frame | None:
        """Remove the first frame, and noise before it that no unit can have sent."""
        while arrived and arrived[0] in _NO_UNIT:
            del arrived[0]
        if len(arrived) < 3:
            return None
        function = arrived[1]
        if function & _ERROR_BIT:
            end = 3
        elif function in FUNCTIONS.values():
            end = 3 + arrived[2]
        else:
            raise BadAnswer(f"function {function} was not asked for")
        if end > _MAX_PDU + 1:
            raise BadAnswer(f"{arrived[2]} bytes of values do not fit an answer")
        if len(arrived) < end + 2:
            return None
        body, checksum = bytes(arrived[:end]), bytes(arrived[end : end + 2])
        del arrived[: end + 2]
        if _checksum(body) != checksum:
            raise BadAnswer("the checksum is wrong")
        return Frame(None, body[0], body[1:])


def accept(question: Question, pdu: bytes) -> bytes:
    """The values in an answer's PDU, checked against the question.

    Raises BadAnswer when it answers something else, Refused for an exception, UnitSilent when
    a gateway speaks for the unit.
    """
    if not pdu or pdu[0] & ~_ERROR_BIT != question.function:
        given = pdu[0] & ~_ERROR_BIT if pdu else None
        raise BadAnswer(f"function {given} answers function {question.function}")
    if pdu[0] & _ERROR_BIT:
        _refuse(question, pdu)
    if len(pdu) < 2 or pdu[1] != question.size or len(pdu) != 2 + question.size:
        raise BadAnswer(f"{len(pdu) - 2} bytes answer a question for {question.size}")
    return pdu[2:]


def _refuse(question: Question, pdu: bytes) -> None:
    if len(pdu) != 2:
        raise BadAnswer(f"an exception has 2 bytes, not {len(pdu)}")
    code = pdu[1]
    if code in _UNIT_IS_SILENT:
        raise UnitSilent(f"unit {question.unit}: the gateway cannot reach it (exception {code})")
    raise Refused(
        f"unit {question.unit}: exception {code} to function {question.function} at "
        f"{question.address}, {question.count}",
        code=code,
    )


def _checksum(body: bytes) -> bytes:
    return FramerRTU.compute_CRC(body).to_bytes(2, "big")

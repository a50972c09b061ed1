"""One line against any sequence of misbehaviours: what it gives is right, or it gives nothing.

The link is replaced by one in memory whose device misbehaves as told; every register holds its own
address, so a value taken from another question's answer shows.
"""

import asyncio
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.drivers.modbus import Line, ModbusConfig
from edge_agent.drivers.modbus import line as line_module
from edge_agent.drivers.modbus.frames import Question
from edge_agent.drivers.modbus.links import Link
from edge_agent.errors import BadAnswer, DeviceError, NoAnswer, Refused

TIMEOUT_S = 0.02
WRONG = 0xDEAD


def crc(frame):
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waiting takes no time: when nothing is ready, the loop's clock goes to the next timer."""

    def __init__(self):
        super().__init__()
        self._now_s = 0.0
        select = self._selector.select

        def ready_or_later(timeout=None):
            events = select(0)
            if not events and timeout:
                self._now_s += timeout
            return events

        self._selector.select = ready_or_later

    def time(self):
        return self._now_s


class LoopClock:
    """The loop's own time, so that a busy machine changes nothing."""

    def utc_ns(self):
        return 1_790_784_000 * 10**9 + self.monotonic_ns()

    def monotonic_ns(self):
        return round(asyncio.get_running_loop().time() * 10**9)

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


class Wire:
    """The cable and the devices on it; survives the connections made to it."""

    def __init__(self, steps, *, is_rtu):
        self.steps, self.is_rtu = list(steps), is_rtu
        self.link = None

    def open(self):
        self.link = _MemoryLink(self)
        return self.link

    def asked(self, frame):
        transaction, unit, pdu = (b"", frame[0], frame[1:6])
        if not self.is_rtu:
            transaction, unit, pdu = frame[:2], frame[6], frame[7:]
        function, address, count = struct.unpack(">BHH", pdu)
        kind, delay = self.steps.pop(0) if self.steps else ("right", 0)
        words = [WRONG if kind.startswith("wrong") else address + n for n in range(count)]
        if kind == "wrong_unit":
            unit = unit % 247 + 1
        if kind == "wrong_function":
            function = 7 - function
        if kind == "wrong_transaction":
            transaction = struct.pack(">H", (int.from_bytes(transaction or b"\0\1") + 300) & 0xFFFF)
        if kind == "wrong_count":
            words.append(WRONG)
        body = bytes([function, 2 * len(words)]) + struct.pack(f">{len(words)}H", *words)
        if kind == "exception":
            body = bytes([function | 0x80, 4])
        frame = self.wrap(transaction, unit, body)
        sent = {
            "silence": b"",
            "closed": None,
            "torn": frame[:-2],
            "wrong_bytes": bytes(11),
            "wrong_checksum": frame[:-1] + bytes([frame[-1] ^ 0x10]) if self.is_rtu else b"",
        }.get(kind, frame)
        if sent is None:
            self.link.lose("closed by the device")
        elif delay:
            asyncio.get_running_loop().call_later(delay, self.deliver, sent)
        else:
            asyncio.get_running_loop().call_soon(self.deliver, sent)

    def wrap(self, transaction, unit, body):
        if self.is_rtu:
            return bytes([unit]) + body + crc(bytes([unit]) + body)
        return transaction + struct.pack(">HHB", 0, len(body) + 1, unit) + body

    def deliver(self, frame):
        """Into whatever connection there is by then, as a serial gateway does."""
        if frame and self.link is not None and self.link.is_open:
            self.link.data_received(frame)


class _MemoryLink(Link):
    def __init__(self, wire):
        super().__init__()
        self._wire = wire

    def send(self, frame):
        if not self.is_open:
            raise NoAnswer("lost")
        self._wire.asked(frame)


KINDS = (
    "right", "silence", "closed", "torn", "exception", "wrong_unit", "wrong_function",
    "wrong_transaction", "wrong_count", "wrong_bytes", "wrong_checksum",
)  # fmt: skip
DELAYS = st.sampled_from((0.0, 0.3, 0.9, 1.1, 1.5, 1.9)).map(lambda part: part * TIMEOUT_S)


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp", "rtu"])
@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(KINDS), DELAYS), max_size=5),
    places=st.lists(st.integers(0, 40), min_size=6, max_size=6),
    units=st.lists(st.sampled_from((1, 2)), min_size=6, max_size=6),
)
@example(  # given up early for a broken frame, its own answer comes late
    steps=[
        ("wrong_checksum", 1.1 * TIMEOUT_S), ("right", 1.1 * TIMEOUT_S),
        ("right", 0.0), ("right", 0.3 * TIMEOUT_S),
    ],
    places=[0, 0, 0, 1, 0, 0],
    units=[1, 2, 1, 2, 1, 1],
)  # fmt: skip
def test_whatever_devices_do_a_value_is_right_or_there_is_none(transport, steps, places, units):
    if transport != "tcp":
        # There is no transaction to be wrong, and nobody can know a unit that speaks late and
        # under its neighbour's number from that neighbour.
        steps = [
            (kind, 0 if kind == "wrong_unit" else delay)
            for kind, delay in steps
            if kind != "wrong_transaction"
        ]
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(_questions(transport, steps, places, units))


async def _questions(transport, steps, places, units):
    plain = {"driver": "modbus", "id": "d", "unit": 1, "interval_s": 1, "transport": transport}
    plain |= {"tags": [{"id": "t", "address": 0, "type": "uint16"}], "timeout_s": TIMEOUT_S}
    is_serial = transport == "rtu"
    plain |= {"serial": {"port": "p", "baud": 115200}} if is_serial else {"host": "h"}
    config = ModbusConfig.model_validate(plain)
    wire = Wire(steps, is_rtu=transport != "tcp")

    async def open_link(_config):
        return wire.open()

    original, line_module.open_link = line_module.open_link, open_link
    try:
        line = Line(config, LoopClock())
        line.join()
        for place, unit in zip(places, units, strict=True):
            try:
                answer = await line.ask(config, Question(unit, 3, place, 2))
            except (NoAnswer, BadAnswer, Refused):
                continue
            assert struct.unpack(">2H", answer.values) == (place, place + 1)
        await _must_recover(line, config)
        line.leave()
    finally:
        line_module.open_link = original


async def _must_recover(line, config):
    """Once the devices behave, one of the next questions is answered."""
    for _ in range(10):
        try:
            answer = await line.ask(config, Question(1, 3, 7, 2))
        except DeviceError:
            continue
        assert struct.unpack(">2H", answer.values) == (7, 8)
        return
    raise AssertionError("the line does not recover")

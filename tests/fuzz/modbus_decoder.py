"""Coverage-guided fuzzing of everything that bytes from a Modbus device pass through.

Run by ``make fuzz SECONDS=60``. Any error but the driver's own, and any memory that grows with a
length the device merely claims, is a finding; libFuzzer's limit on memory catches the latter.
"""

import sys

import atheris

with atheris.instrument_imports(include=["edge_agent.drivers"]):
    from edge_agent.drivers.blocks import Item, Limits, plan
    from edge_agent.drivers.decode import Words, bit
    from edge_agent.drivers.modbus.config import ModbusTag
    from edge_agent.drivers.modbus.frames import Question, RtuFraming, TcpFraming, accept
    from edge_agent.drivers.modbus.values import reader
    from edge_agent.errors import ConfigError, DeviceError

FRAMINGS = (TcpFraming(), RtuFraming())
PLAIN = {"id": "t", "address": 0}
READERS = [
    reader(ModbusTag.model_validate(PLAIN | fields), order)
    for order in ("ABCD", "CDAB", "BADC", "DCBA")
    for fields in (
        {"type": "int16", "scale": "0.1"},
        {"type": "uint32", "mask": 0x00FF_FF00},
        {"type": "uint64", "totaliser": {}, "absent": [2**64 - 1]},
        {"type": "float32", "offset": "-273.15"},
        {"type": "float64", "totaliser": {}, "count": "0.01"},
        {"type": "bcd32"},
        {"type": "string", "length": 5, "texts": {"RUN": 1}},
    )
]


def one_input(raw: bytes) -> None:
    """Frame, check and decode what a device might send; plan what a user might write."""
    data = atheris.FuzzedDataProvider(raw)
    framing = FRAMINGS[data.ConsumeIntInRange(0, 1)]
    question = Question(
        data.ConsumeIntInRange(1, 247),
        data.ConsumeIntInRange(1, 4),
        data.ConsumeIntInRange(0, 65_535),
        data.ConsumeIntInRange(1, 125),
    )
    arrived = bytearray()
    try:
        while data.remaining_bytes():
            arrived += data.ConsumeBytes(data.ConsumeIntInRange(1, 64))
            while (frame := framing.take(arrived)) is not None:
                _decode(accept(question, frame.pdu), data)
    except DeviceError:
        pass
    _plan(data)


def _decode(values: bytes, data: "atheris.FuzzedDataProvider") -> None:
    offset = data.ConsumeIntInRange(-2, 130)
    bit(values, offset)
    words = Words(values)
    for read in READERS:
        read(words, offset)


def _plan(data: "atheris.FuzzedDataProvider") -> None:
    items = [
        Item(str(n), "holding", data.ConsumeIntInRange(0, 65_535), data.ConsumeIntInRange(1, 125))
        for n in range(data.ConsumeIntInRange(0, 8))
    ]
    limits = Limits(data.ConsumeIntInRange(1, 125), data.ConsumeIntInRange(0, 121))
    try:
        blocks = plan(items, {"holding": limits})
    except ConfigError:
        return
    if sorted(item.key for block in blocks for item in block.items) != sorted(
        item.key for item in items
    ):
        raise AssertionError("a plan lost an item")


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

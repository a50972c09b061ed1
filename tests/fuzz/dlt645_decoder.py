"""Coverage-guided fuzzing of everything that bytes from a DL/T 645 meter pass through.

Any error but the driver's own, and any memory that grows with a length that is merely claimed, is a
finding.
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["edge_agent.drivers"]):
    from edge_agent.drivers.dlt645 import Dlt645Tag, _meter_time, _number
    from edge_agent.drivers.dlt645_frames import Deframer, Frame, encode, error_text
    from edge_agent.drivers.dlt645_line import _answers
    from edge_agent.errors import DeviceError

TAGS = [
    Dlt645Tag(id="t", quantity=name)
    for name in ("forward_active_energy", "combined_active_energy", "current.a", "power_factor")
]
BLOCK = Dlt645Tag(id="t", data_id="0201FF00", at=2, length=2, decimals=1)
QUESTION = Frame("000000000061", 0x11, bytes.fromhex("00000100"))


def one_input(raw: bytes) -> None:
    """Find frames, judge whether they answer, read their numbers."""
    data = atheris.FuzzedDataProvider(raw)
    deframer = Deframer()
    while data.remaining_bytes():
        for frame in deframer.feed(data.ConsumeBytes(data.ConsumeIntInRange(1, 64))):
            _decode(frame)
    if len(deframer._buffer) > 424:
        raise AssertionError("the buffer grows")


def _decode(frame: Frame) -> None:
    if list(Deframer().feed(encode(frame))) != [frame]:
        raise AssertionError("a frame is not the one it was made of")
    _answers(QUESTION, frame)
    for tag in (*TAGS, BLOCK):
        if tag.item is not None:
            _number(frame.data[4:], tag, tag.item)
    _meter_time(frame.data[:4], frame.data[4:7])
    with contextlib.suppress(DeviceError):
        error_text(frame.data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

"""Coverage-guided fuzzing of everything that bytes from an HJ 212 data logger pass through.

A part of the input is wrapped into a packet with a right length and CRC, or the fuzzer would never get
behind them.
"""

import contextlib
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["edge_agent.drivers"]):
    from edge_agent.clock import SystemClock
    from edge_agent.drivers.hj212_packets import Packet, Splitter, answer, crc16, encode
    from edge_agent.drivers.hj212_values import Hj212Config, Reader
    from edge_agent.errors import DeviceError

TAGS = [
    {"id": f"t{place}", "factor": factor, "field": field}
    for place, (factor, field) in enumerate(
        [("a21026", "Rtd"), ("a21026", "Avg"), ("011", "Rtd"), ("a34013", "ZsRtd")]
    )
]
CONFIG = Hj212Config(
    driver="hj212", id="d", port=0, tags=TAGS, loggers=[{"mn": "A", "password_file": Path("x")}]
)
READER = Reader(CONFIG, SystemClock())


def one_input(raw: bytes) -> None:
    """Split, read, answer."""
    data = atheris.FuzzedDataProvider(raw)
    splitter = Splitter()
    while data.remaining_bytes():
        piece = data.ConsumeBytes(data.ConsumeIntInRange(1, 200))
        if data.ConsumeBool():
            body = b"QN=1;CN=2011;MN=A;PW=p;Flag=5;CP=&&DataTime=20260301080000;" + piece + b"&&"
            piece = b"##%04d%b%04X\r\n" % (len(body), body, crc16(body))
        for found in splitter.feed(piece):
            if isinstance(found, Packet):
                _read(found)
    if len(splitter._buffer) > 20_020:
        raise AssertionError("the buffer grows")


def _read(packet: Packet) -> None:
    with contextlib.suppress(DeviceError):
        READER.read(packet)
    encode(answer(packet))


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

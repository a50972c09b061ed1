"""Whatever an enrolled agent signs is a batch, a flagged one, or a refusal by its reason."""

import sys

import atheris
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

with atheris.instrument_imports(include=["edge_agent.wire", "gateway.witness"]):
    from edge_agent.errors import EvidenceError
    from edge_agent.readings import Columns
    from edge_agent.wire import batch as wire_batch
    from edge_agent.wire import cose
    from edge_agent.wire.batch import Batch, ClockState
    from edge_agent.wire.cose import MAX_PAYLOAD, MessageType
    from edge_agent.wire.keys import Enrolment, FileSigner, KeyRing, public_key

SIGNER = FileSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
RING = KeyRing([Enrolment("al-001", "gw-01", public_key(SIGNER.public_spki()))])
T0 = 1_790_784_000 * 10**9
MINUTE = 60 * 10**9
SIGNED = wire_batch.sign(
    Batch(
        site="al-001",
        agent="gw-01",
        seq=1,
        prev=bytes(32),
        boot=bytes(16),
        first_ns=T0,
        last_ns=T0 + MINUTE,
        mono=(0, MINUTE),
        clock=ClockState("ntp", sync=True),
        config_sha256=bytes(32),
        software="edge-agent/0.1.0",
        columns=Columns(("line1.kwh", "pot.v"), [0, 1], [T0, T0 + 1], [7, 4.25], [0, 0]),
        events=[{"t": T0, "type": "gap"}],
    ),
    SIGNER,
)
GENUINE = cose.parse(SIGNED).payload


def one_input(data: bytes) -> None:
    """The bytes as a message, as an authentic one's payload, and as edits of a genuine payload."""
    for raw in (data, *_signed(data), *_signed(_edited(data))):
        try:
            wire_batch.verify(raw, "al-001", "gw-01", RING)
        except EvidenceError:
            continue


def _signed(data: bytes) -> list[bytes]:
    if not 0 < len(data) <= MAX_PAYLOAD:
        return []
    return [cose.sign(MessageType.BATCH, data, SIGNER)]


def _edited(data: bytes) -> bytes:
    """The genuine payload with bytes replaced, put in or taken out where the input says."""
    payload = bytearray(GENUINE)
    for place in range(0, len(data) - 2, 3):
        what, where, value = data[place : place + 3]
        where = (where * 2 + (what >> 3 & 1)) % (len(payload) + 1)
        payload[where : where + what % 3] = bytes([value] * (what >> 2 & 1))
    return bytes(payload[:MAX_PAYLOAD])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

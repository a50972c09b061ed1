"""Whatever an enrolled agent signs is a batch, a flagged one, or a refusal by its reason."""

import sys

import atheris
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

with atheris.instrument_imports(include=["edge_agent.wire", "gateway.witness"]):
    from edge_agent.errors import EvidenceError
    from edge_agent.wire import batch as wire_batch
    from edge_agent.wire import cose
    from edge_agent.wire.cose import MAX_PAYLOAD, MessageType
    from edge_agent.wire.keys import Enrolment, FileSigner, KeyRing, public_key

SIGNER = FileSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
RING = KeyRing([Enrolment("al-001", "gw-01", public_key(SIGNER.public_spki()))])


def one_input(data: bytes) -> None:
    """The bytes as a message, and as the payload of an authentic one."""
    for raw in (data, *_signed(data)):
        try:
            wire_batch.verify(raw, "al-001", "gw-01", RING)
        except EvidenceError:
            continue


def _signed(data: bytes) -> list[bytes]:
    if not 0 < len(data) <= MAX_PAYLOAD:
        return []
    return [cose.sign(MessageType.BATCH, data, SIGNER)]


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

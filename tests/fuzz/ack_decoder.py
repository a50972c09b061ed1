"""Whatever comes as an ack, a checkpoint or a witness's request is read or refused."""

import sys

import atheris
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

with atheris.instrument_imports(include=["edge_agent.wire", "gateway.witness"]):
    from edge_agent.errors import EvidenceError
    from edge_agent.wire import cose, notes
    from edge_agent.wire.cose import MAX_PAYLOAD, MessageType
    from edge_agent.wire.keys import FileSigner, public_key
    from edge_agent.wire.messages import verify_ack
    from gateway.witness import parse_request

SIGNER = FileSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEY = public_key(SIGNER.public_spki())


def one_input(data: bytes) -> None:
    """The bytes as each of the small messages, bare and signed."""
    signed = [cose.sign(MessageType.ACK, data, SIGNER)] if 0 < len(data) <= MAX_PAYLOAD else []
    for raw in (data, *signed):
        try:
            verify_ack(raw, lambda _: KEY)
        except EvidenceError:
            continue
    for read in (lambda: notes.parse(data.decode("utf-8", "replace")), lambda: parse_request(data)):
        try:
            read()
        except EvidenceError:
            continue


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

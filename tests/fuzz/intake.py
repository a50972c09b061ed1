"""Any bytes on any topic, and any payload that an enrolled agent signs, through the whole intake."""

import sys
import tempfile
from pathlib import Path

import atheris
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

with atheris.instrument_imports(include=["edge_agent.wire", "gateway.ingest"]):
    from edge_agent.clock import SystemClock
    from edge_agent.wire import cose
    from edge_agent.wire.cose import MAX_PAYLOAD, MessageType
    from edge_agent.wire.keys import Enrolment, FileSigner, KeyRing, public_key
    from gateway.ingest import Intake, Message, Policy, Verdict
    from gateway.ledger import Ledger

CORPUS = Path(__file__).parent / "corpus/intake"
SIGNER = FileSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
RING = KeyRing([Enrolment("al-001", "gw-01", public_key(SIGNER.public_spki()))])
T0 = 1_767_196_800 * 10**9
KINDS = {"batch": MessageType.BATCH, "config": MessageType.CONFIG, "status": MessageType.STATUS}
FOLDER = tempfile.TemporaryDirectory()
LEDGER = Ledger(Path(FOLDER.name) / "ledger.sqlite")


def one_input(data: bytes) -> None:
    """Nothing but a verdict comes of it, and nothing that was not signed is kept."""
    intake = Intake(LEDGER, RING, Policy(), SystemClock())
    for kind, type_ in KINDS.items():
        topic = f"carbon/v1/al-001/gw-01/{kind}"
        intake.offer(Message(topic, data, T0))
        if 0 < len(data) <= MAX_PAYLOAD:
            assert isinstance(
                intake.offer(Message(topic, cose.sign(type_, data, SIGNER), T0)), Verdict
            )
    intake.take()


if __name__ == "__main__":
    seeds = ",".join(map(str, sorted(CORPUS.glob("*.bin"))))
    atheris.Setup([*sys.argv, f"-seed_inputs={seeds}"], one_input)
    atheris.Fuzz()

"""What evidence costs: accepting batches, verifying a bundle, bytes on the wire and at rest.

Three parts, each a ratio against a named baseline of the same run, in CPU seconds of one core:

    accept   verify and append batches of 200 rows to a ledger (group commit of 64, fsync), against
             the bare Ed25519 verification of the same messages by `cryptography`
    replay   what `verify` does with a site-month's batches (signature, profile, chain, rows),
             against the bare verification; scaled to 21.6 million values
    size     bytes a value on the wire and in the ledger's file, for batches of 1,500 rows,
             against 8 bytes of a plain float64

    python benchmarks/evidence.py [--batches 2000] [--month-batches 400]
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cose
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.keys import Enrolment, FileSigner, KeyRing, public_key
from gateway.evidence import BatchReader, replay
from gateway.ledger import Ledger
from gateway.opening import Opener

SITE, AGENT = "al-001", "gw-01"
T0 = 1_790_784_000 * 10**9
MINUTE_NS = 60 * 10**9
GROUP = 64
MONTH_VALUES = 21_600_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=2_000, help="batches of 200 rows")
    parser.add_argument("--month-batches", type=int, default=400, help="batches of 1,500 rows")
    args = parser.parse_args(argv)
    signer = FileSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    ring = KeyRing([Enrolment(SITE, AGENT, public_key(signer.public_spki()))])
    small = chain(signer, args.batches, series=200, minutes=1)
    large = chain(signer, args.month_batches, series=300, minutes=5)
    figures = {
        "accept": accept(small, ring),
        "replay": replayed(large, ring),
        "size": size(large, ring),
    }
    print(json.dumps(figures, indent=2))
    return 0


def chain(signer: FileSigner, count: int, series: int, minutes: int) -> list[bytes]:
    """A chain of batches of plausible rows: float32 means and integer counters."""
    rng = random.Random(7)
    names = tuple(f"line1.pot{number:03d}.v" for number in range(series - 2))
    names += ("energy.count", "gas.count")
    raws: list[bytes] = []
    prev = bytes(32)
    for seq in range(1, count + 1):
        first_ns = T0 + seq * minutes * MINUTE_NS
        columns = Columns(names)
        for minute in range(minutes):
            for index in range(series):
                is_count = index >= series - 2
                value = seq * 60 + minute if is_count else round(rng.gauss(4.2, 0.05) * 64) / 64
                columns.index.append(index)
                columns.time_ns.append(first_ns + minute * MINUTE_NS)
                columns.value.append(value)
                columns.quality.append(0)
        raws.append(
            wire_batch.sign(
                Batch(
                    site=SITE, agent=AGENT, seq=seq, prev=prev, boot=bytes(16),
                    first_ns=first_ns, last_ns=first_ns + minutes * MINUTE_NS,
                    mono=(seq, seq + minutes * MINUTE_NS), clock=ClockState("ntp", sync=True),
                    config_sha256=bytes(32), software="edge-agent/0.1.0", columns=columns,
                    legal_sha256=bytes(32),
                ),
                signer,
            )
        )  # fmt: skip
        prev = hashlib.sha256(raws[-1]).digest()
    return raws


def bare(raws: Sequence[bytes], ring: KeyRing) -> float:
    """Seconds for nothing but the signatures: the baseline."""
    parts = [cose.parse(raw) for raw in raws]
    key = ring.enrolments()[0].public
    messages = [(part.signature, cose.to_be_signed(part.protected, part.payload)) for part in parts]
    began = time.process_time()
    for signature, message in messages:
        key.verify(signature, message)
    return time.process_time() - began


def accept(raws: Sequence[bytes], ring: KeyRing) -> dict[str, float]:
    """Verify and append with group commit, against bare verification."""
    baseline_s = bare(raws, ring)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        began = time.process_time()
        verify_s = 0.0
        opener = Opener()
        for start in range(0, len(raws), GROUP):
            before = time.process_time()
            group = [
                (opener.verify(raw, SITE, AGENT, ring), 1) for raw in raws[start : start + GROUP]
            ]
            verify_s += time.process_time() - before
            ledger.append(group)
        spent_s = time.process_time() - began
        ledger.close()
    count = len(raws)
    return {
        "rows_a_batch": 200,
        "bare_ed25519_per_s": round(count / baseline_s),
        "verify_per_s": round(count / verify_s),
        "verify_and_append_per_s": round(count / spent_s),
        "verify_over_bare": round(baseline_s / verify_s, 3),
        "verify_and_append_over_bare": round(baseline_s / spent_s, 3),
    }


def replayed(raws: Sequence[bytes], ring: KeyRing) -> dict[str, float]:
    """The verifier's reading of batches, scaled to a site-month."""
    baseline_s = bare(raws, ring)
    reader = BatchReader()
    began = time.process_time()
    replay(SITE, AGENT, enumerate(raws, 1), ring, reader)
    spent_s = time.process_time() - began
    values = 1_500 * len(raws)
    return {
        "values": values,
        "values_per_s": round(values / spent_s),
        "over_bare_ed25519": round(spent_s / baseline_s, 2),
        "site_month_21_6M_values_s": round(MONTH_VALUES / values * spent_s, 1),
    }


def size(raws: Sequence[bytes], ring: KeyRing) -> dict[str, float]:
    """Bytes a value on the wire and in the ledger's file."""
    values = 1_500 * len(raws)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        ledger = Ledger(path)
        ledger.append([(wire_batch.verify(raw, SITE, AGENT, ring), 1) for raw in raws])
        ledger.close()
        at_rest = path.stat().st_size
    wire = sum(map(len, raws))
    return {
        "rows_a_batch": 1_500,
        "wire_bytes_a_value": round(wire / values, 2),
        "rest_bytes_a_value": round(at_rest / values, 2),
        "wire_over_float64": round(wire / values / 8, 2),
        "rest_over_float64": round(at_rest / values / 8, 2),
    }


if __name__ == "__main__":
    sys.exit(main())

"""Random and mutated buffers through the whole intake, seeded (row 102).

The fuzz target for longer searches is tests/fuzz/intake.py; what it starts from, and what it found, is
kept in tests/fuzz/corpus/intake and goes through here as well.
"""

import hashlib
import random
from pathlib import Path

import pytest

from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, messages, topics
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.cose import MAX_MESSAGE, MessageType
from gateway.ingest import Intake, Message, Policy, Verdict
from gateway.ingest.cadence import Allowance
from gateway.ledger import Ledger

CORPUS = Path(__file__).resolve().parents[1] / "fuzz/corpus/intake"
T0 = 1_767_196_800 * 10**9
MINUTE = 60 * 10**9
SITE, AGENT = "al-001", "gw-01"
BUFFERS = 50_000
CONFIG = cbor.encode({"site": SITE, "scale": "0.1"})


class StillClock:
    def utc_ns(self):
        return T0 + 60 * MINUTE

    def monotonic_ns(self):
        return 0


def genuine(signer):
    """One message of every kind that an agent sends."""
    batch = Batch(
        SITE, AGENT, 1, bytes(32), bytes(16), T0, T0 + MINUTE, (0, MINUTE),
        ClockState("ntp", sync=True), hashlib.sha256(CONFIG).digest(), "x",
        Columns(("line.kwh", "pot.v"), [0, 1], [T0, T0 + 1], [7, 4.25], [0, 0]),
        [{"t": T0, "type": "gap"}],
    )  # fmt: skip
    status = messages.Status(SITE, AGENT, bytes(16), 1, "up", 0, 0, {})
    return {
        "batch": wire_batch.sign(batch, signer),
        "config": cose.sign(MessageType.CONFIG, CONFIG, signer),
        "status": messages.sign_status(status, signer),
    }


def mutated(dice, parts):
    """A buffer: random bytes, or a genuine message that was cut, flipped, spliced or stretched."""
    raw = bytearray(dice.choice(parts))
    match dice.randrange(7):
        case 0:
            return dice.randbytes(dice.randrange(300))
        case 1:
            return bytes(raw[: dice.randrange(len(raw))])
        case 2:
            raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
        case 3:
            place = dice.randrange(len(raw))
            raw[place:place] = dice.randbytes(dice.randrange(1, 9))
        case 4:
            other = dice.choice(parts)
            raw[dice.randrange(len(raw)) :] = other[dice.randrange(len(other)) :]
        case 5:
            place = dice.randrange(len(raw))
            raw[place : place + dice.randrange(1, 9)] = bytes(
                [dice.choice((0, 0x1B, 0x5F, 0x9F, 0xFF))] * 9
            )
        case _:
            start = dice.randrange(len(raw))
            raw[start:start] = raw[start : start + dice.randrange(64)] * dice.randrange(1, 4)
    return bytes(raw)


@pytest.fixture
def desk(tmp_path, ring):
    ledger = Ledger(tmp_path / "ledger.sqlite")
    allowance = Allowance(batches_per_hour=3_600_000)
    yield Intake(ledger, ring, Policy(allowance=allowance), StillClock()), ledger
    ledger.close()


def settle(desk):
    intake, ledger = desk
    ledger.write(intake.undurable())
    intake.take()


def test_fifty_thousand_buffers_are_refused_by_a_reason_and_change_nothing(desk, signer):
    intake, ledger = desk
    dice, parts = random.Random(102), list(genuine(signer).values())
    refused, reasons = 0, {}
    for place in range(BUFFERS):
        topic = topics.topic(SITE, AGENT, dice.choice(("batch", "config", "status")))
        raw = mutated(dice, parts)
        if raw in parts:
            continue
        assert intake.offer(Message(topic, raw, T0)) is Verdict.REFUSED
        refused += 1
        if place % 1_000 == 999:
            settle(desk)
    for count in ledger.quarantine_counts():
        reasons[count.reason] = count.messages
    assert sum(reasons.values()) == refused > 0.9 * BUFFERS
    assert set(reasons) >= {"envelope", "header", "type", "signature", "unknown_key"}
    assert ledger.head(SITE, AGENT).seq == 0
    assert ledger.forks(SITE, AGENT) == []
    for kind in ("config", "batch"):
        raw = genuine(signer)[kind]
        intake.offer(Message(topics.topic(SITE, AGENT, kind), raw, T0 + 2 * MINUTE))
    settle(desk)
    assert ledger.head(SITE, AGENT).seq == 1


def test_buffers_of_an_enrolled_agent_are_kept_flagged_or_refused(desk, signer):
    """The same, but signed: what only a stolen key or a broken agent can send."""
    intake, ledger = desk
    dice = random.Random(1_020)
    payloads = [cose.parse(raw).payload for raw in genuine(signer).values()]
    intake.offer(Message(topics.topic(SITE, AGENT, "config"), genuine(signer)["config"], T0))
    seen = set()
    for place in range(5_000):
        kind, payload = (
            dice.choice((("batch", MessageType.BATCH), ("config", MessageType.CONFIG))),
            b"",
        )
        while not payload:
            payload = mutated(dice, payloads)
        raw = cose.sign(kind[1], payload, signer)
        seen.add(intake.offer(Message(topics.topic(SITE, AGENT, kind[0]), raw, T0)))
        if place % 500 == 499:
            settle(desk)
    assert Verdict.REFUSED in seen
    assert ledger.contiguous(SITE, AGENT)
    assert seen <= set(Verdict)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.bin")), ids=lambda path: path.stem)
def test_the_kept_corpus_goes_through_as_its_name_says(desk, path):
    intake, _ = desk
    kind, expected = path.stem.split("-")[:2]
    raw = path.read_bytes()
    assert len(raw) <= MAX_MESSAGE
    verdict = intake.offer(Message(topics.topic(SITE, AGENT, kind), raw, T0))
    if verdict is Verdict.REFUSED:
        (refusal,) = intake.undurable().refusals
        assert refusal.reason == expected
    else:
        assert verdict.value == expected


def test_there_is_a_corpus():
    assert len(list(CORPUS.glob("*.bin"))) >= 12

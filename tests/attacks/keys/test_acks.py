"""What an agent does with acks: only its own gateway's, for its own batches (rows 65 to 69, 85)."""

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from enrolled_plant import AGENT, NOW, SITE, StillClock, key

from edge_agent.acks import Identity
from edge_agent.config import Mqtt
from edge_agent.health import Health
from edge_agent.outbox import Outbox
from edge_agent.uplink import Uplink
from edge_agent.wire import cose
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import public_key
from edge_agent.wire.log_head import LogTrust
from edge_agent.wire.messages import Ack, sign_ack

GATEWAY, NEXT_GATEWAY, STRANGER = key(20), key(21), key(22)


class AllDone(Exception):
    """Everything that arrived was dealt with."""


class Inbox(asyncio.Queue):
    """Ends the receiver when it asks for more than there is."""

    async def get(self):
        if self.empty():
            raise AllDone
        return await super().get()


class Delivery:
    """An uplink with three unacked batches; the broker's part is played by hand."""

    def __init__(self, folder, signer):
        self.executor = ThreadPoolExecutor(1)
        self.outbox = Outbox(folder / "outbox.sqlite", 2**20)
        self.raws = [b"batch 1", b"batch 2", b"batch 3"]
        self.outbox.commit(self.raws, ChainHead(3, self.hash(3)), b"")
        self.health = Health()
        pinned = tuple(public_key(one.public_spki()) for one in (GATEWAY, NEXT_GATEWAY))
        identity = Identity(SITE, AGENT, bytes(16), signer, pinned, LogTrust("carbon-log/test"))
        self.uplink = Uplink(
            Mqtt(), identity, self.outbox, self.executor, StillClock(), self.health
        )

        self.uplink._inbox = Inbox(maxsize=1_000)

    def hash(self, seq):
        return hashlib.sha256(self.raws[seq - 1]).digest()

    async def give(self, *payloads):
        """Hand over what arrived on the ack topic and wait until it was dealt with."""
        for payload in payloads:
            self.uplink._take(payload)
        with pytest.raises(AllDone):
            await self.uplink._receive()

    def kept(self):
        return [one.seq for one in self.outbox.after(self.outbox.acked, 10)]


@pytest.fixture
def delivery(tmp_path, signer):
    made = Delivery(tmp_path, signer)
    yield made
    made.executor.shutdown()
    made.outbox.close()


def ack(delivery, seq, signer=GATEWAY, **changes):
    fields = {"site": SITE, "agent": AGENT, "seq": seq, "at_ns": NOW}
    fields["sha256"] = delivery.hash(seq) if 1 <= seq <= 3 else bytes(32)
    return sign_ack(Ack(**(fields | changes)), signer)


@pytest.mark.parametrize("signer", [GATEWAY, NEXT_GATEWAY], ids=["gateway", "next gateway"])
async def test_an_ack_of_a_pinned_gateway_releases_what_it_covers(delivery, signer):
    await delivery.give(ack(delivery, 2, signer))
    assert (delivery.kept(), delivery.health.acks, delivery.health.acks_refused) == ([3], 1, 0)


@pytest.mark.parametrize(
    ("forge", "row"),
    [
        (lambda d: ack(d, 2, STRANGER), 65),
        (lambda d: ack(d, 2, agent="gw-02"), 66),
        (lambda d: ack(d, 2, site="al-002"), 66),
        (lambda d: ack(d, 4), 68),
        (lambda d: ack(d, 2**53 - 1), 68),
        (lambda _: b"", 85),
        (lambda _: b"junk", 85),
        (lambda _: b"\x00" * 300_000, 85),
        (lambda _: cose.sign(MessageType.STATUS, b"\xa0", GATEWAY), 13),
    ],
)
async def test_an_ack_that_is_not_for_this_chain_releases_nothing(delivery, forge, row):
    await delivery.give(forge(delivery))
    assert row
    assert delivery.kept() == [1, 2, 3]
    assert (delivery.health.acks, delivery.health.acks_refused) == (0, 1)


async def test_an_old_ack_replayed_changes_nothing_and_sends_nothing_again(delivery):  # row 67
    old = ack(delivery, 1)
    await delivery.give(old, ack(delivery, 3))
    delivery.uplink._sent = 3
    await delivery.give(old, old)
    assert delivery.kept() == []
    assert (delivery.health.acks, delivery.health.acks_refused) == (2, 0)
    assert (delivery.uplink._sent, delivery.outbox.acked) == (3, 3)


async def test_an_ack_with_the_wrong_hash_stops_all_deleting_and_alarms(delivery, caplog):  # 69
    await delivery.give(ack(delivery, 2, sha256=b"\x07" * 32), ack(delivery, 2))
    assert delivery.kept() == [1, 2, 3]
    assert delivery.health.alarm == "foreign_history"
    assert delivery.health.state == "alarm"
    assert "foreign_history" in caplog.text


async def test_an_ack_beyond_what_was_made_alarms(delivery):  # row 68
    await delivery.give(ack(delivery, 9))
    assert delivery.health.alarm == "foreign_history"


async def test_a_flood_of_junk_on_the_ack_topic_stays_bounded(delivery):  # row 85
    for _ in range(5_000):
        delivery.uplink._take(b"junk")
    assert delivery.uplink._inbox.qsize() <= 1_000

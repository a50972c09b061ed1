"""Going on after a lost disk: a new outbox that follows the gateway's last ack.

    R1  the ack is authentic: signed by a pinned gateway key, for this site and agent
    R2  it names a batch; where none was ever acked there is nothing to go on from
    R3  the outbox is new: no batch, ack, calculation state or reading is in it
    R4  the chain's first batch after it says so: event ``resumed`` with reason, operator, the
        time since which data are lost, and when the ack was signed

Batches that the lost machine made after the acked one are not known here. When the gateway gets
them it holds two batches of one number: a fork, of which both sides are kept.
"""

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from edge_agent.acks import ACK_AT
from edge_agent.errors import ConfigError, TrustError
from edge_agent.outbox import Outbox
from edge_agent.wire import cbor
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.messages import Ack

_KEY = "resumed"
_MAX_TEXT = 200
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Resumption:
    """Why a chain goes on without the batches' outbox; times in ns since 1970 UTC."""

    seq: int
    reason: str
    operator: str
    lost_since_ns: int
    ack_at_ns: int

    def event_fields(self) -> dict[str, Any]:
        """What the event ``resumed`` says."""
        return {
            "reason": self.reason,
            "operator": self.operator,
            "lost_since": self.lost_since_ns,
            "ack_at": self.ack_at_ns,
        }


def resumption(
    ack: Ack, reason: str, operator: str, lost_since: datetime, now_ns: int
) -> Resumption:
    """What the first batch will say.

    Args:
        ack: the gateway's last one, authentic (R1).
        reason: why the outbox is lost.
        operator: who decided to go on.
        lost_since: when the lost machine stopped delivering, with its offset from UTC.
        now_ns: time now [ns UTC].

    Raises:
        TrustError: nothing was ever acked (R2).
        ConfigError: a text or the time cannot stand in a batch; names which, and what is right.
    """
    if ack.seq == 0:
        message = (
            f"the gateway holds no batch of {ack.site}/{ack.agent}: there is nothing to go on from; "
            "start the agent as a new one"
        )
        raise TrustError(message)
    if lost_since.tzinfo is None:
        message = f"{lost_since.isoformat()} has no offset from UTC"
        raise ConfigError(message, key="--lost-since", right="such as 2026-03-01T08:00+08:00")
    lost_ns = (lost_since - _EPOCH) // timedelta(microseconds=1) * 1_000
    if not 0 <= lost_ns <= now_ns:
        message = f"{lost_since.isoformat()} is not in the past"
        raise ConfigError(message, key="--lost-since", right="when the lost machine stopped")
    texts = _text("--reason", reason), _text("--operator", operator)
    return Resumption(ack.seq, *texts, lost_ns, ack.at_ns)


def begin(outbox: Outbox, ack: Ack, told: Resumption) -> None:
    """Make a new outbox the continuation of the chain behind the ack, in one transaction (R3).

    Raises:
        OutboxInUse: it holds data; nothing was changed.
    """
    fields = [told.seq, told.reason, told.operator, told.lost_since_ns, told.ack_at_ns]
    keep = {_KEY: cbor.encode(fields), ACK_AT: ack.at_ns.to_bytes(8, "big")}
    outbox.continue_after(ChainHead(ack.seq, ack.sha256), keep)


def untold(outbox: Outbox) -> Resumption | None:
    """The resumption that no batch has told yet (R4); None once one was made."""
    stored = outbox.get(_KEY)
    if stored is None:
        return None
    found = Resumption(*cbor.decode(stored))
    return found if found.seq == outbox.head.seq else None


def _text(key: str, given: str) -> str:
    """A text as it may stand in a batch."""
    text = unicodedata.normalize("NFC", given.strip())
    if not 1 <= len(text) <= _MAX_TEXT or not text.isprintable():
        message = f"{text[:_MAX_TEXT]!r} cannot stand in a batch"
        raise ConfigError(message, key=key, right=f"1 to {_MAX_TEXT} printable characters")
    return text

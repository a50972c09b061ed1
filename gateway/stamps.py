"""Which checkpoint needs an outside time-stamp token now, and what stands without one.

An authority stamps the newest checkpoint once a plant day was closed since its last token, at
least every 23 hours. After an outage the newest is enough: it covers all that came before.
"""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from edge_agent.calc.windows import HOUR_NS
from gateway.ledger import Checkpoint, Stamp
from gateway.ledger.reader import Reader
from gateway.timestamp import NONCE_BYTES, Token
from gateway.timestamp_http import TimestampClient

_LEAST_NS, OVERDUE_NS = 23 * HOUR_NS, 24 * HOUR_NS


@dataclass(slots=True)
class Stamper:
    """Finds what is due and keeps what came; both in the ledger's thread."""

    ledger: Reader
    clients: list[TimestampClient]
    random: Callable[[int], bytes] = secrets.token_bytes

    def due(self, authority: str, now_ns: int) -> Checkpoint | None:
        """The checkpoint that this authority should stamp now."""
        tree = self.ledger.tree
        newest, last = tree.checkpoint(), tree.stamped(authority)
        if newest is None or last is None:
            return newest
        if newest.size <= last.size:
            return None
        if now_ns - last.at_ns >= _LEAST_NS or tree.has_closed_day(last.size + 1):
            return newest
        return None

    def fetch(self, client: TimestampClient, made: Checkpoint) -> tuple[Stamp, Token]:
        """Ask an authority; blocks, so not in the ledger's thread. ``at_ns`` is not set.

        Raises:
            AuthorityUnreachable, TimestampError: as ``TimestampClient.stamp``.
        """
        nonce = self.random(NONCE_BYTES)
        asked, response, token = client.stamp(made.note.encode(), nonce)
        return Stamp(made.size, client.authority.name, 0, asked, response), token

    def keep(self, stamp: Stamp) -> None:
        """Keep a token beside its checkpoint; durable on return."""
        self.ledger.tree.add_stamp(stamp)


def standing(ledger: Reader, authorities: Iterable[str], now_ns: int) -> list[dict[str, Any]]:
    """For each authority: its newest token, and since when a checkpoint waits for the next."""
    found = []
    for name in authorities:
        last = ledger.tree.stamped(name)
        waiting = ledger.tree.checkpoints(last.size + 1 if last else 0)
        since_ns = waiting[0].at_ns if waiting else None
        found.append(
            {
                "authority": name,
                "stamped_size": last.size if last else None,
                "stamped_checkpoint_ns": last.at_ns if last else None,
                "waiting_since_ns": since_ns,
                "overdue": since_ns is not None and now_ns - since_ns > OVERDUE_NS,
            }
        )
    return found

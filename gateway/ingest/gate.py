"""What a batch's key and configuration let it do: refuse, wait, pass, pass with flags.

The key rules K1 to K4 stand in ``wire.keys.ring``; here they meet the chain:

    a waiting successor's batch behind a gap is no mistake: the change may still be on its way
    a batch that came too long after its key's end waits for an operator
    a keychange waits until an operator approved the new key; one without its proof changes nothing
    a configuration that nobody approved is flagged, where approval is required
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_agent.clock import NS_PER_S
from edge_agent.errors import TrustError
from edge_agent.wire.batch import VerifiedBatch
from edge_agent.wire.keys import KeyRing, PublicKey, check_place
from gateway.trust.approvals import UNAPPROVED
from gateway.trust.keyfold import announced

Approvals = Callable[[str, str], Mapping[bytes, int]]
"""The approved configurations of a site's agent, each with the time from which it holds [ns]."""
_DAY_NS = 24 * 3600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Passage:
    """How the next batch of a chain may pass: what it waits for, flags, the key after it."""

    wait: str = ""
    flags: tuple[str, ...] = ()
    successor: bytes | None = None


class Gate:
    """Judges batches by the keys in force and the approvals in the ledger."""

    def __init__(self, keys: KeyRing, grace_days: int, approvals: Approvals | None) -> None:
        self._keys = keys
        self._grace_ns = grace_days * _DAY_NS
        self._approvals = approvals
        self._approved: dict[tuple[str, str], Mapping[bytes, int]] = {}

    def refresh(self) -> None:
        """Forget what was known of approvals."""
        self._approved.clear()

    def check(self, verified: VerifiedBatch, head_seq: int) -> None:
        """Refuse a batch whose key may not sign at its place.

        Raises:
            RevokedKey, KeyNotValid: by rules K2 to K4.
        """
        batch = verified.batch
        enrolment = self._keys.find(verified.key_id, batch.site, batch.agent)
        if not (enrolment.pending and batch.seq > head_seq + 1):
            check_place(enrolment, batch.seq)

    def judge(self, verified: VerifiedBatch, received_ns: int) -> Passage:
        """How the chain's next batch may pass."""
        batch = verified.batch
        enrolment = self._keys.find(verified.key_id, batch.site, batch.agent)
        flags: list[str] = []
        if received_ns - enrolment.not_after_ns > self._grace_ns:
            if batch.seq > enrolment.released_seq:
                return Passage(wait="late_key")
            flags.append("late_key")
        if not self._is_approved(verified):
            flags.append(UNAPPROVED)
        try:
            new = announced(batch)
        except TrustError:
            return Passage(flags=(*flags, "keychange_invalid"))
        if new is None:
            return Passage(flags=tuple(flags))
        if not self._waits(new, batch.site, batch.agent):
            return Passage(wait="keychange_unapproved")
        return Passage(flags=tuple(flags), successor=new.kid)

    def _waits(self, new: PublicKey, site: str, agent: str) -> bool:
        found = self._keys.get(new.kid)
        return found is not None and found.source == (site, agent) and found.pending

    def _is_approved(self, verified: VerifiedBatch) -> bool:
        if self._approvals is None:
            return True
        batch = verified.batch
        source = (batch.site, batch.agent)
        if source not in self._approved:
            self._approved[source] = self._approvals(*source)
        from_ns = self._approved[source].get(batch.config_sha256)
        return from_ns is not None and batch.first_ns >= from_ns

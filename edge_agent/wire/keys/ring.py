"""Which key speaks for which agent, when, and for which batches of its chain.

Rules (judged by ``check_time`` and ``check_place``):

    K1  a batch's last time must lie within the key's validity
    K2  a key speaks from its first batch number on; an approved successor has none before the
        batch with its ``keychange``
    K3  after a ``keychange`` in batch n the old key ends with n
    K4  a revoked key is good up to the last good number, and for nothing after it
"""

from dataclasses import dataclass, replace

from edge_agent.errors import KeyNotValid, RevokedKey, UnknownKey, WrongAgent
from edge_agent.wire.keys.public import PublicKey

NEVER_NS = 2**63 - 1
LAST_SEQ = 2**53


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Which agent a key speaks for, and when it may.

    ``first_seq`` is None while the key is an approved successor whose ``keychange`` has not come;
    ``last_seq`` the batch with the change to the next key; ``revoked_after`` the last good batch
    of a revoked key; up to ``released_seq`` an operator lets batches in that come too long after
    ``not_after_ns``.
    """

    site: str
    agent: str
    public: PublicKey
    not_before_ns: int = 0
    not_after_ns: int = NEVER_NS
    first_seq: int | None = 1
    last_seq: int = LAST_SEQ
    revoked_after: int | None = None
    released_seq: int = 0

    @property
    def source(self) -> tuple[str, str]:
        """Site and agent."""
        return self.site, self.agent

    @property
    def active(self) -> bool:
        """Whether the agent's next batch may be signed by this key."""
        return (
            self.first_seq is not None and self.revoked_after is None and self.last_seq == LAST_SEQ
        )

    @property
    def pending(self) -> bool:
        """Whether this is an approved successor that waits for its ``keychange``."""
        return self.first_seq is None and self.revoked_after is None


class KeyRing:
    """The enrolled keys of all agents, by key id."""

    def __init__(self, enrolments: list[Enrolment]) -> None:
        self._by_kid = {enrolment.public.kid: enrolment for enrolment in enrolments}

    def find(self, kid: bytes, site: str, agent: str) -> Enrolment:
        """The enrolment of a key, which must be this agent's.

        Raises:
            UnknownKey: nobody enrolled this key.
            WrongAgent: it is enrolled for somebody else.
        """
        enrolment = self._by_kid.get(kid)
        if enrolment is None:
            message = f"key {kid.hex()[:16]} is not enrolled"
            raise UnknownKey(message)
        if enrolment.source != (site, agent):
            message = f"key of {enrolment.site}/{enrolment.agent} used for {site}/{agent}"
            raise WrongAgent(message)
        return enrolment

    def get(self, kid: bytes) -> Enrolment | None:
        """The enrolment of a key, whoever's it is."""
        return self._by_kid.get(kid)

    def enrolments(self) -> list[Enrolment]:
        """All of them."""
        return list(self._by_kid.values())

    def of(self, site: str, agent: str) -> list[Enrolment]:
        """One agent's keys, in order of enrolment."""
        return [one for one in self._by_kid.values() if one.source == (site, agent)]

    def succeed(self, old_kid: bytes, new_kid: bytes, seq: int) -> None:
        """From the batch after ``seq`` only the new key speaks (K2, K3)."""
        old, new = self._by_kid[old_kid], self._by_kid[new_kid]
        self._by_kid[old_kid] = replace(old, last_seq=seq)
        self._by_kid[new_kid] = replace(new, first_seq=seq + 1)

    def refresh(self) -> bool:
        """Take up what changed where the keys come from; a fixed ring has no such place.

        Returns:
            Whether anything changed.
        """
        return False


def check_time(enrolment: Enrolment, at_ns: int) -> None:
    """Refuse a key outside its validity (K1).

    Raises:
        KeyNotValid: ``at_ns`` is before the key's first or after its last moment.
    """
    if not enrolment.not_before_ns <= at_ns <= enrolment.not_after_ns:
        message = f"key {_short(enrolment)} is not valid at {at_ns}"
        raise KeyNotValid(message)


def check_place(enrolment: Enrolment, seq: int) -> None:
    """Refuse a key for a batch number it may not sign (K2 to K4).

    Raises:
        RevokedKey: the key is revoked and this is after its last good batch.
        KeyNotValid: the key does not speak yet, or does not speak any more.
    """
    if enrolment.revoked_after is not None and seq > enrolment.revoked_after:
        message = f"key {_short(enrolment)} is revoked after batch {enrolment.revoked_after}"
        raise RevokedKey(message)
    if enrolment.first_seq is None or seq < enrolment.first_seq:
        message = f"key {_short(enrolment)} may not sign batch {seq} yet: no keychange came"
        raise KeyNotValid(message)
    if seq > enrolment.last_seq:
        message = f"key {_short(enrolment)} ended with the keychange in {enrolment.last_seq}"
        raise KeyNotValid(message)


def _short(enrolment: Enrolment) -> str:
    return enrolment.public.kid.hex()[:16]

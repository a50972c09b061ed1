"""Persons, their keys and roles, and who may sign what when. Pure: the offline verifier uses it too.

Whoever leaves stays known with the time of it: what was signed before is still good.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_agent.errors import TrustError
from edge_agent.wire.keys import PublicKey

Role = Literal["operator", "approver", "analyst"]
NEVER_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Person:
    """A name, a key, what it may decide, and until when [ns UTC]."""

    name: str
    public: PublicKey
    roles: frozenset[str]
    revoked_ns: int = NEVER_NS


class People:
    """Everybody who may sign decisions."""

    def __init__(self, persons: Sequence[Person]) -> None:
        self._by_kid = {person.public.kid: person for person in persons}

    def __iter__(self) -> Iterator[Person]:
        return iter(self._by_kid.values())

    def find(self, kid: bytes, role: Role, at_ns: int) -> Person:
        """The person with this key, who must have the role at the time the decision arrives.

        Raises:
            TrustError: nobody, not in this role, or revoked by then.
        """
        person = self._by_kid.get(kid)
        if person is None:
            message = f"key {kid.hex()[:16]} is no person's of the gateway's file ('people')"
            raise TrustError(message)
        if role not in person.roles:
            message = f"{person.name} is no {role}"
            raise TrustError(message)
        if at_ns >= person.revoked_ns:
            message = f"the key of {person.name} is revoked"
            raise TrustError(message)
        return person

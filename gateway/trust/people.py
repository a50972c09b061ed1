"""The people whose keys sign decisions; they stand in the gateway's file.

Whoever leaves stays there with the time of it: what was signed before is still good.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_agent.errors import ConfigError, KeyFileError, TrustError
from edge_agent.wire import certificates
from edge_agent.wire.keys import PublicKey, public_key
from gateway.config import GatewayConfig

Role = Literal["operator", "approver", "analyst"]
_NEVER_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Person:
    """A name, a key, what it may decide, and until when [ns UTC]."""

    name: str
    public: PublicKey
    roles: frozenset[str]
    revoked_ns: int = _NEVER_NS


class People:
    """Everybody who may sign decisions."""

    def __init__(self, persons: Sequence[Person]) -> None:
        self._by_kid = {person.public.kid: person for person in persons}

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


def load_people(config: GatewayConfig) -> People:
    """The people of the gateway's file.

    Raises:
        ConfigError: a key file is unreadable or unsafe, or one key stands for two people.
    """
    persons: dict[bytes, Person] = {}
    for place, one in enumerate(config.people):
        key = f"people[{place}].public_key"
        try:
            public = public_key(one.public_key.read_bytes())
        except OSError as error:
            message = f"cannot read {one.public_key}: {error.strerror}"
            raise ConfigError(message, key=key) from error
        except KeyFileError as error:
            raise ConfigError(f"{one.public_key}: {error}", key=key) from error
        if public.kid in persons:
            raise ConfigError("this key stands twice", key=key, right="one key, one person")
        revoked_ns = certificates.to_ns(one.revoked) if one.revoked else _NEVER_NS
        persons[public.kid] = Person(one.name, public, frozenset(one.roles), revoked_ns)
    return People(list(persons.values()))

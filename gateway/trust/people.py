"""The people whose keys sign decisions; they stand in the gateway's file."""

from edge_agent.errors import ConfigError, KeyFileError
from edge_agent.wire import certificates
from edge_agent.wire.keys import public_key
from gateway.config import GatewayConfig
from gateway.trust.persons import NEVER_NS, People, Person, Role

__all__ = ["People", "Person", "Role", "load_people"]


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
        revoked_ns = certificates.to_ns(one.revoked) if one.revoked else NEVER_NS
        persons[public.kid] = Person(one.name, public, frozenset(one.roles), revoked_ns)
    return People(list(persons.values()))

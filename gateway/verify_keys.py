"""The verifier's second step: whose keys signed, and what signed decisions make of them."""

from collections.abc import Callable, Mapping, Sequence

from edge_agent.wire.keys import Enrolment, PublicKey
from gateway import bundle as bundle_
from gateway.bundle import Bundle, BundleError
from gateway.decisions import Paper
from gateway.trust import offline
from gateway.trust.keyfold import KeyFold
from gateway.trust.offline import Keys
from gateway.trust.persons import People
from gateway.trust_file import Trust

_KEY_DECISIONS = {
    "enrol": "enrolments",
    "keychange": "changes of key",
    "revoke": "revocations",
    "release": "releases",
    "relabel": "relabellings",
}


def keys_of(
    bundle: Bundle,
    site: str,
    gateway: PublicKey,
    papers: Sequence[Paper],
    to: tuple[Trust | None, Callable[[str], None]],
) -> Keys:
    """The agents' keys: those that the bundle names, or what signed decisions make of them.

    Raises:
        BundleError: a key that the trust file does not know, or a decision that breaks a rule.
    """
    persons, (trust, tell) = bundle_.person_keys(bundle), to
    listed = bundle_.agent_keys(bundle)
    people = {f"person {name}": keys for name, keys in persons.items()}
    if trust is not None:
        offline.check_persons(persons, trust)
    if trust is None or not trust.cas:
        _check_trust(gateway, {**listed, **people}, trust, tell)
        ring = [Enrolment(site, agent, key) for agent, keys in listed.items() for key in keys]
        return Keys(KeyFold(ring, People([])))
    for key in (gateway, *(key for some in people.values() for key in some)):
        _check_anchor(key, trust)
    keys = offline.fold(papers, listed, site, trust)
    enrolled = keys.counts["enrol"]
    pinned = len(keys.ring.enrolments()) - enrolled
    tell(
        f"2 keys          {1 + pinned + sum(map(len, people.values()))} keys in the trust file, "
        f"{enrolled} enrolled under {len(trust.cas)} CA"
    )
    told = ", ".join(f"{keys.counts[kind]} {text}" for kind, text in _KEY_DECISIONS.items())
    tell(f"2 decisions     {told}")
    return keys


def _check_trust(
    gateway: PublicKey,
    keys: Mapping[str, list[PublicKey]],
    trust: Trust | None,
    tell: Callable[[str], None],
) -> None:
    every = [gateway, *(key for some in keys.values() for key in some)]
    if trust is None:
        tell(
            f"2 keys          {len(every)} keys taken from the bundle itself; "
            "give --trust to anchor them outside"
        )
        return
    for key in every:
        _check_anchor(key, trust)
    tell(f"2 keys          {len(every)} keys, all in the trust file")


def _check_anchor(key: PublicKey, trust: Trust) -> None:
    if key.kid not in trust.keys:
        message = f"keys.cbor: key {key.kid.hex()} is not in the trust file"
        raise BundleError(message)

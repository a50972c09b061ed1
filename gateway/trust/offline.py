"""Keys and approvals of a bundle, judged by what a verifier got elsewhere. Pure, no ledger.

The key ring is folded from the signed enrolments, changes of key, revocations and releases by the
same code as at the gateway (``keyfold``). On top, what the gateway checked when it took them in:
the certificate is of a CA of the trust file and of the signing profile, names this agent and key,
and states the validity that the enrolment states; the request proves possession of the key.

    V1  every decision is signed by a person of the trust file in the role for it, good at that time
    V2  an enrolled key has a certificate of a CA of the trust file
    V3  a key without an enrolment stands in the trust file
    V4  the last good batch of a revocation and the batch of a keychange are those of the bundle,
        and no batch of it was relabelled
    V5  an approval compares with the one before it and names the author that the document names
    V6  a mark of a clock ahead is the gateway's, a verdict on it an operator's (``offline_clocks``)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from edge_agent.errors import CarbonError, TrustError
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import certificates
from edge_agent.wire.certificates import VALID_DAYS, Purpose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.enrolment import open_request
from edge_agent.wire.keys import Enrolment, PublicKey, public_key
from gateway.bundle import BundleError
from gateway.decisions import Paper
from gateway.evidence import BatchRange, Configuration, ConfigUse
from gateway.trust import assent, statements
from gateway.trust.assent import Use
from gateway.trust.changes import SEMANTIC, changes
from gateway.trust.keyfold import KEYCHANGE, Decision, KeyFold
from gateway.trust.persons import People, Person
from gateway.trust.statements import Statement
from gateway.trust_file import Trust

_DAY_NS = 24 * 3600 * 10**9
_APPROVAL, _RELABEL = "approval", "relabel"


@dataclass(slots=True)
class Keys:
    """The keys in force by the decisions of a bundle: the ring, and how many decisions of a kind."""

    ring: KeyFold
    counts: Counter[str] = field(default_factory=Counter)
    revocations: list[Statement] = field(default_factory=list)
    relabels: list[Statement] = field(default_factory=list)


@dataclass(slots=True)
class Approvals:
    """Approved configurations by agent, each with who approved it, and how many were checked."""

    holding: dict[str, dict[bytes, int]] = field(default_factory=dict)
    by: dict[tuple[str, bytes], Statement] = field(default_factory=dict)
    count: int = 0


def people_of(trust: Trust) -> People:
    """The persons of a trust file."""
    return People(
        [Person(one.name, one.public, one.roles, one.revoked_ns) for one in trust.persons]
    )


def check_persons(persons: Mapping[str, Sequence[PublicKey]], trust: Trust) -> None:
    """That who a bundle says has signed lab values is who the trust file says.

    Raises:
        BundleError: the trust file knows the key under another name, or not as an analyst's.
    """
    known = {one.public.kid: one for one in trust.persons}
    for name, keys in persons.items():
        for one in (known[key.kid] for key in keys if key.kid in known):
            if one.name != name or "analyst" not in one.roles:
                message = (
                    f"keys.cbor: key {one.public.kid.hex()} signs lab values as {name!a}; in the "
                    f"trust file it is {one.name!a}, {', '.join(sorted(one.roles))}"
                )
                raise BundleError(message)


def fold(
    papers: Sequence[Paper], listed: Mapping[str, Sequence[PublicKey]], site: str, trust: Trust
) -> Keys:
    """The keys in force, by V1 to V3.

    Args:
        papers: the bundle's decisions in order of arrival.
        listed: keys by agent that the bundle names.
        site: the plant.
        trust: what was got elsewhere, with at least one CA.

    Raises:
        BundleError: names the file and the rule it breaks.
    """
    enrolled = {_spki(paper) for paper in papers if paper.kind == "enrol"}
    pinned = [
        Enrolment(site, agent, key)
        for agent, keys in sorted(listed.items())
        for key in keys
        if key.spki not in enrolled
    ]
    for one in pinned:
        if one.public.kid not in trust.keys:  # V3
            message = (
                f"keys.cbor: key {one.public.kid.hex()} of {one.agent} is not in the trust file, "
                "and no enrolment of it is here"
            )
            raise BundleError(message)
    people = people_of(trust)
    keys = Keys(KeyFold(pinned, people))
    for paper in papers:
        if paper.kind == _APPROVAL:
            continue
        try:
            _take(keys, paper, people, trust.cas)
        except CarbonError as error:
            message = f"{paper.name} ({paper.leaf_name}): {error}"
            raise BundleError(message) from error
        keys.counts[paper.kind] += 1
    return keys


def _spki(paper: Paper) -> bytes:
    try:
        spki = statements.unchecked(paper.raw).get("spki")
    except CarbonError as error:
        message = f"{paper.name}: not an enrolment: {error}"
        raise BundleError(message) from error
    if type(spki) is not bytes:
        message = f"{paper.name}: not an enrolment: it names no key"
        raise BundleError(message)
    return spki


def _take(keys: Keys, paper: Paper, people: People, cas: tuple[x509.Certificate, ...]) -> None:
    if paper.kind == _RELABEL:
        found: Statement | None = statements.open_(
            paper.raw, MessageType.RELABEL, people, paper.received_ns
        )
    else:
        decision = Decision(paper.kind, paper.site, paper.id, paper.raw, paper.received_ns)
        found = keys.ring.take(decision)
    if found is None:
        return
    if found.source != (paper.site, paper.id):
        message = f"it is about {'/'.join(found.source)}, listed for {paper.site}/{paper.id}"
        raise TrustError(message)
    if found.type is MessageType.ENROLMENT:
        _check_enrolment(found, cas)
    elif found.type is MessageType.REVOCATION:
        keys.revocations.append(found)
    elif found.type is MessageType.RELABEL:
        keys.relabels.append(found)


def _check_enrolment(found: Statement, cas: tuple[x509.Certificate, ...]) -> None:
    """V2: certificate, request and enrolment speak of one key, one agent, one validity."""
    fields = found.fields
    issued = certificates.check(fields["cert"], cas, Purpose.SIGNING)
    request = open_request(fields["request"])
    kid = public_key(fields["spki"]).kid
    if {issued.public.kid, request.public.kid} != {kid}:
        message = "enrolment, request and certificate are not for one key"
        raise TrustError(message)
    if (issued.site, issued.agent) != found.source or (request.site, request.agent) != found.source:
        message = (
            f"the certificate is {issued.site}/{issued.agent}'s, the request "
            f"{request.site}/{request.agent}'s, the enrolment {'/'.join(found.source)}'s"
        )
        raise TrustError(message)
    valid = (issued.not_before_ns, issued.not_after_ns)
    longest_ns = (VALID_DAYS[Purpose.SIGNING] + 1) * _DAY_NS
    if valid != (fields["not_before"], fields["not_after"]) or valid[1] - valid[0] > longest_ns:
        message = "the enrolment states another validity than its certificate, or more than a year"
        raise TrustError(message)


def check_places(papers: Sequence[Paper], keys: Keys, ranges: Sequence[BatchRange]) -> None:
    """V4: what decisions say of batches is true of the batches that are here.

    Raises:
        BundleError: names the decision.
    """
    hashes = hashes_of(ranges)
    for revoked in keys.revocations:
        agent, seq, sha256 = (
            revoked.fields[name] for name in ("agent", "last_good_seq", "last_good_hash")
        )
        if hashes.get((agent, seq), sha256) != sha256:
            message = f"the revocation of {agent} after batch {seq} names another batch {seq}"
            raise BundleError(message)
    for label in keys.relabels:
        agent, first, last = (label.fields[name] for name in ("agent", "first_seq", "last_seq"))
        if any(
            one.agent == agent and one.first_seq <= last and first <= one.last_seq for one in ranges
        ):
            message = f"batches {first}-{last} of {agent} are {label.fields['label']}: {label.fields['reason']}"
            raise BundleError(message)
    for paper in papers:
        if paper.kind == KEYCHANGE:
            seq = wire_batch.verify(paper.raw, paper.site, paper.id, keys.ring).batch.seq
            if hashes.get((paper.id, seq), paper.sha256) != paper.sha256:
                message = (
                    f"{paper.name}: the keychange of {paper.id} is not batch {seq} of the chain"
                )
                raise BundleError(message)


def check_approvals(
    papers: Sequence[Paper], configurations: Mapping[bytes, Configuration], trust: Trust
) -> Approvals:
    """Every approval, by V1 and V5.

    Args:
        papers: the bundle's decisions in order of arrival.
        configurations: those of the bundle, by digest.
        trust: what was got elsewhere.

    Raises:
        BundleError: names the file and the rule it breaks.
    """
    people, result = people_of(trust), Approvals()
    for paper in papers:
        if paper.kind == _APPROVAL:
            try:
                _approve(result, paper, people, configurations)
            except CarbonError as error:
                message = f"{paper.name} ({paper.leaf_name}): {error}"
                raise BundleError(message) from error
    return result


def _approve(
    result: Approvals, paper: Paper, people: People, configurations: Mapping[bytes, Configuration]
) -> None:
    found = assent.open_approval(paper.raw, people, paper.received_ns)
    if found.source != (paper.site, paper.id):
        message = f"it is about {'/'.join(found.source)}, listed for {paper.site}/{paper.id}"
        raise TrustError(message)
    digest, holding = found.fields["config"], result.holding.setdefault(paper.id, {})
    last = next(reversed(holding), None)
    if found.fields["previous"] != last:
        shown = [item.hex()[:16] if item else "none" for item in (found.fields["previous"], last)]
        message = f"it compares with {shown[0]}, but approved last before it is {shown[1]}"
        raise TrustError(message)
    document = configurations.get(digest)
    author = document.plain.get("author") if document else None
    if author and author != found.fields["author"]:
        message = f"the configuration's author is {author!a}, the approval says otherwise"
        raise TrustError(message)
    assent.add(holding, found)
    result.by[paper.id, digest] = found
    result.count += 1


def hashes_of(ranges: Sequence[BatchRange]) -> dict[tuple[str, int], bytes]:
    """Hash of every batch by agent and number."""
    return {
        (one.agent, one.first_seq + place): sha256
        for one in ranges
        for place, sha256 in enumerate(one.hashes)
    }


def objections(uses: Sequence[ConfigUse], approvals: Approvals) -> list[str]:
    """Batches of the month under configurations that nobody approved, or only for later ones."""
    return assent.objections(
        [Use(one.agent, one.config, one.first_seq, one.last_seq, one.first_ns) for one in uses],
        approvals.holding,
    )


def differences(
    uses: Sequence[ConfigUse], configurations: Mapping[bytes, Configuration]
) -> list[str]:
    """What changes of meaning an agent's configuration had within its batches, before and after."""
    told = []
    last: dict[str, ConfigUse] = {}
    for one in uses:
        before = last.get(one.agent)
        last[one.agent] = one
        if before is not None:
            old, new = configurations[before.config].plain, configurations[one.config].plain
            told += [
                f"{one.agent} from batch {one.first_seq}: {change}"
                for change in changes(old, new)
                if change.kind in SEMANTIC
            ]
    return told

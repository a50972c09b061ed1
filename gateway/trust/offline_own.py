"""The gateway's own records in a bundle (``own_records``): that they are its own. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.errors import CarbonError, TrustError
from edge_agent.wire.keys import PublicKey
from gateway.bundle import BundleError
from gateway.decisions import Paper
from gateway.trust import own_records
from gateway.trust.own_records import MONTH, PERSON


@dataclass(frozen=True, slots=True)
class Revoked:
    """A person's key that is revoked: since when [ns UTC], and where the log says so, if it does."""

    name: str
    since_ns: int
    index: int | None = None


def read(
    papers: Sequence[Paper],
    gateway: Mapping[bytes, PublicKey],
    indexes: Mapping[str, int],
    tell: Callable[[str], None],
) -> dict[bytes, Revoked]:
    """Check every record; gives the persons' keys that are revoked, by id.

    Of several records of one key the earliest leaf and the earliest time hold.

    Raises:
        BundleError: names the file and what is wrong with it.
    """
    revoked: dict[bytes, Revoked] = {}
    months = 0
    for paper in papers:
        if paper.kind not in (MONTH, PERSON):
            continue
        try:
            said = own_records.open_(paper.raw, paper.kind, gateway)
            _check_place(paper, said)
        except CarbonError as error:
            message = f"{paper.name} ({paper.leaf_name}): {error}"
            raise BundleError(message) from error
        if paper.kind == MONTH:
            months += 1
            continue
        kid, index = said["kid"], indexes.get(paper.leaf_name)
        before = revoked.get(kid)
        since_ns = min(said["revoked"], before.since_ns) if before else said["revoked"]
        first = before.index if before else index
        revoked[kid] = Revoked(said["name"], since_ns, first)
    if months or revoked:
        tell(
            f"6 records       {months} versions of closed months, {len(revoked)} keys of persons revoked"
        )
    return revoked


def _check_place(paper: Paper, said: Mapping[str, object]) -> None:
    kid = said.get("kid")
    about = kid.hex() if isinstance(kid, bytes) else said.get("month")
    if (said["site"], about) != (paper.site, paper.id):
        message = f"it is about {about} of {said['site']}"
        raise TrustError(message)

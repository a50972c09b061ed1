"""Outside time-stamp tokens in a bundle: since when at the latest its content exists.

    log/stamped/<size>.checkpoint       a checkpoint as it was signed and stamped
    log/stamped/<size>.<authority>.tsq  the request for a token, in DER
    log/stamped/<size>.<authority>.tsr  the authority's response, with the token
    log/stamped.cbor                    by size: proof that the log grew from there to log/checkpoint

``pack`` reads the tree; ``check`` is pure and runs offline.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_agent.errors import CarbonError
from edge_agent.wire import cbor, merkle, notes
from edge_agent.wire.notes import Head, NoteKey
from gateway import timestamp
from gateway.bundle import Bundle, BundleError
from gateway.timestamp import Authority, Token

PROOFS, FOLDER = "log/stamped.cbor", "log/stamped/"
_RESPONSE = re.compile(r"log/stamped/(\d+)\.([a-z0-9_-]+)\.tsr\Z")


class Noted(Protocol):
    """A checkpoint's text."""

    @property
    def note(self) -> str:
        """As it was signed."""
        ...


class Stamped(Protocol):
    """A token as the ledger keeps it."""

    @property
    def size(self) -> int:
        """The checkpoint's size."""
        ...

    @property
    def authority(self) -> str:
        """Who gave it."""
        ...

    @property
    def request(self) -> bytes:
        """In DER."""
        ...

    @property
    def response(self) -> bytes:
        """In DER."""
        ...


class Log(Protocol):
    """What is needed of the ledger's tree."""

    def checkpoint(self, at_most: int | None = None) -> Noted | None:
        """The newest checkpoint of at most a size."""
        ...

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of ``new`` leaves grew out of the one of ``old``."""
        ...

    def stamps(self, first: int = 0, last: int = 2**62) -> Sequence[Stamped]:
        """Tokens of the checkpoints of these sizes, both included."""
        ...


@dataclass(frozen=True, slots=True)
class Times:
    """What the tokens of known authorities prove.

    ``all_before`` is the earliest token of a checkpoint that covers everything, ``first`` the
    earliest of all with the number of leaves it covers; ``others`` counts tokens of authorities
    that are not known; ``every`` are all known ones, with the leaves that each covers.
    """

    counts: dict[str, int]
    all_before: Token | None
    first: tuple[int, Token] | None
    others: int
    every: tuple[tuple[int, Token], ...] = ()


def pack(log: Log, size: int, first: int) -> dict[str, bytes]:
    """The files of all tokens that say something of the leaves from ``first`` on.

    Args:
        log: the tree.
        size: size of the bundle's checkpoint; tokens of later ones are left out.
        first: the lowest index of a leaf in the bundle.
    """
    files: dict[str, bytes] = {}
    proofs: dict[str, list[bytes]] = {}
    for stamp in log.stamps(first + 1, size):
        made = log.checkpoint(stamp.size)
        assert made is not None  # noqa: S101  a token is kept beside its checkpoint
        place = f"{FOLDER}{stamp.size}."
        proofs[str(stamp.size)] = log.consistency(stamp.size, size)
        files[f"{place}checkpoint"] = made.note.encode()
        files[f"{place}{stamp.authority}.tsq"] = stamp.request
        files[f"{place}{stamp.authority}.tsr"] = stamp.response
    return files | {PROOFS: cbor.encode(proofs)} if files else {}


def check(
    bundle: Bundle, log: tuple[Head, NoteKey], last: int, known: Sequence[Authority]
) -> Times:
    """What the tokens in a bundle prove.

    Args:
        bundle: as read.
        log: the bundle's checkpoint, verified, and the key that signed it.
        last: the highest index of a leaf in the bundle.
        known: the authorities that the verifier trusts; tokens of others are counted only.

    Raises:
        BundleError: a token, or the checkpoint that it is for, does not hold; names the file.
    """
    by_name = {one.name: one for one in known}
    inside = sorted(
        (int(match[1]), match[2]) for name in bundle.files if (match := _RESPONSE.match(name))
    )
    found: list[tuple[int, Token]] = []
    proofs = _proofs(bundle)
    for size, authority in inside:
        if authority not in by_name:
            continue
        text, name = _stamped(bundle, size, log, proofs), f"{FOLDER}{size}.{authority}.ts"
        asked = _file(bundle, f"{name}q")
        try:
            token = timestamp.check(bundle.files[f"{name}r"], asked, text, [by_name[authority]])
        except timestamp.TimestampError as error:
            raise BundleError(f"{name}r: {error}") from error
        found.append((size, token))
    counts = {one.name: sum(t.authority == one.name for _, t in found) for one in known}
    covering = [token for size, token in found if size > last]
    return Times(
        {name: count for name, count in counts.items() if count},
        min(covering, key=lambda token: token.before, default=None),
        min(found, key=lambda item: item[1].before, default=None),
        len(inside) - len(found),
        tuple(found),
    )


def _stamped(bundle: Bundle, size: int, log: tuple[Head, NoteKey], proofs: dict[str, Any]) -> bytes:
    """The stamped checkpoint's text, of which the bundle's checkpoint is a continuation."""
    name = f"{FOLDER}{size}.checkpoint"
    content = _file(bundle, name)
    head, key = log
    try:
        stated = notes.verify_checkpoint(content.decode("utf-8"), key)
        if stated.size != size:
            message = f"states {stated.size} leaves"
            raise BundleError(message)
        old, new = (size, stated.root), (head.size, head.root)
        merkle.check_consistency(old, new, proofs.get(str(size), []))
    except (CarbonError, ValueError) as error:
        message = f"{name}: not a state of the log that log/checkpoint states: {error}"
        raise BundleError(message) from error
    return content


def _proofs(bundle: Bundle) -> dict[str, Any]:
    proofs = cbor.decode(bundle.files[PROOFS]) if PROOFS in bundle.files else {}
    good = type(proofs) is dict and all(
        type(hashes) is list and all(type(one) is bytes for one in hashes)
        for hashes in proofs.values()
    )
    if not good:
        message = f"{PROOFS}: hashes by size are right"
        raise BundleError(message)
    return dict(proofs)


def _file(bundle: Bundle, name: str) -> bytes:
    if name not in bundle.files:
        message = f"{name} is missing"
        raise BundleError(message)
    return bundle.files[name]

"""The signed decisions in a bundle: about keys and about configurations, every version of a site.

    documents.cbor            all of them in order of arrival: [kind, id, version, received_ns, sha256]
    keys/<sha256>.cose        enrolments (with their certificates), changes of key, revocations,
                              releases, relabelled batches, revoked keys of persons
    approvals/<sha256>.cose   approvals of configurations
    months/<sha256>.cose      versions of closed months, as far as there were any before this bundle
    clocks.bin                marks of batches from a clock ahead of the gateway's, verdicts on them: one
                              after the other, each with its length (4 bytes) before it; agents cause
                              marks, so they must not cost a file, and a line of the manifest, each

They are the documents that the log holds as leaves, byte for byte. Versions of one document are
1, 2, 3 ... and stand in the log in the order of this list, so none can be left out in the middle
or moved; what was left out at the end only the log's own leaves tell (``leaf_list``). Pure.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from edge_agent.wire import cbor, merkle
from gateway.bundle import Bundle, BundleError

INDEX = "documents.cbor"
CLOCKS = "clocks.bin"
FOLDERS = {
    "enrol": "keys",
    "keychange": "keys",
    "revoke": "keys",
    "release": "keys",
    "relabel": "keys",
    "approval": "approvals",
    "clock_mark": "clocks",
    "clock_verdict": "clocks",
    "person_revoke": "keys",
    "month": "months",
}
"""The ledger's kinds of decisions and the folder, or packed file, each stands in."""
_PACKED = "clocks"
_LENGTH_BYTES = 4


class Kept(Protocol):
    """A document as the ledger keeps it."""

    @property
    def kind(self) -> str:
        """What it is, as the log's leaf says."""
        ...

    @property
    def id(self) -> str:
        """What it is about: the agent."""
        ...

    @property
    def version(self) -> int:
        """1, 2, 3 ... of this kind and id."""
        ...

    @property
    def raw(self) -> bytes:
        """The signed bytes."""
        ...

    @property
    def received_ns(self) -> int:
        """When the gateway took it in [ns UTC]."""
        ...


@dataclass(frozen=True, slots=True)
class Paper:
    """A decision in a bundle; ``received_ns`` is the gateway's word, the rest its signer's."""

    kind: str
    site: str
    id: str
    version: int
    received_ns: int
    raw: bytes

    @property
    def sha256(self) -> bytes:
        """Of the signed bytes."""
        return hashlib.sha256(self.raw).digest()

    @property
    def name(self) -> str:
        """Its file in the bundle."""
        return _file(self.kind, self.sha256)

    @property
    def leaf_name(self) -> str:
        """What it is called among the bundle's leaves."""
        return f"{self.kind}/{self.id}/{self.version}"

    @property
    def leaf(self) -> bytes:
        """Its leaf's data in the log."""
        return merkle.document_leaf(self.kind, self.site, self.id, self.version, self.sha256)


def pack(documents: Iterable[Kept]) -> dict[str, bytes]:
    """The files of a site's decisions, given in order of arrival."""
    files: dict[str, bytes] = {}
    packed: list[bytes] = []
    index = []
    for one in documents:
        sha256 = hashlib.sha256(one.raw).digest()
        if FOLDERS[one.kind] == _PACKED:
            packed.append(len(one.raw).to_bytes(_LENGTH_BYTES, "big") + one.raw)
        else:
            files[_file(one.kind, sha256)] = one.raw
        index.append([one.kind, one.id, one.version, one.received_ns, sha256])
    if packed:
        files[CLOCKS] = b"".join(packed)
    return files | {INDEX: cbor.encode(index)}


def _file(kind: str, sha256: bytes) -> str:
    folder = FOLDERS[kind]
    return CLOCKS if folder == _PACKED else f"{folder}/{sha256.hex()}.cose"


def _unpack(content: bytes) -> list[bytes]:
    """The documents of a packed file."""
    found: list[bytes] = []
    at = 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[at:start], "big")
        if at > len(content):
            message = f"{CLOCKS}: document {len(found) + 1} is cut off"
            raise BundleError(message)
        found.append(content[start:at])
    return found


def read(bundle: Bundle, site: str) -> list[Paper]:
    """The decisions of a bundle in order of arrival; what they say is not judged here.

    Raises:
        BundleError: the list is malformed, a version or a file is missing, or one is not listed.
    """
    if INDEX not in bundle.files:
        message = f"{INDEX} is missing"
        raise BundleError(message)
    papers = list(_listed(bundle, site))
    names = {paper.name for paper in papers}
    for name in sorted(bundle.files):
        inside = name == CLOCKS or name.partition("/")[0] in FOLDERS.values()
        if inside and name not in names:
            message = f"{name}: not listed in {INDEX}"
            raise BundleError(message)
    versions: dict[tuple[str, str], int] = {}
    for paper in papers:
        key = (paper.kind, paper.id)
        versions[key] = versions.get(key, 0) + 1
        if paper.version != versions[key]:
            message = (
                f"{INDEX}: {paper.kind} of {paper.id} version {versions[key]} is missing; "
                f"version {paper.version} stands in its place"
            )
            raise BundleError(message)
    return papers


def _listed(bundle: Bundle, site: str) -> Iterator[Paper]:
    index = cbor.decode(bundle.files[INDEX])
    packed = _unpack(bundle.files.get(CLOCKS, b""))
    packed.reverse()
    for item in index if type(index) is list else [None]:
        kind, id_, version, received_ns, sha256 = _row(item)
        name = _file(kind, sha256)
        if name not in bundle.files or (name == CLOCKS and not packed):
            message = f"{name}: {kind} of {id_} version {version} is listed in {INDEX} but missing"
            raise BundleError(message)
        raw = packed.pop() if name == CLOCKS else bundle.files[name]
        paper = Paper(kind, site, id_, version, received_ns, raw)
        if paper.sha256 != sha256:
            message = f"{name}: its content has another digest"
            raise BundleError(message)
        yield paper
    if packed:
        message = f"{CLOCKS}: {len(packed)} documents more than listed in {INDEX}"
        raise BundleError(message)


def _row(item: Any) -> tuple[str, str, int, int, bytes]:
    types = [type(part) for part in item] if type(item) is list else []
    if types != [str, str, int, int, bytes] or item[0] not in FOLDERS:
        message = f"{INDEX}: {item!r:.80} is no [kind, id, version, received_ns, sha256]"
        raise BundleError(message)
    return item[0], item[1], item[2], item[3], item[4]


def leaves(papers: Iterable[Paper]) -> dict[str, bytes]:
    """Leaf data of decisions by a name that is unique in a bundle."""
    return {paper.leaf_name: paper.leaf for paper in papers}


def check_order(papers: Sequence[Paper], indexes: Mapping[str, int]) -> None:
    """That the decisions stand in the log in the order of the list.

    Args:
        papers: in the list's order.
        indexes: where each leaf stands in the log, by its name.

    Raises:
        BundleError: two of them were exchanged.
    """
    for before, after in pairwise(papers):
        if indexes[before.leaf_name] >= indexes[after.leaf_name]:
            message = (
                f"{INDEX}: {after.leaf_name} stands behind {before.leaf_name}, in the log before it"
            )
            raise BundleError(message)

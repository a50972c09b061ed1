"""Lab documents as evidence: every signature checked, the author bound to the key."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edge_agent.errors import UnknownKey
from edge_agent.wire import merkle
from edge_agent.wire.keys import PublicKey
from gateway.lab.document import LabDocument, LabError, entries_of, open_document
from gateway.month import Entry


@dataclass(frozen=True, slots=True)
class Papers:
    """A site's lab documents: what is in force, how many there are, who signed."""

    entries: Sequence[Entry]
    documents: Sequence[LabDocument]
    raw: Mapping[str, bytes]
    persons: Mapping[str, list[bytes]]

    def within(self, start_ns: int, end_ns: int) -> "Papers":
        """Only the documents that had an entry in [start, end) in any of their versions."""
        ids = {
            document.id
            for document in self.documents
            if any(start_ns <= entry.time_ns < end_ns for entry in document.entries)
        }
        some = [
            (document, sha256)
            for document, sha256 in zip(self.documents, self.raw, strict=True)
            if document.id in ids
        ]
        authors = {document.author for document, _ in some}
        return Papers(
            entries_of(document for document, _ in some),
            [document for document, _ in some],
            {sha256: self.raw[sha256] for _, sha256 in some},
            {name: keys for name, keys in self.persons.items() if name in authors},
        )


def leaves(papers: Papers) -> dict[str, bytes]:
    """Leaf data of the documents in the log, by a name that is unique in a bundle, in its order."""
    found = {
        f"lab/{one.id}/{one.version}": merkle.document_leaf(
            "lab", one.site, one.id, one.version, bytes.fromhex(sha256)
        )
        for one, sha256 in zip(papers.documents, papers.raw, strict=True)
    }
    return dict(sorted(found.items()))


def check_attachments(papers: Papers, files: Mapping[str, bytes]) -> tuple[int, int]:
    """How many of the files that documents name are there, and how many are not.

    Args:
        papers: the documents.
        files: content by SHA-256, hex.

    Raises:
        LabError: a file is not what its name says, or no document names it.
    """
    named = {sha256.hex() for one in papers.documents for sha256 in one.attachments}
    for sha256, content in sorted(files.items()):
        if sha256 not in named:
            message = f"attachment {sha256}: no lab document names it"
            raise LabError(message)
        if hashlib.sha256(content).hexdigest() != sha256:
            message = f"attachment {sha256}: its content has another digest than the one signed"
            raise LabError(message)
    return len(files), len(named - files.keys())


def check(site: str, documents: Iterable[bytes], persons: Mapping[str, list[PublicKey]]) -> Papers:
    """Read a site's documents.

    Args:
        site: the plant.
        documents: signed bytes, every version.
        persons: keys by the name of the person.

    Raises:
        EvidenceError: a document is not authentic.
        LabError: one breaks a rule, is another site's, or names another author than its key's.
    """
    owner = {key.kid: (name, key) for name, keys in persons.items() for key in keys}

    def find(kid: bytes) -> PublicKey:
        if kid not in owner:
            message = f"lab document signed by unknown key {kid.hex()[:16]}"
            raise UnknownKey(message)
        return owner[kid][1]

    found: list[LabDocument] = []
    raw_by: dict[str, bytes] = {}
    signed: dict[str, list[bytes]] = {}
    for raw in documents:
        document, verified = open_document(raw, find)
        name, key = owner[verified.kid]
        if document.author != name or document.site != site:
            message = (
                f"lab document {document.id} of {document.site} by {document.author}: "
                f"its key is {name}'s, and this is {site}"
            )
            raise LabError(message)
        found.append(document)
        raw_by[hashlib.sha256(raw).hexdigest()] = raw
        if key.spki not in signed.setdefault(name, []):
            signed[name].append(key.spki)
    return Papers(entries_of(found), found, raw_by, signed)

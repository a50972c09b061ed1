"""The lab document: what it holds, how it is signed and read back.

    {v, site, id, version, at, author, reason, attachments: [sha256, ...],
     entries: [{kind, item, quantity, value, unit, time, mass, uncertainty}, ...]}

Numbers are decimal text, so that the value is the one that was written. The envelope is the
wire's COSE_Sign1 with content type ``lab``; the key is a person's.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from edge_agent.errors import CarbonError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType, Verified
from edge_agent.wire.keys import PublicKey, Signer
from gateway.month import Entry
from gateway.month.entries import ANALYSIS, STOCK, STOCK_QUANTITIES, WEIGHING

FORMAT = 1
MAX_ENTRIES = 2_000
MAX_ATTACHMENT = 16 * 2**20
KINDS = (ANALYSIS, WEIGHING, STOCK)
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_ITEM = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_DIGITS = 18
_KEYS = frozenset(
    {"v", "site", "id", "version", "at", "author", "reason", "attachments", "entries"}
)
_ENTRY_KEYS = frozenset(
    {"kind", "item", "quantity", "value", "unit", "time", "mass", "uncertainty"}
)


class LabError(CarbonError):
    """A lab value or document is wrong; names file and line or document and key."""


@dataclass(frozen=True, slots=True)
class LabDocument:
    """One version of a document of entries; ``at_ns`` is when it was signed [ns UTC]."""

    site: str
    id: str
    version: int
    at_ns: int
    author: str
    entries: tuple[Entry, ...]
    reason: str = ""
    attachments: tuple[bytes, ...] = ()


def sign(document: LabDocument, signer: Signer) -> bytes:
    """The signed document.

    Raises:
        LabError: it breaks a rule.
    """
    plain = {
        "v": FORMAT,
        "site": document.site,
        "id": document.id,
        "version": document.version,
        "at": document.at_ns,
        "author": document.author,
        "reason": document.reason,
        "attachments": list(document.attachments),
        "entries": [_entry_plain(entry) for entry in document.entries],
    }
    _read(plain, "")
    return cose.sign(MessageType.LAB, cbor.encode(plain), signer)


def open_document(
    raw: bytes, find_key: Callable[[bytes], PublicKey]
) -> tuple[LabDocument, Verified]:
    """Check a signed document and read it.

    Args:
        raw: the whole message.
        find_key: gives a person's public key by its id, or raises an ``EvidenceError``.

    Raises:
        EvidenceError: not authentic.
        LabError: authentic, but it breaks a rule.
    """
    verified = cose.verify(raw, MessageType.LAB, find_key)
    return _read(cbor.decode(verified.payload), verified.sha256.hex()), verified


def author_of(raw: bytes) -> str:
    """The author that a document names; ``open_document`` is what believes it."""
    return str(cbor.decode(cose.parse(raw).payload)["author"])


def newest(documents: Iterable[LabDocument]) -> list[LabDocument]:
    """Of each document the highest version, by id.

    Raises:
        LabError: versions are not 1, 2, 3 ... without a hole, or one stands twice.
    """
    versions: dict[str, list[LabDocument]] = {}
    for document in documents:
        versions.setdefault(document.id, []).append(document)
    for name, some in versions.items():
        some.sort(key=lambda item: item.version)
        if [item.version for item in some] != list(range(1, len(some) + 1)):
            found = ", ".join(str(item.version) for item in some)
            message = f"lab document {name}: versions {found}; 1 to {len(some)} once each is right"
            raise LabError(message)
    return [versions[name][-1] for name in sorted(versions)]


def entries_of(documents: Iterable[LabDocument]) -> list[Entry]:
    """The entries in force."""
    return [entry for document in newest(documents) for entry in document.entries]


def _entry_plain(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "item": entry.item,
        "quantity": entry.quantity,
        "value": str(entry.value),
        "unit": entry.unit,
        "time": entry.time_ns,
        "mass": None if entry.mass_t is None else str(entry.mass_t),
        "uncertainty": None
        if entry.relative_uncertainty is None
        else str(entry.relative_uncertainty),
    }


def _read(plain: Any, sha256: str) -> LabDocument:
    if not isinstance(plain, Mapping) or plain.keys() != _KEYS or plain["v"] != FORMAT:
        message = f"lab document: keys {', '.join(sorted(_KEYS))} with v = {FORMAT} are right"
        raise LabError(message)
    name = f"lab document {plain['id']}"
    _need(name, "id", plain["id"], isinstance(plain["id"], str) and _ID.match(plain["id"]))
    _need(name, "version", plain["version"], _whole(plain["version"]) and plain["version"] >= 1)
    _need(name, "at", plain["at"], _whole(plain["at"]))
    for key in ("site", "author", "reason"):
        _need(name, key, plain[key], isinstance(plain[key], str))
    _need(name, "author", plain["author"], plain["author"])
    if plain["version"] > 1:
        _need(name, "reason", plain["reason"], len(plain["reason"]) >= 4, "a correction needs one")
    shas = plain["attachments"]
    _need(name, "attachments", shas, _all_digests(shas), "SHA-256 digests are right")
    some = plain["entries"]
    right = f"1 to {MAX_ENTRIES} entries are right"
    _need(
        name, "entries", type(some), isinstance(some, list) and 0 < len(some) <= MAX_ENTRIES, right
    )
    author = plain["author"]
    entries = tuple(
        read_entry(one, f"{name}: entry {place}", (sha256, author))
        for place, one in enumerate(some, start=1)
    )
    return LabDocument(
        plain["site"],
        plain["id"],
        plain["version"],
        plain["at"],
        author,
        entries,
        plain["reason"],
        tuple(shas),
    )


def read_entry(plain: Any, where: str, origin: tuple[str, str] = ("", "")) -> Entry:
    """One entry of plain values, checked.

    Args:
        plain: a map with the document's entry keys.
        where: what an error names.
        origin: SHA-256 of the document, and its author.

    Raises:
        LabError: a key or value is wrong.
    """
    if not isinstance(plain, Mapping) or plain.keys() != _ENTRY_KEYS:
        message = f"{where}: keys {', '.join(sorted(_ENTRY_KEYS))} are right"
        raise LabError(message)
    kind, item, quantity = plain["kind"], plain["item"], plain["quantity"]
    _need(where, "kind", kind, kind in KINDS, f"one of {', '.join(KINDS)} is right")
    _need(where, "item", item, isinstance(item, str) and _ITEM.match(item))
    _check_quantity(where, kind, quantity)
    _need(where, "unit", plain["unit"], isinstance(plain["unit"], str) and plain["unit"])
    _need(where, "time", plain["time"], _whole(plain["time"]))
    value = _number(where, "value", plain["value"])
    mass = None if plain["mass"] is None else _number(where, "mass", plain["mass"])
    share = (
        None
        if plain["uncertainty"] is None
        else _number(where, "uncertainty", plain["uncertainty"])
    )
    _need(where, "value", value, kind != ANALYSIS or value >= 0, "at least 0 is right")
    _need(where, "mass", mass, mass is None or mass > 0, "above 0 is right")
    _need(where, "uncertainty", share, share is None or 0 <= share < 1, "a fraction is right")
    return Entry(
        kind,
        item,
        quantity,
        value,
        plain["unit"],
        plain["time"],
        mass,
        None if share is None else float(share),
        *origin,
    )


def _check_quantity(where: str, kind: str, quantity: Any) -> None:
    if kind == STOCK:
        right = f"one of {', '.join(STOCK_QUANTITIES)} is right"
        _need(where, "quantity", quantity, quantity in STOCK_QUANTITIES, right)
    elif kind == WEIGHING:
        _need(where, "quantity", quantity, quantity == "amount", "amount is right")
    else:
        good = isinstance(quantity, str) and _ITEM.match(quantity)
        _need(where, "quantity", quantity, good, "the id of the parameter is right")


def _number(where: str, key: str, text: Any) -> Decimal:
    right = "a decimal number such as 22.815 is right"
    _need(where, key, text, isinstance(text, str) and len(text) <= _DIGITS + 2, right)
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    _need(where, key, text, number.is_finite() and abs(number.adjusted()) <= _DIGITS, right)
    return number


def _whole(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _all_digests(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(item, bytes) and len(item) == 32 for item in value
    )


def _need(where: str, key: str, value: object, good: object, right: str = "") -> None:
    if not good:
        shown = repr(value)[:60]
        message = f"{where}: {key} is {shown}" + (f"; {right}" if right else "; that is wrong")
        raise LabError(message)

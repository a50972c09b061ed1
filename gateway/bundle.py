"""The evidence bundle of a month: one uncompressed archive with fixed file names.

    manifest.cose        SHA-256 of every other file, signed by the gateway
    keys.cbor            public keys of the agents, of the gateway and its former ones
    documents.cbor, keys/<sha>.cose, approvals/<sha>.cose, months/<sha>.cose, clocks.bin
                         signed decisions about keys, configurations and clocks (``decisions``)
    configs/<sha>.cose   signed configuration messages
    lab/<sha>.cose       signed lab values, weighings and stocks, every version
    lab/attachments/<sha>   files whose digests those name
    batches/<agent>.bin  per batch: seq (8 bytes), length (8 bytes), the signed bytes verbatim
    log/checkpoint, log/inclusion.cbor    that all of it stands in the log (``log_evidence``)
    log/leaves.bin       the log's leaves, where they are not too many (``leaf_list``)
    log/days.cbor        records of the site's closed plant days (``day_evidence``)
    log/stamped.cbor, log/stamped/<size>.*
                         time-stamped checkpoints: requests and tokens (``stamp_evidence``)
    month.cbor           what was reported, as text
    report.json, report.xlsx

Reading refuses links, other names, double names and sizes above the limits before it reads.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_agent.errors import CarbonError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import PublicKey, Signer, key_id, public_key

FORMAT = "carbon-bundle/2"
MANIFEST = "manifest.cose"
ATTACHMENTS = "lab/attachments/"
_NAME = re.compile(
    r"(manifest\.cose|keys\.cbor|month\.cbor|report\.json|report\.xlsx|log/checkpoint|log/inclusion\.cbor"
    r"|documents\.cbor|log/leaves\.bin|log/days\.cbor|clocks\.bin|(keys|approvals|months)/[0-9a-f]{64}\.cose|lab/attachments/[0-9a-f]{64}"
    r"|log/stamped\.cbor|log/stamped/[1-9][0-9]{0,15}\.(checkpoint|[a-z0-9][a-z0-9_-]{0,31}\.ts[qr])"
    r"|configs/[0-9a-f]{64}\.cose|lab/[0-9a-f]{64}\.cose|batches/[a-z0-9][a-z0-9_-]{0,31}\.bin)\Z"
)
_INDEX_BYTES = 16
_MAX_FILE = 4 * 2**30
_MAX_FILES = 10_000


class BundleError(CarbonError):
    """The bundle is not what its manifest says; names the file."""


@dataclass(slots=True)
class Bundle:
    """A bundle's content, not yet verified beyond its shape."""

    files: dict[str, bytes] = field(default_factory=dict)

    def agents(self) -> list[str]:
        """Agents whose batches are inside."""
        return sorted(
            name.removeprefix("batches/").removesuffix(".bin")
            for name in self.files
            if name.startswith("batches/")
        )

    def batches(self, agent: str) -> Iterator[tuple[int, bytes]]:
        """Number and signed bytes of an agent's batches, in file order.

        Raises:
            BundleError: the file's index does not fit its length.
        """
        content = self.files[f"batches/{agent}.bin"]
        at = 0
        while at < len(content):
            seq = int.from_bytes(content[at : at + 8], "big")
            length = int.from_bytes(content[at + 8 : at + _INDEX_BYTES], "big")
            start = at + _INDEX_BYTES
            at = start + length
            if length > cose.MAX_MESSAGE or at > len(content):
                message = f"batches/{agent}.bin: the entry of batch {seq} is cut off"
                raise BundleError(message)
            yield seq, content[start:at]


def pack_batches(batches: Iterable[tuple[int, bytes]]) -> bytes:
    """The content of a ``batches/<agent>.bin``."""
    out = io.BytesIO()
    for seq, raw in batches:
        out.write(seq.to_bytes(8, "big") + len(raw).to_bytes(8, "big") + raw)
    return out.getvalue()


def pack_keys(
    agents: Mapping[str, Iterable[bytes]],
    gateway: bytes,
    persons: Mapping[str, list[bytes]],
    former: Iterable[bytes] = (),
) -> bytes:
    """The content of ``keys.cbor``: SubjectPublicKeyInfo of agents, gateway, and persons by name.

    ``former`` are keys that the gateway signed with before.
    """
    return cbor.encode(
        {
            "agents": {name: list(keys) for name, keys in agents.items()},
            "former": list(former),
            "gateway": gateway,
            "persons": dict(persons),
        }
    )


def write(path: Path, files: Mapping[str, bytes], signer: Signer) -> bytes:
    """Write a bundle with its signed manifest; gives the SHA-256 of the manifest.

    The same files and key give the same bytes.
    """
    digests = {name: hashlib.sha256(content).digest() for name, content in files.items()}
    manifest = cose.sign(
        MessageType.MANIFEST, cbor.encode({"format": FORMAT, "files": digests}), signer
    )
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in ((MANIFEST, manifest), *sorted(files.items())):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(manifest).digest()


def read(path: Path) -> Bundle:
    """Read a bundle.

    Raises:
        BundleError: not an archive, or a member that may not be there.
    """
    bundle = Bundle()
    try:
        with tarfile.open(path, "r:") as archive:
            for count, info in enumerate(archive):
                _check_member(info, bundle, count)
                file = archive.extractfile(info)
                bundle.files[info.name] = file.read() if file else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        message = f"{path}: cannot be read as a bundle: {error}"
        raise BundleError(message) from error
    return bundle


def _check_member(info: tarfile.TarInfo, bundle: Bundle, count: int) -> None:
    plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse()
    if not plain or not _NAME.match(info.name):
        message = f"{info.name!r}: no such member may be in a bundle"
        raise BundleError(message)
    if info.name in bundle.files or count >= _MAX_FILES or info.size > _MAX_FILE:
        message = f"{info.name!r}: stands twice or is too large"
        raise BundleError(message)


def check_manifest(bundle: Bundle, trusted: Mapping[bytes, PublicKey]) -> PublicKey:
    """Check the manifest's signature and every file's digest; gives the gateway's key.

    Args:
        bundle: as read.
        trusted: keys by id that may have signed; empty takes the key inside the bundle.

    Raises:
        BundleError: names the file that was changed, added or removed.
        EvidenceError: the manifest itself is not authentic.
    """
    if MANIFEST not in bundle.files or "keys.cbor" not in bundle.files:
        message = f"{MANIFEST} or keys.cbor is missing"
        raise BundleError(message)
    inside = public_key(cbor.decode(bundle.files["keys.cbor"])["gateway"])
    candidates = dict(trusted) or {inside.kid: inside}

    def find(kid: bytes) -> PublicKey:
        if kid not in candidates:
            text = f"{MANIFEST}: signed by key {kid.hex()[:16]}, which is not trusted"
            raise BundleError(text)
        return candidates[kid]

    verified = cose.verify(bundle.files[MANIFEST], MessageType.MANIFEST, find)
    listed = _listed(verified.payload)
    for name in sorted(listed.keys() | bundle.files.keys() - {MANIFEST}):
        if name not in bundle.files:
            message = f"{name}: listed in the manifest but missing"
        elif name not in listed:
            message = f"{name}: not listed in the manifest"
        elif hashlib.sha256(bundle.files[name]).digest() != listed[name]:
            message = f"{name}: content differs from the manifest"
        else:
            continue
        raise BundleError(message)
    return candidates[verified.kid]


def _listed(manifest: bytes) -> dict[str, Any]:
    """The files that a manifest lists, by name."""
    plain = cbor.decode(manifest)
    if plain["format"] != FORMAT:
        message = f"{MANIFEST}: format {plain['format']!r:.40}; {FORMAT!r} is read here"
        raise BundleError(message)
    files: dict[str, Any] = plain["files"]
    return files


def agent_keys(bundle: Bundle) -> dict[str, list[PublicKey]]:
    """The agents' keys that the bundle carries."""
    plain = cbor.decode(bundle.files["keys.cbor"])["agents"]
    return {name: [public_key(spki) for spki in keys] for name, keys in plain.items()}


def gateway_keys(
    bundle: Bundle, gateway: PublicKey, trusted: Container[bytes] | None
) -> dict[bytes, PublicKey]:
    """The gateway's key and its former ones, by id; ``trusted`` are the ids that may be former ones.

    None believes the bundle.
    """
    plain = cbor.decode(bundle.files["keys.cbor"]).get("former", [])
    former = [one for one in map(public_key, plain) if trusted is None or one.kid in trusted]
    return {one.kid: one for one in (gateway, *former)}


def person_keys(bundle: Bundle) -> dict[str, list[PublicKey]]:
    """The keys of the persons who signed lab values."""
    plain = cbor.decode(bundle.files["keys.cbor"]).get("persons", {})
    return {name: [public_key(spki) for spki in keys] for name, keys in plain.items()}


def lab_documents(bundle: Bundle) -> list[bytes]:
    """The signed lab documents, by name."""
    return [
        content
        for name, content in sorted(bundle.files.items())
        if name.startswith("lab/") and not name.startswith(ATTACHMENTS)
    ]


def fingerprint(key: PublicKey) -> str:
    """Key id as hex, as ``keys new`` prints it."""
    return key_id(key.spki).hex()

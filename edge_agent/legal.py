"""What runs, and since when: the digest of the legally relevant files and the boot's id."""

import hashlib
import secrets
from pathlib import Path

_DECODERS = (
    "decode",
    "dlt645_frames",
    "dlt645_ids",
    "file_drop_rows",
    "hj212_packets",
    "hj212_values",
    "mqtt_values",
    "sparkplug_payload",
    "sparkplug_state",
)
_HERE = Path(__file__).resolve().parent


def legal_digest() -> bytes:
    """SHA-256 over the legally relevant files: decoding, calculation and wire."""
    total = hashlib.sha256()
    files = [*(_HERE / "calc").glob("*.py"), *(_HERE / "wire").rglob("*.py")]
    files += [_HERE / "drivers" / f"{name}.py" for name in _DECODERS]
    for path in sorted(files):
        total.update(path.relative_to(_HERE).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.digest()


def boot_id() -> bytes:
    """16 bytes that change with every boot of the machine."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.strip().replace("-", ""))
    except (OSError, ValueError):
        return secrets.token_bytes(16)

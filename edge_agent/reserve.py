"""Room on the disk that is kept for the moment when there is no other.

A write-ahead log cannot delete on a full disk: the deletion has to be written first, and the log has
to be copied back. A file of zeros holds the room for both, and is given up for as long as that takes.
"""

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 5 * 2**20
"""More than SQLite's write-ahead log grows to before it is copied back (1 000 pages)."""


class Reserve:
    """The file; it is there, whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_held = False
        self.hold()

    def hold(self) -> None:
        """Take the room if there is any."""
        if self.is_held:
            return
        try:
            if not self._path.exists() or self._path.stat().st_size != RESERVE_BYTES:
                self._write()
            self.is_held = True
        except OSError:
            self._remove()

    def release(self) -> None:
        """Give the room up."""
        self.is_held = False
        self._remove()

    def _remove(self) -> None:
        with suppress(OSError):  # a disk that turned read-only: then there is no room to give
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._path.touch(0o600)
        with self._path.open("wb") as file:
            file.write(bytes(RESERVE_BYTES))
            file.flush()
            os.fsync(file.fileno())

"""A weighbridge or laboratory system that drops table files into a folder, well behaved or not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class TableWriter:
    """Writes tables the way exporting systems do.

    Args:
        folder: where the files go.
        encoding: of the text, such as gb18030.
        delimiter: between the cells.
    """

    def __init__(self, folder: Path, *, encoding: str = "utf-8", delimiter: str = ",") -> None:
        self.folder, self.encoding, self.delimiter = folder, encoding, delimiter

    def text(self, rows: Sequence[Sequence[object]]) -> bytes:
        """The table's bytes, with Windows line ends."""
        lines = [self.delimiter.join(str(cell) for cell in row) for row in rows]
        return ("\r\n".join(lines) + "\r\n").encode(self.encoding)

    def write(self, name: str, rows: Sequence[Sequence[object]]) -> Path:
        """Write a whole file at once."""
        path = self.folder / name
        path.write_bytes(self.text(rows))
        return path

    def write_slowly(
        self, name: str, rows: Sequence[Sequence[object]], parts: int
    ) -> Iterator[int]:
        """Write a file in pieces, one each step; gives how many bytes are there."""
        raw = self.text(rows)
        size = -(-len(raw) // parts)
        with (self.folder / name).open("wb") as file:
            for start in range(0, len(raw), size):
                file.write(raw[start : start + size])
                file.flush()
                os.fsync(file.fileno())
                yield start + size

    def write_and_rename(self, name: str, rows: Sequence[Sequence[object]]) -> Path:
        """Write under a temporary name and rename when complete."""
        fresh = self.folder / f"{name}.part"
        fresh.write_bytes(self.text(rows))
        return fresh.rename(self.folder / name)

    def mark(self, name: str) -> None:
        """Put the marker of a complete file beside it."""
        (self.folder / f"{name}.ok").touch()

"""The folder of a file drop and the durable record of what was taken from it. All of this blocks.

1. Only regular files directly in the folder are opened, never through a link; names with control
   characters or a leading dot are not touched.
2. The record is one line of JSON a file, appended and synced before the file is moved. A line torn
   by a power failure is cut off at the next start.
3. Where a file goes follows from its content and name only, so doing it twice does no harm.
"""

import csv
import errno
import fnmatch
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.drivers.file_drop_rows import FileDropConfig, Rejected, harmless
from edge_agent.errors import BadAnswer, NoAnswer

DONE, REJECTED = "done", "rejected"
_ODD = re.compile(r"[\x00-\x1f\x7f/\\]")
_UNSAFE = re.compile(r"[^\w.\-]+")
_MB = 2**20
_PLACE_BYTES = 150
"""Of 255 that a file system takes: digest, suffixes and the dot of a new file come to it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a file looks like from outside; equal means that nobody wrote to it."""

    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that was read."""

    name: str
    sha256: str
    raw: bytes

    @property
    def place(self) -> str:
        """Its name in ``done`` or ``rejected``."""
        safe = _UNSAFE.sub("_", self.name).encode()[:_PLACE_BYTES].decode(errors="ignore")
        return f"{self.sha256[:12]}-{safe}"


class Folder:
    """One drop folder."""

    def __init__(self, config: FileDropConfig) -> None:
        """Take the paths; nothing is touched yet."""
        self._config = config
        self._folder = config.folder
        self._record = config.record or config.folder / f".{config.id}.taken.jsonl"
        self._known: set[tuple[str, str]] = set()

    def open(self, *, only_looks: bool = False) -> None:
        """Check the folder and read the record. Raises NoAnswer."""
        try:
            if not self._folder.is_dir():
                raise NoAnswer(f"{self._folder} is no folder")
            if only_looks:
                self._known = self._read_record(repair=False)
                return
            for name in (DONE, REJECTED):
                (self._folder / name).mkdir(exist_ok=True)
                if (self._folder / name).is_symlink():
                    raise NoAnswer(f"{self._folder / name} is a link; a folder is right")
            self._record.parent.mkdir(parents=True, exist_ok=True)
            self._known = self._read_record(repair=True)
        except OSError as error:
            raise NoAnswer(f"{self._folder}: {error}") from error

    def candidates(self) -> dict[str, Seen]:
        """The files that may be taken, by name. Raises NoAnswer when the folder is gone."""
        found: dict[str, Seen] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if self._is_wanted(entry):
                        status = entry.stat(follow_symlinks=False)
                        found[entry.name] = Seen(status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError as error:
            raise NoAnswer(f"{self._folder}: {error}") from error
        return dict(sorted(found.items()))

    def _is_wanted(self, entry: "os.DirEntry[str]") -> bool:
        name = entry.name
        if name.startswith(".") or _ODD.search(name) or not name.isprintable():
            return False
        if not fnmatch.fnmatch(name, self._config.pattern) or name.endswith(".ok"):
            return False
        if not entry.is_file(follow_symlinks=False):
            return False
        return self._config.ready != "marked" or (self._folder / f"{name}.ok").exists()

    def take(self, name: str, seen: Seen) -> Taken | None:
        """Read a file; None when it changed meanwhile. Raises BadAnswer when it is too large."""
        limit = self._config.max_file_mb * _MB
        if seen.size > limit:
            raise BadAnswer(f"the file has {seen.size} bytes; at most {limit} are right")
        try:
            raw, status = _read(self._folder / name, limit)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOENT):
                return None
            raise NoAnswer(f"{self._folder / name}: {error}") from error
        if Seen(status.st_ino, status.st_size, status.st_mtime_ns) != seen or len(raw) != seen.size:
            return None
        return Taken(name, hashlib.sha256(raw).hexdigest(), raw)

    def is_known(self, taken: Taken) -> bool:
        """True for a file of this name and content that was recorded as taken."""
        return (taken.name, taken.sha256) in self._known

    def record(self, taken: Taken, facts: dict[str, object]) -> None:
        """Rule 2. Raises NoAnswer."""
        line = json.dumps({"name": taken.name, "sha256": taken.sha256, **facts}, sort_keys=True)
        try:
            with self._record.open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise NoAnswer(f"{self._record}: {error}") from error
        self._known.add((taken.name, taken.sha256))

    def move(self, name: str, seen: Seen | None, place: str, where: str) -> None:
        """Put a file away unless it is another one by now. Raises NoAnswer."""
        source = self._folder / name
        try:
            status = source.lstat()
            if seen is not None and seen != Seen(status.st_ino, status.st_size, status.st_mtime_ns):
                return
            source.rename(self._folder / where / place)
            if self._config.ready == "marked":
                (self._folder / f"{name}.ok").unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise NoAnswer(f"{source}: {error}") from error

    def explain(self, place: str, text: str) -> None:
        """Write why a file was refused, beside where it goes."""
        self._write(f"{place}.reason.txt", text + "\n")

    def reject(self, taken: Taken, rows: Sequence[Rejected]) -> None:
        """Write the rows that were not taken, with line and reason."""
        sheet = io.StringIO()
        writer = csv.writer(sheet, lineterminator="\n")
        writer.writerow(("line", "reason", "row"))
        for row in rows:
            writer.writerow((row.line, harmless(row.reason), harmless(row.text)))
        self._write(f"{taken.place}.rows.csv", "\ufeff" + sheet.getvalue())

    def _write(self, name: str, text: str) -> None:
        target = self._folder / REJECTED / name
        fresh = target.with_name(f".{name}.new")
        try:
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(target)
        except OSError as error:
            raise NoAnswer(f"{target}: {error}") from error

    def _read_record(self, *, repair: bool) -> set[tuple[str, str]]:
        if not self._record.exists():
            return set()
        raw = self._record.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) != len(raw) and repair:
            os.truncate(self._record, len(whole))
        known: set[tuple[str, str]] = set()
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                known.add((entry["name"], entry["sha256"]))
            except (ValueError, KeyError, TypeError) as error:
                raise NoAnswer(f"{self._record}:{number} is damaged: {error!r}") from error
        return known


def _read(path: Path, limit: int) -> tuple[bytes, os.stat_result]:
    """Content and status of a regular file that is no link; at most ``limit`` bytes and one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ELOOP, "no regular file")
        raw = file.read(limit + 1)
        return raw, os.fstat(descriptor)

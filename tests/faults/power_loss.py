"""What a disk may hold after the power went: made from a record of everything a program wrote.

The disk keeps all that was flushed (fsync, fdatasync) and, of what came later, anything: each
write whole, in part or not at all, torn where sectors of 512 bytes meet, in any order; a length
without its bytes, which then read as zeros. Names of files and folders are kept up to the last
flush of the folder they stand in; later ones reach the disk in order, as far as they came.
"""

import struct
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_HEAD = struct.Struct("<ciqq")
MARKS = "marks"
KINDS = {
    "O": "open_file", "W": "write", "T": "cut", "S": "flush", "C": "close", "U": "unlink",
    "R": "rename", "D": "folder",
}  # fmt: skip


@dataclass
class File:
    """What is flushed of a file, and the writes and cuts since."""

    flushed: bytearray = field(default_factory=bytearray)
    later: list = field(default_factory=list)

    def flush(self):
        for change in self.later:
            apply(self.flushed, *change)
        self.later.clear()

    def survivor(self, dice, keep):
        """The bytes after the power came back; ``keep`` is the chance of each later sector."""
        found = bytearray(self.flushed)
        for kind, place, data in self.later:
            if kind == "T":
                if dice.random() < keep:
                    apply(found, kind, place, data)
                continue
            if dice.random() < keep and place + len(data) > len(found):
                found.extend(bytes(place + len(data) - len(found)))
            for start, part in sectors(place, data):
                if dice.random() < keep:
                    apply(found, "W", start, part)
        return bytes(found)


def sectors(place, data):
    """A write cut where sectors end: place and bytes of each part."""
    at = 0
    while at < len(data):
        size = SECTOR - (place + at) % SECTOR
        yield place + at, data[at : at + size]
        at += size


def apply(content, kind, place, data):
    if kind == "T":
        del content[place:]
        content.extend(bytes(place - len(content)))
        return
    if place > len(content):
        content.extend(bytes(place - len(content)))
    content[place : place + len(data)] = data


class Disk:
    """The folder that was watched, as it stands after each record of the log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks: list[bytes] = []
        self.writes: dict[str, int] = {}
        self._names: dict[str, File | None] = {}  # None is a folder
        self._flushed_names: dict[str, File | None] = {}
        self._later_names: list[tuple[str, File | None, bool]] = []
        self._open: dict[int, str | File] = {}

    def play(self, kind, number, place, data):
        """Take up one record."""
        getattr(self, f"_{KINDS[kind]}")(number, place, data)

    def _open_file(self, number, place, data):
        name = self._inside(data)
        if name not in self._names:
            if not place:  # a folder that stood there before: the watched one itself
                self._open[number] = name
                return
            self._name(name, File())
        file = self._names[name]
        self._open[number] = name if file is None else file
        if name == MARKS:
            self._open[number] = MARKS

    def _write(self, number, place, data):
        file = self._open[number]
        if file == MARKS:
            self.marks.append(data)
            return
        name = next((name for name, other in self._names.items() if other is file), "?")
        self.writes[name] = self.writes.get(name, 0) + 1
        file.later.append(("W", place, data))

    def _cut(self, number, place, _data):
        self._open[number].later.append(("T", place, b""))

    def _flush(self, number, _place, _data):
        file = self._open[number]
        if isinstance(file, File):
            file.flush()
            return
        kept = []
        for change in self._later_names:
            if parent(change[0]) == file:
                self._set_flushed(*change)
            else:
                kept.append(change)
        self._later_names = kept

    def _close(self, number, _place, _data):
        del self._open[number]

    def _unlink(self, _number, _place, data):
        self._name(self._inside(data), self._names[self._inside(data)], there=False)

    def _rename(self, _number, _place, data):
        old, new = map(self._inside, data.split(b"\0"))
        file = self._names[old]
        self._name(old, file, there=False)
        self._name(new, file)

    def _folder(self, _number, _place, data):
        self._name(self._inside(data), None)

    def _inside(self, path):
        relative = Path(path.decode()).relative_to(self.folder)
        return "" if relative == Path() else str(relative)

    def _name(self, name, file, *, there=True):
        if there:
            self._names[name] = file
        else:
            del self._names[name]
        self._later_names.append((name, file, there))

    def _set_flushed(self, name, file, there):
        if there:
            self._flushed_names[name] = file
        else:
            self._flushed_names.pop(name, None)

    def after_the_cut(self, dice, keep, target: Path):
        """Write into ``target`` what is there when the power comes back.

        ``keep`` is the chance of each unflushed sector to have reached the disk: 0 keeps only
        what was flushed.
        """
        names = dict(self._flushed_names)
        count = dice.randint(0, len(self._later_names)) if keep else 0
        for name, file, there in self._later_names[:count]:
            if there:
                names[name] = file
            else:
                names.pop(name, None)
        target.mkdir()
        for name, file in sorted(names.items()):
            if parent(name) and parent(name) not in names:
                continue  # its folder is not there
            if name == MARKS:
                continue
            if file is None:
                (target / name).mkdir()
            elif name.endswith("-shm"):
                (target / name).write_bytes(dice.randbytes(32_768))
            else:
                (target / name).write_bytes(file.survivor(dice, keep))


def parent(name):
    return str(Path(name).parent) if "/" in name else ""


def read_log(path: Path):
    """The records as (kind, descriptor, place, bytes)."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        kind, number, place, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        yield kind.decode(), number, place, content[at : at + length]
        at += length

"""A workbook's archive, unpacked within limits by us before a library sees it.

What an archive says of its parts' sizes may be a lie, and the libraries unpack a part in one piece
before they compare. So every part is unpacked here piece by piece, and what is handed on is an
archive of the same parts without compression.
"""

import io
import zipfile
import zlib
from zipfile import ZipFile, ZipInfo

MAX_PARTS = 200
UNREADABLE = (
    KeyError, ValueError, IndexError, TypeError, AttributeError, SyntaxError, RuntimeError, EOFError,
    OSError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What a broken or hostile workbook raises in the libraries that read it."""
_PIECE = 65_536
_FORBIDDEN_MARKS = (b"<!DOCTYPE", b"<!ENTITY")


class HostileArchive(ValueError):
    """The archive may not be read; says which part and why."""


def plain(content: bytes, most: int) -> bytes:
    """The same archive with its parts stored, each checked.

    Args:
        content: the file.
        most: how many bytes all parts together may unpack to.

    Raises:
        HostileArchive: too much, a doubled name, a document type or entity, or a part that is not
            what the archive says of it.
    """
    out = io.BytesIO()
    try:
        with ZipFile(io.BytesIO(content)) as archive, ZipFile(out, "w") as stored:
            infos = archive.infolist()
            _check_sizes(infos, most)
            for info in infos:
                stored.writestr(ZipInfo(info.filename), _unpack(archive, info))
    except HostileArchive:
        raise
    except UNREADABLE as error:
        message = f"is no sound archive: {error}"
        raise HostileArchive(message) from error
    return out.getvalue()


def _check_sizes(infos: list[ZipInfo], most: int) -> None:
    unpacked = sum(info.file_size for info in infos)
    if unpacked > most or len(infos) > MAX_PARTS:
        message = f"unpacks to {unpacked} bytes in {len(infos)} parts; at most {most} are read"
        raise HostileArchive(message)
    names = [info.filename for info in infos]
    if len(set(names)) < len(names):
        message = "holds two parts of one name"
        raise HostileArchive(message)


def _unpack(archive: ZipFile, info: ZipInfo) -> bytes:
    """A part, never more of it than the archive says that there is."""
    pieces = []
    try:
        with archive.open(info) as part:
            while piece := part.read(_PIECE):
                pieces.append(piece)
    except UNREADABLE as error:
        message = f"{info.filename} cannot be unpacked: {error}"
        raise HostileArchive(message) from error
    content = b"".join(pieces)
    shown = content.replace(b"\x00", b"").upper()  # the marks, in whatever encoding
    if any(mark in shown for mark in _FORBIDDEN_MARKS):
        message = f"{info.filename} holds a document type or entity, which is refused"
        raise HostileArchive(message)
    return content

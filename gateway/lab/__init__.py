"""Lab values, weighings and stocks that people enter: signed, versioned, never changed.

A document holds some entries of one person; a correction is the next version of the same
document and states its reason. Both stay in the ledger; the month takes the newest.
"""

from gateway.lab.document import (
    MAX_ATTACHMENT,
    LabDocument,
    LabError,
    author_of,
    entries_of,
    newest,
    open_document,
    read_entry,
    sign,
)
from gateway.lab.evidence import Papers, check, check_attachments, leaves
from gateway.lab.sheet import read_sheet, time_ns

__all__ = [
    "MAX_ATTACHMENT",
    "LabDocument",
    "LabError",
    "Papers",
    "author_of",
    "check",
    "check_attachments",
    "entries_of",
    "leaves",
    "newest",
    "open_document",
    "read_entry",
    "read_sheet",
    "sign",
    "time_ns",
]

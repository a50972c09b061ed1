"""What a process that holds keys does first: no core dumps, no readable memory, private files."""

import ctypes
import os
import resource

_PR_SET_DUMPABLE = 4
_PRIVATE = 0o077


def harden() -> None:
    """Switch core dumps off, keep other processes of the user out, make new files private.

    Not dumpable (Linux ``prctl``) also means that no debugger of the same user can attach and
    that ``/proc/self/mem`` is closed. Elsewhere only the limits of POSIX are set.
    """
    os.umask(_PRIVATE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

"""One process at a time writes a state folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.errors import StoreError
from edge_agent.folders import make_folder

LOCK_FILE = "lock"


class StateInUse(StoreError):
    """Another process writes this state folder; nothing was changed."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a state folder; made if it is not there.

    The lock is the kernel's (flock(2)) and ends with the process, however that ends; the file
    stays, and means nothing by itself.

    Raises:
        StateInUse: another process holds it.
        StoreError: the folder or the file in it cannot be made or locked.
    """
    path = folder / LOCK_FILE
    try:
        make_folder(folder)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"{path}: cannot be opened: {error.strerror}; the agent's own user must own it"
        raise StoreError(message) from error
    try:
        _lock(number, folder)
        yield
    finally:
        os.close(number)


def _lock(number: int, folder: Path) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        message = (
            f"{folder}: in use by another edge-agent process; stop the agent that runs there,"
            " or give this one a state_dir of its own"
        )
        raise StateInUse(message) from error
    except OSError as error:
        message = f"{folder}: cannot be locked: {error.strerror}; a local disk is right"
        raise StoreError(message) from error

"""A process that dies at a chosen SQL statement: what is on disk at that moment is all that stays.

Every connection counts its statements. At the chosen one, before or after it ran, ``Crash`` is
raised; the files are copied as they are (nothing is closed, rolled back or checkpointed first)
and the survivor is opened from the copy.
"""

import contextlib
import shutil
import sqlite3
import tempfile
from pathlib import Path

_connect = sqlite3.connect


class Crash(BaseException):
    """The end of the process; nothing may catch it."""


class Bomb:
    """Counts statements of all connections and goes off at one of them."""

    def __init__(self, at=None, *, after=False):
        self.at, self.after, self.count, self.dead = at, after, 0, False

    def run(self, statement):
        if self.dead:
            raise Crash
        self.count += 1
        due = self.count == self.at
        if due and not self.after:
            self._die()
        result = statement()
        if due:
            self._die()
        return result

    def _die(self):
        self.dead = True
        raise Crash


def connect_with(bomb):
    """A replacement of ``sqlite3.connect`` whose connections the bomb can end."""

    class Connection(sqlite3.Connection):
        def execute(self, *args):
            return bomb.run(lambda: super(Connection, self).execute(*args))

        def executemany(self, *args):
            return bomb.run(lambda: super(Connection, self).executemany(*args))

    return lambda *args, **options: _connect(*args, **(options | {"factory": Connection}))


def survivors(folder, target):
    """The files as they were at the crash."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*-shm"))
    return target


@contextlib.contextmanager
def memory_folder():
    """A folder in memory where there is one: many runs, no wear, the same calls."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)

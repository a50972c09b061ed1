"""An agent that kills itself (SIGKILL) at a chosen SQL statement behind its first entry or batch.

Runs as ``python -m tests.faults.dying CONFIG AT before|after``; a negative AT never dies.
"""

import os
import signal
import sqlite3
import sys

from edge_agent import cli

_connect = sqlite3.connect
FIRST = ("INSERT INTO journal", "INSERT INTO batches")


class Bomb:
    """Counts statements from the first that writes a journal entry or a batch."""

    def __init__(self, at, *, after):
        self.at, self.after, self.count = at, after, -1

    def run(self, text, statement):
        if self.count >= 0 or text.startswith(FIRST):
            self.count += 1
        due = self.at >= 0 and self.count == self.at + 1
        if due and not self.after:
            self._die()
        result = statement()
        if due:
            self._die()
        return result

    def _die(self):
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()


def main():
    config, at, when = sys.argv[1:]
    bomb = Bomb(int(at), after=when == "after")

    class Connection(sqlite3.Connection):
        def execute(self, *args):
            return bomb.run(args[0], lambda: super(Connection, self).execute(*args))

        def executemany(self, *args):
            return bomb.run(args[0], lambda: super(Connection, self).executemany(*args))

    sqlite3.connect = lambda *args, **options: _connect(*args, **options, factory=Connection)
    return cli.main(["--log-level", "WARNING", "run", config])


if __name__ == "__main__":
    sys.exit(main())

"""The program whose writes are recorded: a real agent, or a real gateway, without their networks.

Runs below the disk shim as ``python -m tests.faults.recorded agent|gateway FOLDER SEED``. After
each transaction of a database it leaves a mark: the database's name and the digest of all its
tables; besides, marks say which batches were signed and which ones acked. A mark is written after
the call returned, so what it says was promised before the power can have gone.
"""

import hashlib
import json
import os
import random
import sqlite3
import sys
from pathlib import Path

from edge_agent import reserve

_connect = sqlite3.connect
CHECKPOINT_PAGES = 24
"""Write-ahead logs are copied back often, so that many cuts fall into that."""


def content_digest(db):
    """Digest of everything in every table; of an empty file that of nothing."""
    found = hashlib.sha256()
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    for (table,) in sqlite3.Connection.execute(db, tables).fetchall():
        rows = sqlite3.Connection.execute(db, f"SELECT * FROM {table} ORDER BY 1, 2")
        found.update(repr((table, rows.fetchall())).encode())
    return found.hexdigest()


class Marks:
    """Appends lines to the file of marks."""

    def __init__(self, folder):
        self._fd = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT)

    def leave(self, **said):
        os.write(self._fd, json.dumps(said).encode())


def watch_databases(marks, *, flush=True):
    """Every connection made from now on marks the ends of its transactions."""

    class Connection(sqlite3.Connection):
        name, told, changes = "", hashlib.sha256().hexdigest(), -1

        def _mark(self):
            if self.in_transaction or self.total_changes == self.changes:
                return
            self.changes = self.total_changes
            digest = content_digest(self)
            if digest != self.told:
                self.told = digest
                marks.leave(db=self.name, state=digest)

        def execute(self, *args):
            result = super().execute(*args)
            self._mark()
            return result

        def executemany(self, *args):
            result = super().executemany(*args)
            self._mark()
            return result

        def executescript(self, *args):
            result = super().executescript(*args)
            super().execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            if not flush:
                super().execute("PRAGMA synchronous = OFF")
            self.changes = -1
            self._mark()
            return result

    def connect(path, **options):
        db = _connect(path, **(options | {"factory": Connection}))
        db.name = Path(path).name
        return db

    sqlite3.connect = connect


def run_agent(folder, seed, marks):
    """Two lives of an agent; acks come now and then, for some of the batches."""
    from edge_agent.config import AgentConfig
    from tests.faults.step_agent import STEPS, StepClock, live_steps, open_agent

    settings = json.loads((folder.parent / "agent.json").read_text(encoding="utf-8"))
    config, clock, dice = AgentConfig.model_validate(settings), StepClock(), random.Random(seed)
    middle = dice.randrange(STEPS // 3, 2 * STEPS // 3)
    for first, last in ((0, middle), (middle, STEPS)):
        agent = open_agent(config, clock)
        for step in live_steps(agent, clock, range(first, last)):
            outbox = agent._outbox
            head = outbox.head
            marks.leave(head=head.seq, sha256=head.sha256.hex(), step=step)
            if head.seq > outbox.acked and dice.random() < 0.2:
                seq = dice.randint(outbox.acked + 1, head.seq)
                outbox.ack(seq, outbox.hash_at(seq))
        agent._outbox.close()
        agent._worker.shutdown()


def run_gateway(folder, _seed, marks):
    """A gateway's life from the first message to the last ack."""
    from tests.faults.step_gateway import GatewayRun

    run = GatewayRun(folder / "state", lambda seq: marks.leave(acked=seq))
    run.live()


def main():
    reserve.RESERVE_BYTES = 1_000
    what, folder, seed, flush = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    marks = Marks(folder)
    watch_databases(marks, flush=flush == "flush")
    {"agent": run_agent, "gateway": run_gateway}[what](folder, seed, marks)


if __name__ == "__main__":
    main()

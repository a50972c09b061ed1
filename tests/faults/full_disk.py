"""Programs on a disk that fills up and gets room again, below the disk shim (see ``test_full_disk``).

Runs as ``python -m tests.faults.full_disk agent|gateway FOLDER SEED...`` with the file of
DISK_ROOM; prints one line of JSON for each seed.
"""

import base64
import hashlib
import json
import os
import random
import struct
import sys
from pathlib import Path

from edge_agent import reserve
from edge_agent.errors import StoreError


class Room:
    """How many bytes the watched folder may take; a negative number is no limit."""

    def __init__(self, watched, file):
        self._watched, self._file = watched, file

    def set(self, size):
        with self._file.open("r+b") as file:
            file.write(struct.pack("<q", size))

    def leave(self, size):
        """From now on only that many bytes more."""
        files = (path for path in self._watched.rglob("*") if path.is_file())
        self.set(sum(path.stat().st_size for path in files) + size)


def agent(folder, seed, room):
    """An agent whose disk is full for a while: alarms, what it counted, its batches."""
    from edge_agent.config import AgentConfig
    from tests.faults.step_agent import STEPS, StepClock, finish, live_steps, open_agent

    settings = json.loads((folder.parent / "agent.json").read_text(encoding="utf-8"))
    settings["state_dir"] = str(folder / "state")
    dice, clock = random.Random(seed), StepClock()
    full = range(first := dice.randrange(20, 50), first + dice.randrange(20, 40))
    running = open_agent(AgentConfig.model_validate(settings), clock)
    alarms, kept = [], {}
    for step in live_steps(running, clock, range(STEPS)):
        if step == full.start:
            room.leave(dice.randrange(0, 30_000))
            kept = {item.seq: item.sha256 for item in running._outbox.after(0, 1_000)}
        if step == full.stop:
            room.set(-1)
        alarms.append(running.health.alarm)
    still = {item.seq: item.sha256 for item in running._outbox.after(0, 1_000)}
    batches = finish(running, clock)
    return {
        "full": [full.start, full.stop],
        "alarms": alarms,
        "alarm_at_the_end": running.health.alarm,
        "lost": running.health.lost_records,
        "kept": kept.items() <= still.items(),
        "batches": [base64.b64encode(item.raw).decode() for item in batches],
    }


def outbox(folder, seed, room):
    """Everything that writes into an outbox on a disk with little room: all or nothing each time."""
    from edge_agent.outbox import Outbox, OutboxFull
    from edge_agent.wire.chain import ChainHead
    from tests.faults.recorded import content_digest

    dice = random.Random(seed)
    box = Outbox(folder / "outbox.sqlite", 2**30, 2**30)
    box._db.execute("PRAGMA wal_autocheckpoint = 20")
    failed, seqs = {}, [1]

    def commit():
        raw = seqs[-1].to_bytes(8, "big") * 400
        head = ChainHead(seqs[-1], hashlib.sha256(raw).digest())
        box.commit([raw], head, dice.randbytes(3_000), {"kid": raw[:8]})
        assert box.get("kid") == raw[:8]
        seqs.append(seqs[-1] + 1)

    def ack():
        newest = box.head.seq
        box.ack(newest, box.hash_at(newest))
        assert box.unacked_bytes == 0

    for name, work in [
        ("put_config", lambda: box.put_config(bytes(32), dice.randbytes(5_000))),
        *[("commit", commit)] * 30,
        ("ack", ack),
        *[
            ("journal", lambda: box.journal(dice.randbytes(6_000))),
            ("save_state", lambda: box.save_state(dice.randbytes(9_000))),
            ("put", lambda: box.put("x", dice.randbytes(4_000))),
            ("commit", commit),
            ("commit", commit),
            ("ack", ack),
        ] * 3,
    ]:  # fmt: skip
        before, newest = content_digest(box._db), box.after(0, 1_000)
        room.leave(dice.choice([0, 2_000, 9_000]))
        try:
            work()
        except OutboxFull:
            failed[name] = failed.get(name, 0) + 1
            if len(box.after(0, 1_000)) == len(newest):
                assert content_digest(box._db) == before, name
            room.set(-1)
            work()
        finally:
            room.set(-1)
    left = [item.seq for item in box.after(0, 1_000)]
    box.close()
    return {"failed": failed, "left": left, "made": seqs[-1] - 1}


def gateway(folder, seed, room):
    """A gateway whose disk is full for a while: how often it failed; the end is checked here."""
    from gateway.ledger import Ledger
    from tests.faults.step_gateway import AGENT, COUNT, SITE, GatewayRun

    dice = random.Random(seed)
    full_at, left = dice.randrange(2, 5), dice.randrange(0, 200_000)
    failures, commits = [], []

    class Run(GatewayRun):
        def commit(self, recorder):
            """As the service does it: again and again until it works."""
            commits.append(self.acked)
            if len(commits) == full_at:
                room.leave(left)
            while True:
                try:
                    return super().commit(recorder)
                except StoreError as error:
                    failures.append(str(error))
                    ledger = Ledger(self.folder / "ledger.sqlite") if len(failures) > 6 else None
                    if ledger is not None:
                        room.set(-1)
                        assert ledger.head(SITE, AGENT).seq >= self.acked
                        ledger.close()

    run = Run(folder / "state", junk=True)
    run.live()
    assert run.acked == COUNT
    return {"failures": failures}


def main():
    reserve.RESERVE_BYTES = 200_000
    what, folder, *seeds = sys.argv[1:]
    room = Room(Path(folder), Path(os.environ["DISK_ROOM"]))
    for seed in map(int, seeds):
        room.set(-1)
        place = Path(folder) / f"seed-{seed}"
        place.mkdir()
        print(json.dumps(RUNS[what](place, seed, room)))


RUNS = {"agent": agent, "outbox": outbox, "gateway": gateway}

if __name__ == "__main__":
    main()

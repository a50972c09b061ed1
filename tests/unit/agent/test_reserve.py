"""The reserve is room for a full disk; a disk that takes nothing at all ends nobody."""

import errno
from pathlib import Path

import pytest

from edge_agent.outbox import Outbox, OutboxFull
from edge_agent.reserve import RESERVE_BYTES, Reserve
from edge_agent.wire.chain import ChainHead


def test_the_room_is_taken_given_up_and_taken_again(tmp_path):
    path = tmp_path / "r"
    reserve = Reserve(path)
    assert (reserve.is_held, path.stat().st_size) == (True, RESERVE_BYTES)
    reserve.release()
    assert (reserve.is_held, path.exists()) == (False, False)
    reserve.hold()
    assert reserve.is_held


def test_a_disk_that_turns_read_only_is_a_full_outbox_and_no_other_error(tmp_path, monkeypatch):
    outbox = Outbox(tmp_path / "o.sqlite", 10**6, retain_bytes=10**6)
    outbox.commit([b"x" * 500], ChainHead(1, bytes(32)), b"state")
    outbox.ack(1, bytes(32))

    def read_only(self, **_):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "unlink", read_only)
    outbox._db.execute("PRAGMA query_only = 1")
    with pytest.raises(OutboxFull):
        outbox.commit([b"y" * 500], ChainHead(2, bytes(32)), b"state")
    outbox._db.execute("PRAGMA query_only = 0")
    assert outbox.head.seq == 1
    outbox.close()

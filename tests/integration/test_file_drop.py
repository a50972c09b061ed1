"""A drop folder with a clock that moves when told: exactly once, partial files, hostile files."""

import asyncio
import contextlib
import csv
import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from edge_agent.acquisition import Acquisition
from edge_agent.drivers.file_drop import FileDropDriver
from edge_agent.drivers.file_drop_rows import FileDropConfig
from edge_agent.errors import NoAnswer
from simulators.table_writer import TableWriter

S = 10**9
NOW_NS = round(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * S
ROWS = [("t", "m"), *((f"2026-03-01 08:00:{n:02}", f"{n}.5") for n in range(5))]
VALUES = [n + 0.5 for n in range(5)]


class FakeClock:
    """Every wait is over at once, and time has passed by as much, up to a limit."""

    def __init__(self):
        self.now_ns = 0
        self.limit_ns = 0

    def utc_ns(self):
        return NOW_NS + self.now_ns

    def monotonic_ns(self):
        return self.now_ns

    async def sleep(self, seconds):
        self.now_ns += round(seconds * S)
        await asyncio.sleep(0)
        while self.now_ns >= self.limit_ns:
            await asyncio.sleep(0.001)


@pytest.fixture
def drop(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()

    def make(**fields):
        base = {"driver": "file_drop", "id": "drop", "folder": folder, "time": "t"}
        record = tmp_path / "state" / "drop.jsonl"
        tags = [{"id": "m", "column": "m"}]
        return FileDropConfig.model_validate({**base, "record": record, "tags": tags, **fields})

    make.folder, make.record = folder, tmp_path / "state" / "drop.jsonl"
    return make


class Run:
    """A session of the driver; ``values`` is what was taken so far."""

    def __init__(self, config):
        self.clock = FakeClock()
        self.driver = FileDropDriver(config, self.clock)
        self.values, self.deliveries = [], 0

    async def __aenter__(self):
        await self.driver.__aenter__()
        self.task = asyncio.create_task(self._take())
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.driver.__aexit__()

    async def _take(self):
        async with contextlib.aclosing(self.driver.samples()) as samples:
            async for readings in samples:
                self.values += [reading.value for reading in readings]
                self.deliveries += 1
                self.driver.kept(self.deliveries)

    async def passes(self, seconds):
        self.clock.limit_ns = self.clock.now_ns + seconds * S
        while self.clock.now_ns < self.clock.limit_ns and not self.task.done():
            await asyncio.sleep(0.001)

    async def until(self, condition):
        self.clock.limit_ns = 10**30
        async with asyncio.timeout(30):
            while not condition():
                assert not self.task.done(), self.task.exception()
                await asyncio.sleep(0.001)


def names(folder, where):
    return sorted(path.name for path in (folder / where).iterdir())


async def test_a_file_is_taken_once_recorded_and_put_away(drop):
    TableWriter(drop.folder).write("a.csv", ROWS)
    async with Run(drop()) as run:
        await run.until(lambda: names(drop.folder, "done"))
        await run.passes(300)
    assert run.values == VALUES
    (put,) = names(drop.folder, "done")
    assert put.endswith("-a.csv")
    assert drop.record.read_text().count('"name": "a.csv"') == 1
    assert names(drop.folder, "rejected") == []


async def test_the_same_content_under_the_same_name_is_not_taken_again_even_after_a_restart(drop):
    writer = TableWriter(drop.folder)
    writer.write("a.csv", ROWS)
    async with Run(drop()) as run:
        await run.until(lambda: names(drop.folder, "done"))
    writer.write("a.csv", ROWS)
    async with Run(drop()) as run:
        await run.until(lambda: not (drop.folder / "a.csv").exists())
        assert run.values == []
        writer.write("a.csv", [*ROWS, ("2026-03-01 09:00:00", "77.5")])
        await run.until(lambda: len(names(drop.folder, "done")) == 2)
        assert run.values == [*VALUES, 77.5]


async def test_a_stop_between_delivery_and_record_reads_the_file_again_with_the_same_readings(drop):
    TableWriter(drop.folder).write("a.csv", ROWS)
    async with Run(drop(hold_s=1_000_000, scan_s=60)) as run:
        await run.until(lambda: len(run.values) == 5)
        await run.passes(3_000)
    assert not drop.record.exists()
    assert (drop.folder / "a.csv").exists()
    async with Run(drop()) as again:
        await again.until(lambda: names(drop.folder, "done"))
    assert again.values == VALUES


async def test_a_crash_between_record_and_move_only_moves(drop):
    TableWriter(drop.folder).write("a.csv", ROWS)
    async with Run(drop()) as run:
        await run.until(lambda: names(drop.folder, "done"))
    (put,) = (drop.folder / "done").iterdir()
    put.rename(drop.folder / "a.csv")
    with drop.record.open("ab") as file:
        file.write(b'{"name": "torn')
    async with Run(drop()) as again:
        await again.until(lambda: names(drop.folder, "done"))
    assert again.values == []
    assert drop.record.read_bytes().count(b"\n") == 1
    assert b"torn" not in drop.record.read_bytes()


async def test_a_file_whose_readings_nobody_keeps_is_not_recorded_however_long_they_wait(drop):
    """An overload may hold them back longer than hold_s, and a full disk refuse the journal."""
    TableWriter(drop.folder).write("a.csv", ROWS)
    clock = FakeClock()
    acquired = Acquisition([drop(ready="renamed")], clock, jitter=lambda: 0.5)
    running = asyncio.create_task(acquired.run())

    async def until(condition):
        clock.limit_ns = 10**30
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.001)

    try:
        await until(lambda: acquired._queue.size == 5)
        delivered_ns = clock.now_ns
        await until(lambda: clock.now_ns > delivered_ns + 100_000 * S)
        assert names(drop.folder, "done") == []
        assert not drop.record.exists()
        taken = await anext(acquired.batches())
        taken_ns = clock.now_ns
        assert [sample.value for sample in taken] == VALUES
        await until(lambda: clock.now_ns > taken_ns + 100_000 * S)
        assert not drop.record.exists()
        acquired.kept(acquired.taken.place)
        await until(lambda: names(drop.folder, "done"))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.drivers.file_drop import FileDropDriver
from edge_agent.drivers.file_drop_rows import FileDropConfig
folder, record = Path(sys.argv[1]), Path(sys.argv[2])
config = FileDropConfig(driver="file_drop", id="drop", folder=folder, record=record, time="t",
    ready="renamed", scan_s=0.01, hold_s=float(sys.argv[3]), tags=[{"id": "m", "column": "m"}])
async def main():
    async with FileDropDriver(config, SystemClock()) as driver:
        async for readings in driver.samples():
            print(*(r.value for r in readings), flush=True)
asyncio.run(main())
"""


def test_a_process_killed_before_the_record_reads_the_file_again(drop):
    TableWriter(drop.folder).write("a.csv", ROWS)
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(drop.folder), str(drop.record), "1000"],
            stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            line = process.stdout.readline()
            process.kill()
        assert [float(value) for value in line.split()] == VALUES


async def test_a_file_that_is_still_written_is_waited_for(drop):
    writing = TableWriter(drop.folder).write_slowly("a.csv", ROWS, parts=4)
    async with Run(drop(settle_s=20, scan_s=5)) as run:
        for _ in writing:
            await run.passes(15)
            assert run.values == []
        await run.until(lambda: run.values)
    assert run.values == VALUES


async def test_a_renamed_file_is_taken_at_once_and_a_temporary_name_never(drop):
    writer = TableWriter(drop.folder)
    writer.write("b.csv.part", ROWS)
    async with Run(drop(ready="renamed")) as run:
        await run.passes(100)
        assert run.values == []
        writer.write_and_rename("b.csv", ROWS)
        await run.until(lambda: run.values)


async def test_a_marked_file_waits_for_its_marker(drop):
    writer = TableWriter(drop.folder)
    writer.write("a.csv", ROWS)
    async with Run(drop(ready="marked")) as run:
        await run.passes(100)
        assert run.values == []
        writer.mark("a.csv")
        await run.until(lambda: names(drop.folder, "done"))
    assert not (drop.folder / "a.csv.ok").exists()


async def test_bad_rows_are_put_into_a_table_that_no_spreadsheet_runs(drop):
    rows = [*ROWS, ("2026-03-01 08:01:00", "=HYPERLINK(1)"), ("=cmd", "1.5")]
    TableWriter(drop.folder).write("a.csv", rows)
    async with Run(drop()) as run:
        await run.until(lambda: names(drop.folder, "done"))
    assert run.values == VALUES
    (sheet,) = (drop.folder / "rejected").iterdir()
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        head, *lines = csv.reader(file)
    assert head == ["line", "reason", "row"]
    assert [line[0] for line in lines] == ["7", "8"]
    assert lines[1][2] == "'=cmd,1.5"
    assert all("formula" in line[1] for line in lines)


async def test_a_refused_file_is_put_away_with_its_reason(drop):
    (drop.folder / "a.csv").write_bytes(b"\0\1\2")
    (drop.folder / "b.csv").write_bytes(b"t,m\n" + b"x" * (2**20 + 1))
    async with Run(drop(max_file_mb=1)) as run:
        await run.until(lambda: len(names(drop.folder, "rejected")) == 4)
    texts = sorted(path.read_text() for path in (drop.folder / "rejected").glob("*.reason.txt"))
    assert "at most 1048576 are right" in texts[0]
    assert "NUL" in texts[1]
    assert run.values == []


async def test_links_folders_pipes_and_odd_names_are_left_alone(drop, tmp_path):
    secret = tmp_path / "secret.csv"
    TableWriter(tmp_path).write("secret.csv", ROWS)
    (drop.folder / "link.csv").symlink_to(secret)
    (drop.folder / "folder.csv").mkdir()
    os.mkfifo(drop.folder / "pipe.csv")
    TableWriter(drop.folder).write(".hidden.csv", ROWS)
    TableWriter(drop.folder).write("odd\nname.csv", ROWS)
    async with Run(drop()) as run:
        await run.passes(300)
        assert run.values == []
    assert secret.exists()
    assert names(drop.folder, "done") == names(drop.folder, "rejected") == []


async def test_a_name_with_odd_signs_is_put_away_under_a_plain_one(drop):
    TableWriter(drop.folder).write("报表 3月;$(x).csv", ROWS)
    async with Run(drop()) as run:
        await run.until(lambda: names(drop.folder, "done"))
    (put,) = names(drop.folder, "done")
    assert put.endswith("-报表_3月_x_.csv")
    assert run.values == VALUES


@pytest.mark.parametrize("content", [None, b"\0"], ids=["taken", "refused"])
async def test_the_longest_name_of_a_file_system_is_put_away(drop, content):
    name = "报" * 83 + ".csv"
    assert len(name.encode()) == 253
    TableWriter(drop.folder).write("short.csv", ROWS)
    (drop.folder / "short.csv").rename(drop.folder / name)
    if content is not None:
        (drop.folder / name).write_bytes(content)
    where = "done" if content is None else "rejected"
    async with Run(drop()) as run:
        await run.until(lambda: len(names(drop.folder, where)) == (1 if content is None else 2))
    assert not (drop.folder / name).exists()


async def test_a_done_folder_that_is_a_link_is_no_answer(drop, tmp_path):
    (drop.folder / "done").symlink_to(tmp_path)
    with pytest.raises(NoAnswer, match="is a link"):
        await Run(drop()).__aenter__()


async def test_a_folder_that_disappears_ends_the_session(drop):
    async with Run(drop()) as run:
        drop.folder.rename(drop.folder.with_name("gone"))
        run.clock.limit_ns = 10**30
        async with asyncio.timeout(30):
            with pytest.raises(NoAnswer):
                await run.task


async def test_a_damaged_record_is_told_and_not_guessed_at(drop):
    drop.record.parent.mkdir()
    drop.record.write_text("not json\n")
    with pytest.raises(NoAnswer, match="drop.jsonl:1 is damaged"):
        await Run(drop()).__aenter__()


async def test_a_large_file_is_delivered_in_pieces_and_completely(drop):
    rows = [("t", "m")]
    rows += [(f"2026-03-01 {n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}", n) for n in range(20_000)]
    TableWriter(drop.folder, encoding="gb18030").write("a.csv", rows)
    async with Run(drop(encoding="gb18030")) as run:
        await run.until(lambda: names(drop.folder, "done"))
    assert run.values == list(range(20_000))

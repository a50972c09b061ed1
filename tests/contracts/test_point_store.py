"""One suite over every ``PointStore``.

sqlite always; influxdb against a real VictoriaMetrics, read back by that server's own HTTP API;
influxdb against a real InfluxDB 2 when INFLUXDB_URL, INFLUXDB_TOKEN, INFLUXDB_ORG and
INFLUXDB_BUCKET are set.
"""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

from edge_agent.errors import StoreError
from edge_agent.readings import GOOD, Columns, Quality, Reason, Record, Severity
from gateway.store import Projection
from gateway.store.influxdb import InfluxStore, Target, lines
from gateway.store.sqlite import SqliteStore

T0 = 1_767_196_800_000_000_000
MINUTE = 60_000_000_000
EVER = (0, 2**63 - 1)
BAD = Quality.of(Severity.BAD, Reason.COMMS)


def until(condition, deadline_s=20):
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.05)
    return found


def records(series, values, start=T0, step=MINUTE):
    return [
        Record(series, start + place * step, value, BAD if value is None else GOOD)
        for place, value in enumerate(values)
    ]


def columns(*rows):
    names = tuple(dict.fromkeys(row.series for row in rows))
    return Columns(
        names,
        [names.index(row.series) for row in rows],
        [row.time_ns for row in rows],
        [row.value for row in rows],
        [int(row.quality) for row in rows],
    )


class Sqlite:
    """The built-in store, asked by itself."""

    exact = compares = clears = lists = True

    def __init__(self, folder):
        self.folder = folder

    def open(self):
        return SqliteStore(self.folder / "store.sqlite")

    def expect(self, store, site, series, expected):
        found = list(store.read(site, series, *EVER))
        assert found == expected
        assert [type(row.value) for row in found] == [type(row.value) for row in expected]

    def events(self, store, site):
        return list(store.read_events(site, *EVER))


class Influx(Sqlite):
    """A real InfluxDB 2, read by Flux. Each test has a site of its own, cleared before."""

    compares = False

    def open(self):
        env = os.environ
        target = Target(
            env["INFLUXDB_URL"],
            env["INFLUXDB_TOKEN"],
            env["INFLUXDB_ORG"],
            env["INFLUXDB_BUCKET"],
            flux=True,
        )
        return InfluxStore(target, self.folder / "progress.json")


class VictoriaMetrics(Sqlite):
    """VictoriaMetrics behind the same client: numeric fields, milliseconds, its own reads.

    It keeps a block of values as integers with one common power of ten, so that very large and
    very small values beside each other are rounded: values here are of a plant's size.
    """

    exact = compares = clears = lists = False

    def __init__(self, folder, url):
        super().__init__(folder)
        self.url = url

    def open(self):
        target = Target(self.url, "none", "none", "carbon", flux=False)
        return InfluxStore(target, self.folder / "progress.json")

    def export(self, metric, **labels):
        selector = ",".join(f'{key}="{value}"' for key, value in labels.items())
        query = urllib.parse.urlencode({"match[]": f"{metric}{{{selector}}}", "start": "0"})
        with urllib.request.urlopen(f"{self.url}/api/v1/export?{query}", timeout=10) as answer:
            rows = [json.loads(line) for line in answer.read().splitlines()]
        return {
            stamp: value
            for row in rows
            for stamp, value in zip(row["timestamps"], row["values"], strict=True)
        }

    def expect(self, store, site, series, expected):
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=10).close()

        def by_ms(field, pick):
            wanted = {row.time_ns // 1_000_000: pick(row) for row in expected}
            wanted = {stamp: value for stamp, value in wanted.items() if value is not None}
            until(lambda: self.export(f"point_{field}", site=site, series=series) == wanted)

        by_ms("quality", lambda row: int(row.quality))
        by_ms("value", lambda row: row.value)
        by_ms("count", lambda row: row.value if isinstance(row.value, int) else None)


@pytest.fixture(scope="session")
def victoria_metrics(tmp_path_factory):
    program = shutil.which("victoria-metrics")
    if program is None:
        pytest.skip("victoria-metrics is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("victoria")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"-storageDataPath={folder / 'data'}",
                f"-httpListenAddr=127.0.0.1:{port}",
                "-retentionPeriod=100y",
                "-dedup.minScrapeInterval=1ms",
                "-memory.allowedBytes=128MB",
            ],
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"

    def up():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1):
            return True
        assert process.poll() is None, (folder / "log").read_text()
        return False

    until(up, 30)
    yield url
    process.terminate()
    process.wait(30)


@pytest.fixture(params=["sqlite", "victoriametrics", "influxdb"])
def adapter(request, tmp_path):
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    if request.param == "victoriametrics":
        return VictoriaMetrics(tmp_path, request.getfixturevalue("victoria_metrics"))
    if "INFLUXDB_URL" not in os.environ:
        pytest.skip("INFLUXDB_URL is not set")
    return Influx(tmp_path)


@pytest.fixture
def store(adapter, site):
    opened = adapter.open()
    if adapter.clears:
        opened.clear(site)
    yield opened
    opened.close()


@pytest.fixture
def site(request):
    """A name of its own for each test: servers are shared between them."""
    return f"s{abs(hash(request.node.nodeid)) % 10**12}"


def test_what_was_written_is_read_back(adapter, store, site):
    voltage = records("pot.001.v", [4.25, None, 4.5, 0.0625, 412_345.5, -2.5])
    energy = records("line.kwh", [10_000_000, 10_000_001, 0, -3, None, 7])
    mixed = [row for pair in zip(voltage, energy, strict=True) for row in pair]
    store.write(site, "gw-01", 1, columns(*mixed), [])
    adapter.expect(store, site, "pot.001.v", voltage)
    adapter.expect(store, site, "line.kwh", energy)


def test_writing_a_batch_again_changes_nothing(adapter, store, site):
    rows = records("pot.001.v", [4.25, 4.5, 4.75])
    for _ in range(3):
        store.write(site, "gw-01", 1, columns(*rows), [])
    adapter.expect(store, site, "pot.001.v", rows)


def test_groups_arrive_whole_and_count_how_far_they_came(adapter, store, site):
    def batch(seq, agent="gw-01"):
        rows = records(f"{agent}.v", [float(seq), seq + 0.5], T0 + 2 * seq * MINUTE)
        return Projection(site, agent, seq, columns(*rows))

    assert store.projected(site, "gw-01") == 0
    assert store.write_many([batch(1), batch(2), batch(1, "gw-02")]) == []
    assert (store.projected(site, "gw-01"), store.projected(site, "gw-02")) == (2, 1)
    store.write_many([batch(4)])
    assert store.projected(site, "gw-01") == 2
    store.write_many([batch(3)])
    store.write_many([batch(4), batch(5), batch(2)])
    assert store.projected(site, "gw-01") == 5
    store.close()
    again = adapter.open()
    assert again.projected(site, "gw-01") == 5
    again.close()
    values = [value for seq in range(1, 6) for value in (float(seq), seq + 0.5)]
    third = adapter.open()
    adapter.expect(third, site, "gw-01.v", records("gw-01.v", values, T0 + 2 * MINUTE))
    third.close()


def test_sites_do_not_see_each_other(adapter, store, site):
    other = f"{site}b"
    mine, theirs = records("line.kwh", [1, 2]), records("line.kwh", [30, 40])
    store.write(site, "gw-01", 1, columns(*mine), [])
    store.write(other, "gw-01", 1, columns(*theirs), [])
    adapter.expect(store, site, "line.kwh", mine)
    adapter.expect(store, other, "line.kwh", theirs)


def test_a_store_that_is_away_is_a_store_error(adapter, tmp_path, site):
    if type(adapter) is Sqlite:
        with pytest.raises(StoreError):
            SqliteStore(tmp_path)
        return
    away = InfluxStore(Target("http://127.0.0.1:1", "t", "o", "b", flux=True), tmp_path / "p.json")
    with pytest.raises(StoreError):
        away.write(site, "gw-01", 1, columns(*records("a", [1.0])), [])
    with pytest.raises(StoreError):
        list(away.read(site, "a", *EVER))
    assert away.projected(site, "gw-01") == 0
    away.close()


def test_numbers_survive_exactly(adapter, store, site):
    if not adapter.exact:
        pytest.skip("keeps doubles and milliseconds")
    integers = records("i", [2**63 - 1, -(2**63), 2**53 + 1, 0], step=1)
    floats = records("f", [0.1, 5e-324, 1.7976931348623157e308, 3.0], T0 + 1, step=1)
    store.write(site, "gw-01", 1, columns(*integers, *floats), [])
    adapter.expect(store, site, "i", integers)
    adapter.expect(store, site, "f", floats)


def test_reads_are_half_open_ordered_and_listed(adapter, store, site):
    if not adapter.lists:
        pytest.skip("is read by its own API")
    rows = records("pot.001.v", [1.5, 2.5, 3.5, 4.5])
    store.write(site, "gw-01", 2, columns(*reversed(rows[2:])), [])
    store.write(site, "gw-01", 1, columns(*rows[:2], *records("a/b.c", [1])), [])
    found = list(store.read(site, "pot.001.v", T0 + MINUTE, T0 + 3 * MINUTE))
    assert found == rows[1:3]
    assert list(store.read(site, "pot.001.v", T0, T0)) == []
    assert list(store.read(site, "nothing", *EVER)) == []
    assert store.series(site) == ["a/b.c", "pot.001.v"]
    assert store.points(site) == 5


def test_a_batch_sent_again_with_other_values_overwrites_its_own(adapter, store, site):
    if not adapter.lists:
        pytest.skip("keeps the greatest of two values at one time")
    store.write(site, "gw-01", 1, columns(*records("a", [1.5, 2.5])), [])
    store.write(site, "gw-01", 1, columns(*records("a", [1.5, 9.5])), [])
    adapter.expect(store, site, "a", records("a", [1.5, 9.5]))


def test_another_batch_with_another_value_is_an_error_and_the_first_stays(adapter, store, site):
    if not adapter.compares:
        pytest.skip("cannot look before it writes")
    store.write(site, "gw-01", 1, columns(*records("a", [1.5, 2.5])), [])
    later = T0 + MINUTE
    store.write(site, "gw-01", 2, columns(*records("a", [2.5], later)), [])
    for agent, seq, value in [("gw-01", 2, 9.5), ("gw-02", 1, 9.5), ("gw-01", 2, None)]:
        rows = [*records("a", [value], later), *records(f"b.{seq}", [7])]
        with pytest.raises(StoreError, match=rf"^a at {later}: .*{agent} batch {seq}"):
            store.write(site, agent, seq, columns(*rows), [])
        adapter.expect(store, site, f"b.{seq}", records(f"b.{seq}", [7]))
    with pytest.raises(StoreError, match=rf"a at {T0}"):
        store.write(site, "gw-01", 2, columns(*records("a", [1])), [])
    adapter.expect(store, site, "a", records("a", [1.5, 2.5]))


def test_a_contradiction_inside_one_group_is_reported_too(adapter, store, site):
    if not adapter.compares:
        pytest.skip("cannot look before it writes")
    first = Projection(site, "gw-01", 1, columns(*records("a", [1.5])))
    second = Projection(site, "gw-01", 2, columns(*records("a", [2.5])))
    (conflict,) = store.write_many([first, second])
    assert (conflict.series, conflict.time_ns, conflict.kept, conflict.refused, conflict.seq) == (
        "a", T0, 1.5, 2.5, 2,
    )  # fmt: skip
    adapter.expect(store, site, "a", records("a", [1.5]))
    assert store.projected(site, "gw-01") == 2


def test_events_come_back_as_they_were(adapter, store, site):
    if not adapter.lists:
        pytest.skip("keeps no text")
    events = [
        {"t": T0 + 5, "type": "gap", "why": 'say "x", y=\\ z', "n": [1, 2.5, None, True]},
        {"t": T0 + 5, "type": "gap", "pot": "002", "sha256": bytes(range(32))},
        {"t": T0 + 1, "type": "resumed", "deep": {"a": {"b": 2**60}}},
    ]
    nothing = Columns(())
    for _ in range(2):
        store.write(site, "gw-01", 1, nothing, events)
    store.write(site, "gw-01", 2, nothing, [{"t": T0 + 5, "type": "gap", "pot": "003"}])
    found = list(store.read_events(site, T0, T0 + 6))
    assert found == [events[2], *events[:2], {"t": T0 + 5, "type": "gap", "pot": "003"}]
    assert list(store.read_events(site, T0, T0 + 5)) == [events[2]]
    assert len(list(store.read_events(site, *EVER, types={"resumed"}))) == 1


def test_clear_forgets_one_site_only(adapter, store, site):
    if not adapter.clears:
        with pytest.raises(StoreError):
            store.clear(site)
        return
    other = f"{site}b"
    events = [{"t": T0, "type": "gap"}]
    for name in (site, other):
        store.write(name, "gw-01", 1, columns(*records("a", [1.5])), events)
    store.clear(site)
    assert (list(store.read(site, "a", *EVER)), store.series(site), store.points(site)) == (
        [],
        [],
        0,
    )
    assert (store.projected(site, "gw-01"), adapter.events(store, site)) == (0, [])
    adapter.expect(store, other, "a", records("a", [1.5]))
    assert (store.projected(other, "gw-01"), adapter.events(store, other)) == (1, events)
    store.write(site, "gw-01", 1, columns(*records("a", [2.5])), events)
    adapter.expect(store, site, "a", records("a", [2.5]))


def test_reads_that_are_not_configured_say_so(tmp_path, victoria_metrics, site):
    store = VictoriaMetrics(tmp_path, victoria_metrics).open()
    for read in (
        lambda: list(store.read(site, "a", *EVER)),
        lambda: list(store.read_events(site, *EVER)),
        lambda: store.series(site),
        lambda: store.points(site),
    ):
        with pytest.raises(StoreError, match="reads are not configured"):
            read()
    store.close()


def test_readers_in_other_connections_see_whole_groups_only(tmp_path):
    writer, reader = SqliteStore(tmp_path / "s.sqlite"), SqliteStore(tmp_path / "s.sqlite")
    for seq in range(1, 20):
        rows = [*records("a", [seq], T0 + seq), *records("b", [seq], T0 + seq)]
        writer.write("s", "g", seq, columns(*rows), [])
        assert (
            len(list(reader.read("s", "a", *EVER)))
            == seq
            == len(list(reader.read("s", "b", *EVER)))
        )
    iterator = reader.read("s", "a", *EVER)
    next(iterator)
    writer.clear("s")
    iterator.close()
    writer.write("s", "g", 1, columns(*records("b", [5])), [])
    assert [row.value for row in reader.read("s", "b", *EVER)] == [5]
    assert reader.series("s") == ["b"]
    writer.close()
    reader.close()


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    store = SqliteStore(tmp_path / "s.sqlite")
    outside = sqlite3.connect(tmp_path / "s.sqlite")
    outside.execute(
        "CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    outside.commit()
    events = [{"t": T0, "type": "gap"}]
    with pytest.raises(StoreError, match="disk full"):
        store.write("s", "g", 1, columns(*records("a", [1])), events)
    assert (store.points("s"), store.projected("s", "g")) == (0, 0)
    outside.execute("DROP TRIGGER full")
    outside.commit()
    outside.close()
    store.write("s", "g", 1, columns(*records("a", [1])), events)
    assert (store.points("s"), store.projected("s", "g")) == (1, 1)
    store.close()


@pytest.mark.parametrize("name", ["a b", "a,b", "a=b", 'a"b', "a\\b", "a\nb v=1", "", "x" * 201])
def test_no_name_can_change_the_line_protocol(name):
    good = columns(*records("a", [1]))
    with pytest.raises(StoreError, match="no name"):
        lines(Projection("s", "g", 1, columns(*records(name, [1]))))
    with pytest.raises(StoreError, match="no name"):
        lines(Projection(name, "g", 1, good))
    with pytest.raises(StoreError, match="no name"):
        lines(Projection("s", name, 1, good))


def test_line_protocol_fixes_the_type_of_every_field():
    events = [{"t": 9, "type": "gap", "why": 'a "b"\n\\c'}]
    made = lines(Projection("s", "g", 7, columns(*records("a", [1, 1.0, None], 5, 1)), events))
    assert made == [
        "point,agent=g,site=s,series=a count=1i,value=1.0,quality=0i,seq=7i 5",
        "point,agent=g,site=s,series=a value=1.0,quality=0i,seq=7i 6",
        "point,agent=g,site=s,series=a quality=36i,seq=7i 7",
        'event,agent=g,site=s,n=7-0,type=gap json="{\\"t\\": 9, \\"type\\": \\"gap\\",'
        ' \\"why\\": \\"a \\\\\\"b\\\\\\"\\\\n\\\\\\\\c\\"}",position=0i,seq=7i 9',
    ]

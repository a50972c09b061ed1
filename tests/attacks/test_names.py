"""Names that would be statements: every name is a value and nothing else (row 64).

That no statement is put together from values is checked on the source (structure/test_queries);
here hostile names go through ledger, store and the query language of a remote store.
"""

import json
import sqlite3
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import StoreError
from edge_agent.readings import Columns
from edge_agent.wire import topics
from gateway.ledger import Draft, Ledger, Refusal
from gateway.store import Projection
from gateway.store.influxdb import InfluxStore, Target, lines
from gateway.store.sqlite import SqliteStore

NAMES = [
    "'; DROP TABLE batches; --",
    '" OR 1=1 --',
    "x' UNION SELECT * FROM configs --",
    "%", "_", "*", "?", "?1", ":a", "@a", "$a", "a%", "a_", "ab", "aB", "a\x00b", "a\nb", "",
    "al-001", "al-00%", "AL-001", "NULL", "x'00'", "`a`", "[a]", "\\", "'", '"', "''",
    '") |> drop() //', 'x" or r.site != "', "${p_site}", "\n|> yield()", 'a"} or true or {"',
]  # fmt: skip
T0 = 1_767_196_800 * 10**9
EVER = (0, 2**62)
names = st.sampled_from(NAMES) | st.text(max_size=30)
clean = names.filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))


def dump(path):
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


@pytest.fixture(scope="module")
def written(tmp_path_factory, signer):
    """A ledger and a store in which every hostile name stands once, as a value."""
    folder = tmp_path_factory.mktemp("names")
    ledger, store = Ledger(folder / "ledger.sqlite"), SqliteStore(folder / "store.sqlite")
    for place, name in enumerate(NAMES):
        ledger.documents.add(Draft(name, name, name, b"%d" % place, T0))
        ledger.quarantine(Refusal(name, name, b"%d" % place, T0, (name, name)))
        ledger.freeze(name, name, T0, name)
        columns = Columns((name,), [0], [T0 + place], [place], [0])
        store.write(name, name, 1, columns, [{"t": T0, "type": "gap", "who": place}])
    yield ledger, store, folder
    ledger.close()
    store.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_name_finds_what_stands_under_it_and_nothing_else(written, name):
    ledger, store, _ = written
    place = NAMES.index(name)
    assert ledger.documents.newest(name, name, name).raw == b"%d" % place
    assert [one.raw for one in ledger.documents.all(name, site=name)] == [b"%d" % place]
    assert ledger.is_frozen(name, name)
    counted = [one for one in ledger.quarantine_counts() if one.site == name]
    assert [(one.agent, one.reason, one.messages) for one in counted] == [(name, name, 1)]
    assert [record.value for record in store.read(name, name, *EVER)] == [place]
    assert [event["who"] for event in store.read_events(name, *EVER)] == [place]
    assert store.series(name) == [name]
    assert (store.points(name), store.projected(name, name)) == (1, 1)


def test_clearing_a_site_of_any_name_leaves_the_others(tmp_path):
    with closing(SqliteStore(tmp_path / "store.sqlite")) as store:
        for name in NAMES:
            store.write(name, name, 1, Columns((name,), [0], [T0], [1], [0]), [])
        left = list(NAMES)
        while left:
            store.clear(left.pop(0))
            assert [name for name in NAMES if store.points(name)] == left


@settings(max_examples=60)
@given(clean, clean, clean)
def test_a_question_about_any_name_changes_nothing_and_finds_nothing(written, site, agent, series):
    ledger, store, folder = written
    before = dump(folder / "ledger.sqlite"), dump(folder / "store.sqlite")
    assert ledger.head(site, agent).seq == 0
    assert ledger.hash_at(site, agent, 1) is None
    assert list(ledger.batches(site, agent)) == list(ledger.arrivals(site)) == []
    assert ledger.number(site, agent, 1) is None
    assert ledger.window(site, agent, 0, T0) is None
    assert ledger.span(site, agent) is None
    assert ledger.contiguous(site, agent)
    assert ledger.agents(site) == ledger.config_digests(site, agent) == []
    assert ledger.config(site, agent, bytes(32)) is None
    assert ledger.config_uses(site, agent, 1, 9) == []
    assert ledger.marked(site, agent, 1, 9) == {}
    assert ledger.forks(site, agent) == ledger.lab_documents(site) == []
    assert ledger.lab_versions(site, series) == 0
    assert ledger.is_frozen(site, agent) == (site == agent and site in NAMES)
    known = site == series and site in NAMES
    assert len(list(store.read(site, series, *EVER))) == known
    assert (dump(folder / "ledger.sqlite"), dump(folder / "store.sqlite")) == before


# -- a remote store: line protocol and Flux ------------------------------------------------------


class Listener:
    """Takes every request of a store's client and keeps what was asked."""

    def __init__(self):
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                asked.append((self.path, body))
                self.send_response(204 if "/write" in self.path else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def remote(tmp_path_factory):
    listener = Listener()
    url = f"http://127.0.0.1:{listener.server.server_port}"
    store = InfluxStore(
        Target(url, "token", "org", "bucket", flux=True),
        tmp_path_factory.mktemp("remote") / "progress.json",
    )
    yield store, listener.asked
    store.close()
    listener.close()


@settings(max_examples=60)
@given(clean, clean)
def test_the_text_of_a_query_is_the_same_whatever_is_asked_for(remote, site, series):
    store, asked = remote

    def questions(one, other):
        del asked[:]
        list(store.read(one, other, *EVER))
        list(store.read_events(one, *EVER))
        store.series(one)
        store.points(one)
        return [json.loads(body) for _, body in asked]

    plain, found = questions("al-001", "line.kwh"), questions(site, series)
    assert len(found) == 4
    assert [one["query"] for one in found] == [one["query"] for one in plain]
    for one in found:
        body = one["extern"]["body"]
        told = {part["assignment"]["id"]["name"]: part["assignment"]["init"] for part in body}
        assert told["p_site"]["value"] == site


@pytest.mark.parametrize("name", [name for name in NAMES if not topics.NAME.match(name)])
def test_a_deletion_takes_no_parameters_and_therefore_no_such_name(remote, name):
    store, asked = remote
    del asked[:]
    with pytest.raises(StoreError, match="is no name that line protocol can carry"):
        store.clear(name)
    assert asked == []


@given(names)
def test_line_protocol_carries_no_such_name(name):
    for site, agent, series in (
        (name, "gw-01", "a"),
        ("al-001", name, "a"),
        ("al-001", "gw-01", name),
    ):
        batch = Projection(site, agent, 1, Columns((series,), [0], [T0], [1.5], [0]), [])
        try:
            (line,) = lines(batch)
        except StoreError:
            continue
        assert (
            line
            == f"point,agent={agent},site={site},series={series} value=1.5,quality=0i,seq=1i {T0}"
        )
        assert line.count(" ") == 2

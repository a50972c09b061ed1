"""The gateway's side: what is due, an authority that is away or wrong, and a running gateway."""

import asyncio
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from openssl_authority import DAY, POLICY

from edge_agent.calc.windows import to_ns
from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError, StoreError
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import create_signer, public_key
from gateway import cli, stamps, timestamp
from gateway import config as config_
from gateway.checkpoints import Checkpointer
from gateway.day_closing import DayCloser
from gateway.ingest.stamping import Stamping
from gateway.ledger import Draft, Ledger, Stamp
from gateway.stamps import Stamper
from gateway.timestamp import Authority, TimestampError
from gateway.timestamp_http import AuthorityUnreachable, TimestampClient, clients

HOUR = timedelta(hours=1)
MORNING = datetime(2026, 10, 1, 1, 0, tzinfo=UTC)  # 09:00 in Shanghai
LIMIT_S = 60
ROOT = Path(__file__).resolve().parents[3]


class SteppedClock:
    """Sleeping moves the time and lets others run; what was slept is kept."""

    def __init__(self):
        self.now_ns, self.slept = to_ns(MORNING), []

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.now_ns

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_ns += int(seconds * 10**9)
        await asyncio.sleep(0.002)


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def maker(ledger, gateway_signer):
    days = DayCloser(ledger, gateway_signer, 300)
    return Checkpointer(ledger, gateway_signer, "carbon-log/test", 3_600, days)


@pytest.fixture
def grow(ledger):
    def add(count=1):
        for _ in range(count):
            number = ledger.tree.size()
            ledger.documents.add(Draft("enrol", "al-001", f"{number}", f"{number}".encode(), 5))

    return add


@pytest.fixture
def plant(ledger, signer, make_batch, ring):
    """The zone of the site is known, so that its days are closed."""
    from edge_agent.wire import batch as wire_batch

    content = cbor.encode({"site": "al-001", "timezone": "Asia/Shanghai"})
    key = public_key(signer.public_spki())
    raw = cose.sign(MessageType.CONFIG, content, signer)
    verified = cose.verify(raw, MessageType.CONFIG, lambda _: key)
    ledger.add_config("al-001", "gw-01", verified, 1)
    batch = wire_batch.verify(wire_batch.sign(make_batch(), signer), "al-001", "gw-01", ring)
    ledger.append([(batch, 1)])


@pytest.fixture
def stamper(ledger):
    return Stamper(ledger, [])


def kept(ledger, made, authority="tsa"):
    ledger.tree.add_stamp(Stamp(made.size, authority, made.at_ns, b"q", b"r"))


def test_the_first_checkpoint_is_due_at_once_then_each_close_of_a_day(
    maker, plant, grow, ledger, stamper
):
    assert stamper.due("tsa", to_ns(MORNING)) is None
    first = maker.tick(to_ns(MORNING))
    assert stamper.due("tsa", to_ns(MORNING)) == first
    kept(ledger, first)
    for hour in range(1, 15):  # until 23:00
        grow()
        maker.tick(to_ns(MORNING + hour * HOUR))
        assert stamper.due("tsa", to_ns(MORNING + hour * HOUR)) is None
    grow()
    closing = maker.tick(to_ns(MORNING + 15 * HOUR))
    assert stamper.due("tsa", to_ns(MORNING + 15 * HOUR)) == closing
    grow()
    newest = maker.tick(to_ns(MORNING + 16 * HOUR))
    assert stamper.due("tsa", to_ns(MORNING + 16 * HOUR)) == newest, "it covers the day's close too"
    assert stamper.due("other", to_ns(MORNING + 16 * HOUR)) == newest
    kept(ledger, newest)
    assert stamper.due("tsa", to_ns(MORNING + 17 * HOUR)) is None


def test_a_log_without_plant_days_is_stamped_daily_also_when_it_rests(maker, grow, ledger, stamper):
    grow()
    kept(ledger, maker.tick(to_ns(MORNING)))
    grow()
    second = maker.tick(to_ns(MORNING + HOUR))
    assert stamper.due("tsa", to_ns(MORNING + 22.9 * HOUR)) is None
    assert stamper.due("tsa", to_ns(MORNING + 23 * HOUR)) == second
    kept(ledger, second)
    assert stamper.due("tsa", to_ns(MORNING + 900 * HOUR)) is None, "there is nothing new"


def test_the_standing_tells_when_a_checkpoint_waits_longer_than_a_day(maker, grow, ledger):
    def one(hours):
        (found,) = stamps.standing(ledger, ["tsa"], to_ns(MORNING + hours * HOUR))
        return found["waiting_since_ns"], found["overdue"]

    assert one(99) == (None, False)
    grow()
    made = maker.tick(to_ns(MORNING))
    assert one(24) == (to_ns(MORNING), False)
    assert one(24.01) == (to_ns(MORNING), True)
    kept(ledger, made)
    assert one(99) == (None, False)
    grow()
    maker.tick(to_ns(MORNING + 30 * HOUR))
    assert one(54) == (to_ns(MORNING + 30 * HOUR), False)
    assert one(55) == (to_ns(MORNING + 30 * HOUR), True)


@pytest.fixture
def client_of(authority):
    def make(url, timeout_s=20, known=authority, policy=POLICY):
        return TimestampClient(Authority("tsa", (known.root,), policy), url, timeout_s)

    return make


async def run_until(stamping, condition):
    task = asyncio.create_task(stamping.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                assert not task.done()
                await asyncio.sleep(0.005)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_authority_that_is_away_is_asked_at_growing_distances_until_it_answers(
    maker, grow, ledger, authority, client_of, caplog
):
    """Meanwhile the ledger's thread is free, and the checkpoints since then get one token."""
    with authority.serving() as url:
        port = int(url.split(":")[2].split("/")[0])
    grow()
    maker.tick(to_ns(MORNING))
    clock = SteppedClock()
    with ThreadPoolExecutor(1) as executor:
        stamping = Stamping(Stamper(ledger, [client_of(url)]), executor, clock)
        await run_until(stamping, lambda: len(clock.slept) >= 12)
        assert clock.slept[:10] == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600]
        assert clock.slept[10] == 3600
        assert "not_stamped" in caplog.text
        for _ in range(3):
            grow()
            newest = maker.tick(clock.now_ns)
            clock.now_ns += to_ns(MORNING + 24 * HOUR) - to_ns(MORNING)
        assert ledger.tree.stamps() == []
        with authority.serving(port):
            await run_until(stamping, lambda: clock.slept[-1] == 5)
    (stamp,) = ledger.tree.stamps()
    assert stamp.size == newest.size
    known = [client_of(url).authority]
    assert timestamp.check(stamp.response, stamp.request, newest.note.encode(), known)


async def test_a_hanging_authority_delays_neither_the_other_nor_the_ledger(
    maker, grow, ledger, make_authority, client_of
):
    authority = make_authority()
    grow()
    made = maker.tick(to_ns(MORNING))
    with ThreadPoolExecutor(1) as executor, authority.serving() as url:
        slow = client_of(url.replace("/tsa", "/slow"), known=authority)
        quick = TimestampClient(Authority("quick", slow.authority.roots), url, 20)
        stamping = Stamping(Stamper(ledger, [slow, quick]), executor, SteppedClock())
        task = asyncio.create_task(stamping.run())
        try:
            async with asyncio.timeout(LIMIT_S):
                while ledger.tree.stamped("quick") is None or len(authority.requests) < 2:
                    await asyncio.sleep(0.005)
                grow()  # the ledger takes documents while the authority hangs
                assert ledger.tree.stamped("tsa") is None
                authority.gate.set()
                while ledger.tree.stamped("tsa") != made:
                    await asyncio.sleep(0.005)
        finally:
            authority.gate.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_wrong_token_and_a_failing_ledger_are_tried_again_and_nothing_wrong_is_kept(
    maker, grow, ledger, make_authority, client_of, monkeypatch, caplog
):
    expired = make_authority(ends=-DAY)
    grow()
    maker.tick(to_ns(MORNING))
    clock = SteppedClock()
    with ThreadPoolExecutor(1) as executor, expired.serving() as url:
        stamping = Stamping(Stamper(ledger, [client_of(url, known=expired)]), executor, clock)
        await run_until(stamping, lambda: len(clock.slept) >= 3)
        assert ledger.tree.stamps() == []
        assert "expired" in caplog.text

        def fail(*_):
            message = "disk full"
            raise StoreError(message)

        monkeypatch.setattr(ledger.tree, "stamped", fail)
        await run_until(stamping, lambda: "disk full" in caplog.text)


async def test_an_error_of_any_kind_ends_neither_the_task_nor_the_other_authority(
    maker, grow, ledger, authority, client_of, caplog
):
    grow()
    maker.tick(to_ns(MORNING))
    clock = SteppedClock()
    failures = [OverflowError("date value out of range")]

    def random(size):
        if failures:
            raise failures.pop()
        return bytes(size)

    with ThreadPoolExecutor(1) as executor, authority.serving() as url:
        both = [
            client_of(url),
            TimestampClient(Authority("b", client_of(url).authority.roots), url, 20),
        ]
        stamping = Stamping(Stamper(ledger, both, random), executor, clock)
        await run_until(stamping, lambda: len(ledger.tree.stamps()) == 2)
    assert "OverflowError: date value out of range" in caplog.text
    assert clock.slept.count(10) == 1


def test_an_answer_of_another_kind_too_long_or_for_another_nonce_is_refused(authority, client_of):
    with authority.serving() as url:
        client = client_of(url)
        old = client.stamp(b"text", bytes(8))[1]
        authority.spoil = lambda _: old
        try:
            with pytest.raises(TimestampError, match="another request"):
                client.stamp(b"text", bytes(range(8)))
            authority.spoil = lambda _: bytes(70_000)
            with pytest.raises(TimestampError, match="at most 65536 bytes"):
                client.stamp(b"text", bytes(8))
            authority.kind = "text/html"
            with pytest.raises(AuthorityUnreachable, match="answered text/html"):
                client.stamp(b"text", bytes(8))
        finally:
            authority.spoil, authority.kind = (lambda response: response), authority.REPLY
    with pytest.raises(AuthorityUnreachable, match="tsa at http"):
        client.stamp(b"text", bytes(8))


CONFIG = """\
state_dir: state
keys: {{ack: ack.pem}}
mqtt: {{host: 127.0.0.1, port: 1, client_id: ingest}}
log:
  timestamps:
    - {{name: tsa, url: '{url}', roots: {roots}, policy: {policy}}}
"""


@pytest.fixture
def write_config(tmp_path, authority):
    create_signer(tmp_path / "ack.pem")

    def write(url="http://127.0.0.1:1", roots=authority.roots, policy=POLICY, more=""):
        path = tmp_path / "gateway.yaml"
        path.write_text(CONFIG.format(url=url, roots=roots, policy=policy) + more)
        return path

    return write


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        ({"roots": "gone.pem"}, "log.timestamps[0].roots", "cannot use .*gone.pem.*PEM file"),
        ({"roots": "ack.pem"}, "log.timestamps[0].roots", "cannot use .*ack.pem.*PEM file"),
        ({"policy": "1.99.1"}, "log.timestamps[0].policy", "1.99.1.*no object identifier"),
        ({"policy": "joy"}, "log.timestamps[0].policy", "'joy' is wrong"),
        ({"url": "ftp://x"}, "log.timestamps[0].url", "'ftp://x' is wrong"),
    ],
)
def test_a_wrong_setting_is_named(write_config, change, key, said):
    with pytest.raises(ConfigError, match=said) as caught:
        clients(config_.load(write_config(**change)))
    assert caught.value.key == key


def test_an_authority_that_stands_twice_is_named(write_config, authority):
    more = f"    - {{name: tsa, url: 'http://x', roots: {authority.roots}}}\n"
    with pytest.raises(ConfigError, match="'tsa' stands twice"):
        clients(config_.load(write_config(more=more)))


def test_check_stamp_status_and_log_on_the_command_line(write_config, authority, tmp_path, capsys):
    path = write_config(roots="gone.pem")
    assert cli.main(["check", str(path)]) == 2
    assert "log.timestamps[0].roots" in capsys.readouterr().err
    with authority.serving() as url:
        path = write_config(url=url)
        assert cli.main(["check", str(path)]) == 0
        assert cli.main(["timestamp", str(path)]) == 1
        assert "the ledger is empty" in capsys.readouterr().out
        ledger = Ledger(config_.load(path).ledger_path)
        ledger.documents.add(Draft("enrol", "al-001", "1", b"1", 5))
        ledger.close()
        assert cli.main(["timestamp", str(path)]) == 0
        assert "tsa: 1 leaves existed before" in capsys.readouterr().out
    assert cli.main(["status", str(path), "--json"]) == 0
    (standing,) = json.loads(capsys.readouterr().out)["timestamps"]
    assert (standing["stamped_size"], standing["overdue"]) == (1, False)
    assert cli.main(["status", str(path)]) == 0
    assert "authority=tsa stamped_size=1" in capsys.readouterr().out
    assert cli.main(["log", str(path)]) == 0
    assert "stamped by tsa" in capsys.readouterr().out
    assert cli.main(["timestamp", str(path)]) == 1
    assert "tsa: authority tsa at http" in capsys.readouterr().err


def test_the_printed_trust_file_names_the_authority(write_config, authority, tmp_path, capsys):
    from gateway import trust_file

    assert cli.main(["trust", str(write_config())]) == 0
    (tmp_path / "trust.toml").write_text(capsys.readouterr().out)
    (known,) = trust_file.load(tmp_path / "trust.toml").authorities
    assert known == Authority("tsa", (authority.root,), POLICY)


def test_a_running_gateway_has_its_checkpoints_stamped(write_config, authority, tmp_path):
    """The whole program; no broker answers, which keeps neither checkpoints nor tokens away."""
    with authority.serving() as url:
        path = write_config(url=url, more="  checkpoint_s: 1\n")
        ledger = Ledger(config_.load(path).ledger_path)
        ledger.documents.add(Draft("enrol", "al-001", "1", b"1", 5))
        with (tmp_path / "gateway.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway.cli", "run", str(path)],
                stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip
        try:
            until = time.monotonic() + LIMIT_S
            while not ledger.tree.stamps():
                said = (tmp_path / "gateway.log").read_text()
                assert process.poll() is None, said
                assert time.monotonic() < until, said
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait(LIMIT_S)
            (stamp,) = ledger.tree.stamps()
            ledger.close()
    assert process.returncode == 0
    assert stamp.authority == "tsa"
    assert abs(stamp.at_ns - SystemClock().utc_ns()) < 3600 * 10**9

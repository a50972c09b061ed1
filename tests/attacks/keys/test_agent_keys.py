"""An agent, a gateway, a broker over TLS: enrolled by the commands, rotated, renewed, unplugged."""

import asyncio
import contextlib
import gc
import json
import shutil
import time

import pytest
import yaml
from tls_broker import DEADLINE_S, PROGRAM, Site

from edge_agent import cli as agent_cli
from edge_agent import config as agent_config
from edge_agent.agent import Agent
from edge_agent.clock import Synchronisation, SystemClock
from edge_agent.readings import Sample
from edge_agent.wire import cose
from edge_agent.wire.keys import load_signer
from edge_agent.wire.keys.hsm import create_hsm_key
from gateway import cli as gateway_cli
from gateway.config import load
from gateway.ingest.service import serve
from gateway.ledger import Ledger

SITE, AGENT = "al-001", "gw-01"
MINUTE_NS = 60 * 10**9
# paho leaves the pair of sockets behind that wakes its thread, whenever that thread is restarted.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
needs_broker = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


class SteppedClock:
    """Plant time moves a minute when told; waiting and intervals are real."""

    def __init__(self):
        self._real = SystemClock()
        # Now, not at import: certificates are made now, and hold for times from now on.
        self.start_ns = self.now_ns = self._real.utc_ns() // MINUTE_NS * MINUTE_NS

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self._real.monotonic_ns() + self.now_ns - self.start_ns

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)

    async def sleep(self, seconds):
        await asyncio.sleep(min(seconds, 0.05))


class Works:
    """Files of one site, and its agent and gateway in this process."""

    def __init__(self, folder, site=None, keys=None):
        self.folder, self.site = folder, site
        self.clock = SteppedClock()
        for name in ("li", "gateway"):
            self.gateway("keys", "new", folder / "keys" / f"{name}.pem")
        self.agent_file, self.gateway_file = folder / "agent.yaml", folder / "gateway.yaml"
        self._write_agent(keys or {"signing": "keys/agent.pem"})
        if site is not None:
            self._write_gateway()

    def _write_agent(self, keys):
        tag = {"id": "hall", "address": 1, "type": "float32", "unit": "degC"}
        device = {"id": "plc", "driver": "modbus", "host": "127.0.0.1", "port": 9, "unit": 1,
                  "interval_s": 60, "tags": [tag]}  # fmt: skip
        plain = {
            "site": SITE,
            "agent": AGENT,
            "state_dir": "state",
            "keys": {**keys, "gateway": ["keys/gateway.pub.pem"]},
            "time": {"lateness_s": 0, "max_clock_step_s": 10**9, "status_s": 0.2},
            "factor_set": "ipcc-2006",
            "devices": [device],
        }
        if self.site is not None:
            tls = {"ca": "ca/ca.crt", "cert": "keys/tls.crt", "key": "keys/tls.pem"}
            plain["mqtt"] = {"port": self.site.port, "resend_s": 1, "tls": tls}
        self.agent_file.write_text(yaml.safe_dump(plain))

    def _write_gateway(self):
        pinned = self.gateway_fingerprint()
        tls = {"ca": "ca/ca.crt", "cert": "tls/ingest.crt", "key": "tls/ingest.pem"}
        plain = {
            "state_dir": "gateway",
            "keys": {"ack": "keys/gateway.pem"},
            "mqtt": {"host": "127.0.0.1", "port": self.site.port, "client_id": "ingest",
                     "keepalive_s": 5, "tls": tls},
            "people": [{"name": "li", "public_key": "keys/li.pub.pem", "roles": ["operator"]}],
            "authorities": [{"certificate": "ca/ca.crt", "fingerprint": pinned}],
            "late_after_s": None,
            "future_after_s": None,
        }  # fmt: skip
        self.gateway_file.write_text(yaml.safe_dump(plain))

    def gateway_fingerprint(self):
        from edge_agent.wire import certificates

        return certificates.fingerprint(self.site.ca.certificate)

    def gateway(self, *words):
        assert gateway_cli.main([str(word) for word in words]) == 0

    def agent(self, *words):
        assert agent_cli.main([str(word) for word in words]) == 0

    def enrol(self, capsys, *which):
        """A key made, requested, certified, compared and approved by the commands alone."""
        folder, request = self.folder, self.folder / "signing.request"
        self.agent("keys", "new", self.agent_file, *which)
        capsys.readouterr()
        self.gateway("agents", "invite", self.gateway_file, SITE, AGENT)
        nonce = capsys.readouterr().out.strip()
        self.agent("keys", "csr", self.agent_file, *which, "--nonce", nonce, "--out", request)
        told = capsys.readouterr().out
        kid = next(line.split()[2] for line in told.splitlines() if line.startswith("key id"))
        certificate = folder / "signing.crt"
        self.gateway("ca", "issue", folder / "ca", request, "--out", certificate)
        self.gateway(
            "agents", "approve", self.gateway_file, request, "--certificate", certificate,
            "--fingerprint", kid, "--by", folder / "keys/li.pem", "--reason", "by telephone",
        )  # fmt: skip
        self.agent("keys", "rotate", self.agent_file, "--certificate", certificate)
        return bytes.fromhex(kid)

    def renew_tls(self, days=90.0, *, new=False):
        request = self.folder / "tls.request"
        if new:
            self.agent("keys", "new", self.agent_file, "--tls")
        self.agent("keys", "csr", self.agent_file, "--tls", "--out", request)
        fresh = self.folder / "keys/tls.new"
        self.gateway("ca", "issue", self.folder / "ca", request, "--days", days, "--out", fresh)
        fresh.replace(self.folder / "keys/tls.crt")

    @contextlib.asynccontextmanager
    async def running(self, *, gateway=True):
        agent = Agent(agent_config.load(self.agent_file), self.clock)
        before = agent._head.seq
        tasks = [asyncio.create_task(agent.run())]
        if gateway:
            tasks.append(asyncio.create_task(serve(load(self.gateway_file), SystemClock())))
        try:
            # Both are gone again once the first batch, which may be at once, has told the start.
            await until(
                lambda: agent._announce or agent._pending or agent._head.seq > before,
                "the restored state",
            )
            yield agent
        finally:
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(outcome, asyncio.CancelledError), outcome

    async def minute(self, agent):
        """A minute passes with one reading in it."""

        def step():
            # In the worker, so that no tick of the agent's sees the time without the reading.
            reading = Sample("hall", self.clock.now_ns, 20.5)
            self.clock.now_ns += MINUTE_NS
            agent._take([reading])

        await asyncio.get_running_loop().run_in_executor(agent._worker, step)

    def rows(self):
        ledger = Ledger(load(self.gateway_file).ledger_path)
        rows = list(ledger.batches(SITE, AGENT))
        ledger.close()
        return rows


async def until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true in time"
        await asyncio.sleep(0.02)


def signers(rows):
    return [cose.parse(row.raw).kid for row in rows]


@pytest.fixture
def works(tmp_path):
    site = Site(tmp_path)
    made = Works(tmp_path, site)
    made.renew_tls(new=True)
    yield made
    site.close()
    gc.collect()  # the sockets of the mark above are told of here, and not after the last test


@needs_broker
async def test_a_key_is_enrolled_and_rotated_by_the_commands_while_batches_flow(works, capsys):
    first = works.enrol(capsys)
    async with works.running() as agent:
        for seq in (1, 2):
            await works.minute(agent)
            await until(lambda seq=seq: agent._outbox.acked >= seq, f"the ack of {seq}")
        second = works.enrol(capsys, "--next")
        for seq in (3, 4):
            await works.minute(agent)
            await until(lambda seq=seq: agent._outbox.acked >= seq, f"the ack of {seq}")
        assert agent._identity.signer.kid == second
    assert signers(works.rows()) == [first, first, first, second]
    assert load_signer(works.folder / "keys/agent.pem").kid == second
    assert load_signer(works.folder / "keys/agent.old.pem").kid == first
    async with works.running() as agent:
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 5, "the ack after a restart")
    assert signers(works.rows())[4] == second
    flags = {flag for row in works.rows() for flag in row.flags}
    assert not [flag for flag in flags if not flag.startswith("clock_")]  # minutes pass in no time
    capsys.readouterr()
    works.agent("keys", "status", works.agent_file)
    works.gateway("agents", "list", works.gateway_file)
    told = capsys.readouterr().out
    assert f"signing: {second.hex()} signs" in told
    assert f"{first.hex()} ended" in told
    assert f"{second.hex()} in force" in told


@needs_broker
async def test_a_renewed_certificate_is_taken_up_without_a_restart(works, capsys):
    works.enrol(capsys)
    works.renew_tls(3 / 86_400)
    short_end = time.monotonic() + 3.5
    async with works.running() as agent:
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 1, "the first ack")
        works.renew_tls()
        works.site.stop()
        await until(lambda: time.monotonic() > short_end, "the end of the short certificate")
        works.site.start()
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 2, "an ack under the renewed certificate")
        connects = agent.health.connects
        works.renew_tls()
        await until(lambda: agent.health.connects > connects, "connecting anew by itself")


@needs_broker
async def test_a_broken_renewed_certificate_leaves_the_connection_and_is_told(works, capsys):
    works.enrol(capsys)
    async with works.running() as agent:
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 1, "the first ack")
        connects = agent.health.connects
        stranger, _ = works.site.files("gw-07")
        shutil.copy(stranger, works.folder / "keys/tls.crt")
        await until(lambda: "KEY_VALUES_MISMATCH" in agent.health.tls_problem, "the problem")
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 2, "an ack over the old connection")
        assert agent.health.connects == connects
        status = works.folder / "state/status.json"
        await until(
            lambda: "KEY_VALUES_MISMATCH" in status.read_text(), "the problem in the status"
        )
        works.renew_tls()
        await until(lambda: agent.health.connects > connects, "the good one in use")
        await until(lambda: not agent.health.tls_problem, "the problem's end")
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 3, "an ack under the good one")


@needs_broker
async def test_the_gateway_takes_up_its_renewed_certificate_while_batches_flow(works, capsys):
    works.enrol(capsys)
    tls, fresh = works.folder / "tls", works.folder / "fresh"

    def connects():
        return works.site.logged().count(" as ingest ")

    async with works.running() as agent:
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 1, "the first ack")
        before = connects()
        assert before == 1
        (tls / "ingest.crt").write_text("half a file")  # broken first: the connection stays
        works.gateway("ca", "service", works.folder / "ca", "ingest", "--out", fresh)
        seq = 1
        for _ in range(3):
            seq += 1
            await works.minute(agent)
            await asyncio.sleep(2)
        await until(lambda: agent._outbox.acked >= seq, "acks with the broken file there")
        assert connects() == before
        for name in ("ingest.pem", "ingest.crt"):
            (fresh / name).replace(tls / name)
        while connects() == before:
            seq += 1
            await works.minute(agent)
            await asyncio.sleep(0.2)
            assert seq < 200, "the renewed certificate was not taken up"
        seq += 1
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= seq, "the last ack")
    rows = works.rows()
    assert [row.seq for row in rows] == list(range(1, seq + 1))


@needs_broker
async def test_ends_in_sight_stand_in_log_and_status_of_agent_and_gateway(works, capsys, caplog):
    works.enrol(capsys)
    works.renew_tls(6.9)
    async with works.running() as agent:
        await until(lambda: agent.health.certificate_warning, "the warning")
        assert "mqtt.tls.cert expires within 7 days" in agent.health.certificate_warning
        await until(
            lambda: "certificate_warning" in _shown_status(works, capsys),
            "the warning in the status",
        )
        told = [one for one in caplog.messages if "what=mqtt.tls.cert expires" in one]
        assert len(told) == 1
        works.clock.now_ns += 6 * 1_440 * MINUTE_NS
        await until(
            lambda: "mqtt.tls.cert expires within 1 day" in agent.health.certificate_warning,
            "1 day",
        )
        works.renew_tls(30.5)
        await until(
            lambda: "mqtt.tls.cert expires within 30 days" in agent.health.certificate_warning,
            "the renewed one's, seen from six days on",
        )
    shutil.copy(works.folder / "keys/tls.crt", works.folder / "tls/ingest.crt")
    capsys.readouterr()
    works.gateway("status", works.gateway_file, "--json")
    assert json.loads(capsys.readouterr().out)["certificates"] == []
    works.renew_tls(0.9)
    shutil.copy(works.folder / "keys/tls.crt", works.folder / "tls/ingest.crt")
    works.gateway("status", works.gateway_file)
    told = capsys.readouterr().out
    assert "certificate=mqtt.tls.cert warning=expires within 1 day (" in told


def _shown_status(works, capsys):
    agent_cli.main(["status", str(works.agent_file)])
    return capsys.readouterr().out


@needs_broker
async def test_what_the_broker_acknowledged_but_nobody_acked_is_kept_and_sent_again(
    works, capsys
):  # row 70
    works.enrol(capsys)
    async with works.running(gateway=False) as agent:
        await works.minute(agent)
        await until(lambda: agent.health.published >= 3, "sending the batch again and again")
        await until(lambda: not agent._uplink._client._out_messages, "every PUBACK")
        assert [one.seq for one in agent._outbox.after(0, 10)] == [1]
        assert (agent._outbox.acked, agent.health.acks) == (0, 0)
    async with works.running() as agent:
        await until(lambda: agent._outbox.acked >= 1, "the gateway's ack in the end")


@needs_broker
async def test_a_lost_disk_with_the_key_on_it_is_gone_on_from_under_a_new_key(works, capsys):
    first = works.enrol(capsys)
    async with works.running() as agent:
        for seq in (1, 2):
            await works.minute(agent)
            await until(lambda seq=seq: agent._outbox.acked >= seq, f"the ack of {seq}")
    for path in (works.folder / "keys").glob("agent.*"):
        path.unlink()
    shutil.rmtree(works.folder / "state")
    works.gateway(
        "agents", "revoke", works.gateway_file, "--key", first.hex(), "--last-good", "2",
        "--by", works.folder / "keys/li.pem", "--reason", "the disk is gone",
    )  # fmt: skip
    second = works.enrol(capsys)
    words = [
        "--reason",
        "the disk is gone",
        "--operator",
        "li",
        "--lost-since",
        "2026-01-01T00:00Z",
    ]
    works.agent("resume-from-ack", works.agent_file, *words)
    async with works.running() as agent:
        await works.minute(agent)
        await until(lambda: agent._outbox.acked >= 3, "the ack of the first batch after it")
        assert agent.health.alarm == ""
    rows = works.rows()
    assert signers(rows)[:3] == [first, first, second]
    assert b"resumed" in rows[2].raw
    assert b"resumed" not in b"".join(row.raw for row in (*rows[:2], *rows[3:]))


# -- a token that goes away (row 95) ----------------------------------------------------------


@pytest.fixture
def hsm(tmp_path, soft_hsm):
    """An agent whose key is in a token; nobody listens on its broker's port."""
    slot = soft_hsm.slot(tmp_path)
    token = {"module": str(slot.module), "token": slot.token, "pin_file": str(slot.pin_file)}
    works = Works(tmp_path, keys={"pkcs11": token})
    create_hsm_key(slot).close()
    return works, soft_hsm, slot


async def test_without_its_token_the_agent_measures_on_and_signs_in_order_later(hsm):
    works, soft_hsm, _ = hsm
    async with works.running(gateway=False) as agent:
        await works.minute(agent)
        assert agent._outbox.head.seq == 1
        soft_hsm.unplug()
        for _ in range(3):
            await works.minute(agent)
        assert agent._outbox.head.seq == 1
        assert agent.health.alarm == "signer_unavailable"
        soft_hsm.plug()
        await works.minute(agent)
        assert agent.health.alarm == ""
        stored = agent._outbox.after(0, 100)
        assert agent.health.lost_records == 0
    times = _row_times(stored, agent)
    assert times == [works.clock.start_ns + n * MINUTE_NS for n in range(5)]
    assert [one.seq for one in stored] == list(range(1, len(stored) + 1))


def _row_times(stored, agent):
    from edge_agent.wire import batch as wire_batch
    from edge_agent.wire.keys import Enrolment, KeyRing, public_key

    public = public_key(agent._identity.signer.public_spki())
    ring = KeyRing([Enrolment(SITE, AGENT, public)])
    found = []
    for one in stored:
        columns = wire_batch.verify(one.raw, SITE, AGENT, ring).batch.columns
        names = [columns.series[index] for index in columns.index]
        found += [
            t
            for name, t in zip(names, columns.time_ns, strict=True)
            if "mean" in name or name == "hall"
        ]
    return sorted(set(found))


async def test_a_stop_without_the_token_loses_nothing(hsm):
    works, soft_hsm, _ = hsm
    async with works.running(gateway=False) as agent:
        await works.minute(agent)
        soft_hsm.unplug()
        for _ in range(2):
            await works.minute(agent)
        await until(lambda: not agent._unsaved.readings, "the journal")
    soft_hsm.plug()
    async with works.running(gateway=False) as agent:
        await works.minute(agent)
        stored = agent._outbox.after(0, 100)
    assert _row_times(stored, agent) == [works.clock.start_ns + n * MINUTE_NS for n in range(4)]


async def test_a_pin_that_is_refused_while_running_is_tried_once(hsm):
    works, soft_hsm, slot = hsm
    async with works.running(gateway=False) as agent:
        await works.minute(agent)
        soft_hsm.unplug()
        await works.minute(agent)
        slot.pin_file.write_text("9999")
        soft_hsm.plug()
        await works.minute(agent)
        mark = works.folder / "state/pin-refused"
        assert mark.exists()
        marked = mark.stat().st_mtime_ns
        for _ in range(3):
            await works.minute(agent)
        assert mark.stat().st_mtime_ns == marked
        assert agent.health.alarm == "signer_unavailable"
        slot.pin_file.unlink()
        slot.pin_file.touch(0o600)
        slot.pin_file.write_text("2468")
        await works.minute(agent)
        assert agent.health.alarm == ""
        assert len(_row_times(agent._outbox.after(0, 100), agent)) == 7


async def test_what_waits_for_a_signature_is_bounded_and_the_loss_is_told(hsm, monkeypatch, caplog):
    works, soft_hsm, _ = hsm
    monkeypatch.setattr("edge_agent.scribe.MAX_WAITING_ROWS", 2)
    async with works.running(gateway=False) as agent:
        await works.minute(agent)
        soft_hsm.unplug()
        for _ in range(4):
            await works.minute(agent)
        assert "unsigned_full" in caplog.text
        assert agent.health.lost_records > 0
        soft_hsm.plug()
        await works.minute(agent)
        assert b"lost_records" in b"".join(one.raw for one in agent._outbox.after(1, 100))

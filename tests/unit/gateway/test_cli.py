import json
import sqlite3
from datetime import UTC, datetime

import pytest

from edge_agent.calc.windows import to_ns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose, keys
from edge_agent.wire.cose import MessageType
from gateway import checkpoints, cli, day_records
from gateway.config import load
from gateway.ingest import Message, catch_up, service
from gateway.ledger import Ledger, Refusal
from gateway.store import open_store
from gateway.trust import own_records
from gateway.trust.own_records import PERSON

CONFIG = """\
state_dir: state
keys: {ack: ack.pem}
mqtt: {host: localhost, client_id: gateway}
agents:
  - {site: al-001, agent: gw-01, public_key: gw-01.pub.pem}
"""


@pytest.fixture
def plant(tmp_path, signer, ring, chain):
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    (tmp_path / "gw-01.pub.pem").write_bytes(signer.public_pem())
    cli.main(["keys", "new", str(tmp_path / "ack.pem")])
    config = load(path)
    ledger, store = Ledger(config.ledger_path), open_store(config)
    ledger.enrol(ring.enrolments())
    verified = [wire_batch.verify(raw, "al-001", "gw-01", ring) for raw in chain.batches(7)]
    ledger.append([(batch, 1) for batch in verified])
    ledger.quarantine(Refusal("signature", "t", b"x", 1, ("al-001", "gw-01")))
    ledger.quarantine(Refusal("topic", "t", b"y", 1))
    catch_up(ledger, store, "al-001")
    ledger.close()
    store.close()
    return path


def test_keys_new_prints_the_key_id_and_never_overwrites(tmp_path, capsys):
    path = tmp_path / "new.pem"
    assert cli.main(["keys", "new", str(path)]) == 0
    assert len(capsys.readouterr().out.strip()) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert cli.main(["keys", "new", str(path)]) == 2
    assert "cannot create" in capsys.readouterr().err


def test_check_reads_configuration_and_keys(plant, capsys):
    capsys.readouterr()
    assert cli.main(["check", str(plant)]) == 0
    assert "1 enrolled keys" in capsys.readouterr().out
    (plant.parent / "ack.pem").chmod(0o644)
    assert cli.main(["check", str(plant)]) == 2
    assert "chmod 0600" in capsys.readouterr().err


def test_status_tells_where_every_agent_stands(plant, capsys):
    capsys.readouterr()
    assert cli.main(["status", str(plant), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (agent,) = report["agents"]
    assert (agent["seq"], agent["batches"], agent["frozen"]) == (7, 7, False)
    assert agent["first_ns"] == 1_767_196_860_000_000_000
    assert agent["quarantine"] == {"signature": 1}
    assert report["quarantine_unknown_source"] == {"topic": 1}
    assert report["points"] == {"al-001": 14}
    assert cli.main(["status", str(plant)]) == 0
    assert "agent=gw-01" in capsys.readouterr().out


def test_audit_fails_on_an_edit_and_rebuild_heals_it(plant, capsys):
    assert cli.main(["audit", str(plant)]) == 0
    store = open_store(load(plant))
    store._db.execute("DELETE FROM points WHERE seq = 3")
    store.close()
    assert cli.main(["audit", str(plant), "--site", "al-001"]) == 1
    assert "line.kwh hour" in capsys.readouterr().out
    assert cli.main(["audit", str(plant), "--ledger-only"]) == 0
    assert "0 findings" in capsys.readouterr().out
    assert cli.main(["rebuild", str(plant)]) == 0
    assert "7 batches" in capsys.readouterr().out
    assert cli.main(["audit", str(plant)]) == 0


def test_audit_of_the_ledger_alone_names_the_edited_leaf(plant, capsys):
    db = sqlite3.connect(load(plant).ledger_path)
    db.execute("DROP TRIGGER leaves_no_update")
    db.execute("UPDATE leaves SET hash = zeroblob(32) WHERE position = 4")
    db.commit()
    db.close()
    assert cli.main(["audit", str(plant), "--ledger-only"]) == 1
    assert "leaf 4" in capsys.readouterr().out


def test_an_unknown_site_is_a_usage_error(plant, capsys):
    assert cli.main(["rebuild", str(plant), "--site", "al-009"]) == 2
    assert "it has: al-001" in capsys.readouterr().err


def test_release_needs_a_frozen_agent_and_a_reason(plant, capsys):
    words = ["release", str(plant), "al-001", "gw-01", "--reason", "clone retired, J. Li"]
    assert cli.main(words) == 1
    ledger = Ledger(load(plant).ledger_path)
    ledger.freeze("al-001", "gw-01", 1, "fork at 3")
    assert cli.main(words) == 0
    assert not ledger.is_frozen("al-001", "gw-01")
    ledger.close()


def test_a_configuration_error_is_one_clear_line(plant, capsys):
    plant.write_text(CONFIG.replace("host:", "hots:"), encoding="utf-8")
    capsys.readouterr()
    for verb in ("run", "check", "status", "audit", "rebuild"):
        assert cli.main([verb, str(plant)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "gateway.yaml:3: mqtt.hots: unknown key (did you mean 'host'?)" in lines[0]


def test_a_damaged_ledger_fails_with_one_line(plant, capsys):
    path = load(plant).ledger_path
    path.write_bytes(b"no database" * 999)
    assert cli.main(["audit", str(plant)]) == 1
    assert "ledger" in capsys.readouterr().err


def test_no_verb_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2


def _in_shanghai(ledger, chain, ring):
    """The site's configuration, which names its time zone."""

    def find(kid):
        return ring.find(kid, "al-001", "gw-01").public

    raw = chain.config(cbor.encode({"site": "al-001", "timezone": "Asia/Shanghai"}))
    ledger.add_config("al-001", "gw-01", cose.verify(raw, MessageType.CONFIG, find), 1)


def test_the_gateway_closes_days_and_notes_revocations_when_it_starts(
    plant, chain, ring, clock, neighbour
):
    """Batches came on one day; the gateway starts on a later one, with a revoked person in its file."""
    (plant.parent / "zhou.pub.pem").write_bytes(neighbour.public_pem())
    person = (
        "{name: zhou, public_key: zhou.pub.pem, roles: [analyst], revoked: 2026-01-01T00:00:00Z}"
    )
    plant.write_text(f"{CONFIG}people: [{person}]\n", encoding="utf-8")
    config = load(plant)
    ledger = Ledger(config.ledger_path)
    _in_shanghai(ledger, chain, ring)
    checkpoints.of_config(ledger, config).now(to_ns(datetime(2026, 1, 1, 4, tzinfo=UTC)))
    clock.now_ns = to_ns(datetime(2026, 1, 3, 4, tzinfo=UTC))
    recorder, _, _ = service._open(config, keys.load_signer(config.keys.ack), clock)
    (revoked,) = ledger.documents.of_kind(PERSON, "al-001")
    assert own_records.unchecked(revoked.raw, PERSON)["name"] == "zhou"
    head = ledger.head("al-001", "gw-01")
    raw = chain.batch(head.seq + 1, head.sha256)
    recorder.put([Message("carbon/v1/al-001/gw-01/batch", raw, clock.now_ns)])
    recorder.put([Message("carbon/v1/al-001/gw-01/config", chain.config(), clock.now_ns)])
    recorder.commit()
    assert ledger.head("al-001", "gw-01").seq == head.seq + 1
    days = [one.id for one in ledger.documents.of_kind(day_records.KIND, "al-001")]
    assert days == ["2026-01-01", "2026-01-02"]
    recorder.close()
    ledger.close()


def test_status_and_log_show_closed_days(plant, chain, ring, capsys):
    config = load(plant)
    ledger = Ledger(config.ledger_path)
    _in_shanghai(ledger, chain, ring)
    log = checkpoints.of_config(ledger, config)
    log.now(to_ns(datetime(2026, 1, 1, 4, tzinfo=UTC)))
    log.tick(to_ns(datetime(2026, 1, 1, 16, 0, 3, tzinfo=UTC)))
    ledger.close()
    capsys.readouterr()
    assert cli.main(["status", str(plant), "--json"]) == 0
    (day,) = json.loads(capsys.readouterr().out)["days"]
    assert (day["site"], day["closed_day"], day["checkpoint"]) == ("al-001", "2026-01-01", 8)
    assert (day["first_leaf"], day["last_leaf"]) == (0, 7)
    assert cli.main(["status", str(plant)]) == 0
    assert "site=al-001 closed_day=2026-01-01 first_leaf=0 last_leaf=7" in capsys.readouterr().out
    assert cli.main(["log", str(plant)]) == 0
    told = "day  al-001 2026-01-01  leaves 0-7  checkpoint 8  closed 2026-01-01T16:00:03+00:00"
    assert told in capsys.readouterr().out

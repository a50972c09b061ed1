"""``carbon-gateway lab``: what a laboratory types, and what it is told."""

import hashlib

import pytest

from edge_agent import config as config_
from edge_agent.pipeline.series import to_plain
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import public_key
from gateway import cli, lab
from gateway.config import load
from gateway.ledger import Ledger
from gateway.reports import run as reports

CONFIG = """\
state_dir: state
keys: {ack: ack.pem}
mqtt: {host: localhost, client_id: gateway}
agents:
  - {site: al-001, agent: gw-01, public_key: gw-01.pub.pem}
people:
  - {name: Li Lab, public_key: li.pub.pem, roles: [analyst]}
"""


@pytest.fixture
def office(tmp_path, signer, ring, chain, make_config, monkeypatch):
    """A gateway with a batch and a configuration of a smelter, Li's key, and nobody's key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "gw-01.pub.pem").write_bytes(signer.public_pem())
    for name in ("ack", "li", "nobody"):
        assert cli.main(["keys", "new", f"{name}.pem"]) == 0
    config = make_config()
    document = config_.effective(config, config_.factors_of(config), to_plain(config))
    raw = cose.sign(MessageType.CONFIG, document, signer)
    public = public_key(signer.public_spki())
    ledger = Ledger(load(tmp_path / "gateway.yaml").ledger_path)
    ledger.enrol(ring.enrolments())
    ledger.add_config("al-001", "gw-01", cose.verify(raw, MessageType.CONFIG, lambda _: public), 1)
    (one,) = chain.batches(1)
    ledger.append([(wire_batch.verify(one, "al-001", "gw-01", ring), 1)])
    yield ledger
    ledger.close()


def add(*more, key="li.pem", value="1.63"):
    return cli.main(
        [
            "lab", "add", "--site", "al-001", "--document", "anode-10", "--key", key,
            "--kind", "analysis", "--item", "line1.anode", "--quantity", "sulphur",
            "--value", value, "--unit", "%", "--time", "2026-10-05T08:00", *more,
        ]
    )  # fmt: skip


def test_a_value_is_signed_kept_and_shown_with_its_author(office, capsys):
    assert add() == 0
    assert "anode-10 v1 by Li Lab: 1 entries" in capsys.readouterr().out
    assert cli.main(["lab", "list", "--site", "al-001", "--entries"]) == 0
    said = capsys.readouterr().out
    assert "anode-10 v1 in force by Li Lab" in said
    assert "analysis line1.anode sulphur 1.63 %" in said


def test_a_correction_needs_a_reason_and_leaves_the_old_version(office, capsys):
    assert add() == 0
    assert add(value="1.7") == 1
    assert "a correction needs one" in capsys.readouterr().err
    assert add("--reason", "typing error", value="1.7") == 0
    capsys.readouterr()
    assert cli.main(["lab", "list", "--site", "al-001"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "anode-10 v1 replaced" in said[0]
    assert "anode-10 v2 in force" in said[1]
    assert "typing error" in said[1]
    (entry,) = reports.lab_papers(office, "al-001").entries
    assert str(entry.value) == "1.7"


def test_an_attachment_that_is_not_there_is_named(office, capsys):
    assert add("--attachment", "report.pdf") == 2
    assert "report.pdf: --attachment: cannot be read" in capsys.readouterr().err


def test_a_file_swapped_under_the_same_name_is_another_file(office, tmp_path):  # 99
    contents = (b"sulphur 1.63 %", b"sulphur 1.36 %")
    for version, content in enumerate(contents):
        (tmp_path / "report.pdf").write_bytes(content)
        more = ("--reason", "typing error") if version else ()
        assert add("--attachment", "report.pdf", *more) == 0
    documents = reports.lab_papers(office, "al-001").documents
    named = [sha256 for one in documents for sha256 in one.attachments]
    assert named == [hashlib.sha256(content).digest() for content in contents]
    assert [office.attachment(sha256) for sha256 in named] == list(contents)


def test_a_file_that_is_too_large_is_named_and_nothing_is_signed(
    office, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(lab, "MAX_ATTACHMENT", 9)
    (tmp_path / "report.pdf").write_bytes(bytes(10))
    assert add("--attachment", "report.pdf") == 2
    assert "report.pdf: --attachment: 10 bytes (at most 9 bytes)" in capsys.readouterr().err
    assert office.lab_documents("al-001") == []


def test_a_key_that_is_nobody_s_signs_nothing(office, capsys):
    assert add(key="nobody.pem") == 2
    assert "is no person's of the gateway's file" in capsys.readouterr().err
    assert office.lab_documents("al-001") == []


def test_a_table_is_taken_as_a_whole_or_not_at_all(office, tmp_path, capsys):
    head = "kind,item,quantity,value,unit,time\n"
    row = "weighing,line1.butts,amount,2010.75,t,2026-10-05T08:00\n"
    (tmp_path / "good.csv").write_text(head + row, encoding="utf-8")
    (tmp_path / "bad.csv").write_text(head + row + row.replace("2010.75", "x"), encoding="utf-8")
    command = ["lab", "import", "--site", "al-001", "--document", "butts", "--key", "li.pem"]
    assert cli.main([*command, "bad.csv"]) == 1
    assert "bad.csv:3: value is 'x'" in capsys.readouterr().err
    assert office.lab_documents("al-001") == []
    assert cli.main([*command, "good.csv"]) == 0
    ((raw, spki),) = office.lab_documents("al-001")
    document, _ = lab.open_document(raw, lambda _kid: public_key(spki))
    assert len(document.attachments) == 1


def test_a_plan_of_a_site_without_one_is_named(office, capsys):
    assert cli.main(["plan", "check", "--site", "al-001"]) == 2
    assert "have no control plan" in capsys.readouterr().err

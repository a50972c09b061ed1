"""Documents in the ledger: append-only, versions only added, in one transaction with the rest."""

import hashlib
import sqlite3

import pytest

from edge_agent.errors import StoreError
from gateway.ledger import Draft, Evidence, Ledger, Refusal


def draft(raw=b"one", kind="enrol", site="al-001", id_="gw-01"):
    return Draft(kind, site, id_, raw, 5)


def test_a_document_comes_back_with_its_bytes_hash_and_version(ledger):
    added = ledger.documents.add(draft())
    assert (added.number, added.version, added.raw, added.received_ns) == (1, 1, b"one", 5)
    assert added.sha256 == hashlib.sha256(b"one").digest()
    assert list(ledger.documents.all()) == [added]


def test_other_bytes_are_the_next_version_and_the_same_bytes_are_none(ledger):
    first, again = ledger.documents.add(draft()), ledger.documents.add(draft())
    second = ledger.documents.add(draft(b"two"))
    assert first == again
    assert (second.version, ledger.documents.last_number()) == (2, 2)
    assert ledger.documents.newest("enrol", "al-001", "gw-01") == second


def test_documents_are_found_by_kind_site_and_place(ledger):
    for kind, site in (("enrol", "al-001"), ("revoke", "al-001"), ("enrol", "al-002")):
        ledger.documents.add(draft(kind=kind, site=site))
    assert [one.number for one in ledger.documents.all("enrol")] == [1, 3]
    assert [one.number for one in ledger.documents.all("enrol", "revoke", site="al-001")] == [1, 2]
    assert [one.number for one in ledger.documents.all(after=2)] == [3]
    assert ledger.documents.newest("approval", "al-001", "gw-01") is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET raw = x'00'",
        "DELETE FROM documents",
        "INSERT OR REPLACE INTO documents SELECT * FROM documents",
        "INSERT OR REPLACE INTO documents SELECT 9, kind, site, id, version, sha256, raw,"
        " received_ns FROM documents",
    ],
)
def test_a_document_cannot_be_changed_replaced_or_deleted(ledger, tmp_path, statement):
    added = ledger.documents.add(draft())
    other = sqlite3.connect(tmp_path / "ledger.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(statement)
    other.close()
    assert list(ledger.documents.all()) == [added]


def test_a_failing_transaction_takes_its_documents_with_it(ledger):
    evidence = Evidence(documents=[draft()])
    evidence.refusals.append(Refusal("type", "t", b"", None))
    with pytest.raises(StoreError):
        ledger.write(evidence)
    assert ledger.documents.last_number() == 0


def test_a_document_is_still_there_after_the_file_was_opened_again(ledger, tmp_path):
    ledger.documents.add(draft())
    again = Ledger(tmp_path / "ledger.sqlite")
    assert [one.raw for one in again.documents.all()] == [b"one"]
    again.close()

"""A closed month is on record; what comes for it later is told until a new version counts it."""

import hashlib
import logging
from datetime import UTC, datetime

import pytest

from edge_agent.calc.windows import to_ns
from edge_agent.errors import TrustError
from edge_agent.readings import Columns
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import public_key
from gateway.trust import closed_months, own_records
from gateway.trust.own_records import MONTH

SITE, AGENT = "al-001", "gw-01"
JANUARY = to_ns(datetime(2025, 12, 31, 16, tzinfo=UTC))  # in Shanghai
DAY = 86_400 * 10**9
FEBRUARY = JANUARY + 31 * DAY


def plain(value="1.5", last_seq=2):
    return {
        "site": SITE,
        "month": "2026-01",
        "timezone": "Asia/Shanghai",
        "parameters": [{"id": "total_co2e_t", "scope": "site", "value": value}],
        "evidence": [{"agent": AGENT, "last_seq": last_seq}],
    }


@pytest.fixture
def send(desk, chain, clock):
    sent = []

    def one(first_ns, **changes):
        clock.now_ns = max(clock.now_ns, first_ns + DAY)
        prev = hashlib.sha256(sent[-1]).digest() if sent else bytes(32)
        columns = Columns(("line.kwh",), [0], [first_ns], [1], [0])
        fields = {"first_ns": first_ns, "last_ns": first_ns + 60 * 10**9, "columns": columns}
        sent.append(chain.batch(len(sent) + 1, prev, events=[], **fields | changes))
        desk.offer(sent[-1])
        desk.settle()

    return one


@pytest.fixture
def close(ledger, gateway_signer):
    def do(report=None, now_ns=FEBRUARY):
        return closed_months.close(ledger, report or plain(), bytes(32), gateway_signer, now_ns)

    return do


def flags(ledger):
    return [closed_months.FLAG in row.flags for row in ledger.batches(SITE, AGENT)]


def standing(ledger):
    return closed_months.standing(ledger, ledger.sites())


def test_a_month_is_closed_once_and_not_before_it_is_over(ledger, send, close):
    send(JANUARY)
    assert close(now_ns=FEBRUARY - 1) is None
    assert close().version == 1
    assert close(now_ns=FEBRUARY + DAY).version == 1
    assert close(plain("1.6")).version == 2
    (last,) = closed_months.newest(ledger, SITE)
    assert (last.start_ns, last.end_ns) == (JANUARY, FEBRUARY)
    said = own_records.unchecked(ledger.documents.newest(MONTH, SITE, "2026-01").raw, MONTH)
    assert said["reason"] == "late rows or other figures"


def test_late_rows_of_a_closed_month_are_told_until_a_new_version(ledger, send, close, caplog):
    caplog.set_level(logging.WARNING)
    send(JANUARY)
    send(FEBRUARY)
    close()
    send(FEBRUARY + DAY)
    assert standing(ledger)[0]["needs_new_version"] is False
    assert "late_for_closed_month" not in caplog.text
    send(FEBRUARY - 30 * 10**9)  # begins in January, ends in February
    send(JANUARY + DAY)
    assert flags(ledger) == [False, False, False, True, True]
    assert "late_for_closed_month agent=al-001/gw-01" in caplog.text
    (told,) = standing(ledger)
    assert told["late_batches"] == "2 of gw-01 within 4-5"
    assert told["needs_new_version"] is True
    assert close(plain(last_seq=5)).version == 2  # the same figures, but they count more
    assert standing(ledger)[0]["needs_new_version"] is False
    send(JANUARY + 2 * DAY)
    assert flags(ledger)[-1] is True
    assert standing(ledger)[0]["late_batches"] == "1 of gw-01 within 6-6"


def test_an_older_month_is_shown_while_something_is_late_for_it(ledger, send, close):
    send(JANUARY)
    close(plain(last_seq=1))
    february = plain(last_seq=1) | {"month": "2026-02"}
    close(february, FEBRUARY + 28 * DAY)
    assert [one["closed_month"] for one in standing(ledger)] == ["2026-02"]
    send(JANUARY + DAY)
    assert [one["closed_month"] for one in standing(ledger)] == ["2026-01", "2026-02"]


def test_a_bad_body_is_not_late_for_anything(ledger, send, close):
    send(JANUARY)
    close(plain(last_seq=1))
    outside = Columns(("line.kwh",), [0], [JANUARY + 10 * DAY], [1], [0])
    send(JANUARY, columns=outside)
    assert flags(ledger) == [False, False]


@pytest.mark.parametrize(
    "change", [{"agents": {AGENT: "2"}}, {"figures": "x"}, {"end": None}, {"more": 1}]
)
def test_a_record_of_another_shape_or_key_is_refused(
    ledger, send, close, gateway_signer, signer, change
):
    send(JANUARY)
    close()
    raw = ledger.documents.newest(MONTH, SITE, "2026-01").raw
    keys = {one.kid: one for one in (public_key(s.public_spki()) for s in (gateway_signer, signer))}
    assert own_records.open_(raw, MONTH, keys)["month"] == "2026-01"
    fields = cbor.decode(cose.parse(raw).payload)
    changed = cose.sign(MessageType.MONTH_CLOSE, cbor.encode(fields | change), gateway_signer)
    with pytest.raises(TrustError):
        own_records.open_(changed, MONTH, keys)
    with pytest.raises(TrustError, match="not signed by the gateway"):
        own_records.open_(raw, MONTH, {})

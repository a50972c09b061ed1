"""Writes into the log that a person's key is revoked, once its time has come: the file alone orders nothing."""

from edge_agent.wire.keys import Signer
from gateway.ledger import Draft, Ledger
from gateway.trust import own_records
from gateway.trust.own_records import PERSON
from gateway.trust.persons import People


def note(ledger: Ledger, people: People, signer: Signer, now_ns: int) -> int:
    """Add the records that are missing, one a site; gives how many.

    A key whose end lies ahead is left until then: what it signs before still counts.

    Raises:
        StoreError: the ledger cannot be written now.
    """
    count = 0
    for person in people:
        if person.revoked_ns > now_ns:
            continue
        for site in ledger.sites():
            last = ledger.documents.newest(PERSON, site, person.public.kid.hex())
            said = own_records.unchecked(last.raw, PERSON) if last else None
            if said is not None and said["revoked"] == person.revoked_ns:
                continue
            fields = {
                "site": site,
                "at": now_ns,
                "reason": "revoked in the gateway's file",
                "name": person.name,
                "kid": person.public.kid,
                "revoked": person.revoked_ns,
            }
            raw = own_records.sign(PERSON, fields, signer)
            ledger.documents.add(Draft(PERSON, site, person.public.kid.hex(), raw, now_ns))
            count += 1
    return count

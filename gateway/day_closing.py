"""Closes plant days: whose turn it is, and the signed record of each (``day_records``).

A site's days begin with the one in which its first batch came and follow one another without a hole,
days in which nothing came in included. A day is closed by the first look at the clock after its
end, before the gateway writes anything that came later; where it was not running for days they are
closed one after the other then, and what came before stands in the first of them. What other
commands added meanwhile (an enrolment, a lab document) does as well.

More than ``MOST_DAYS`` at once are no outage but a wrong clock, which nothing could take back: then
no day is closed, and it is told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from edge_agent.calc.windows import to_local
from edge_agent.clock import NS_PER_S
from edge_agent.errors import StoreError
from edge_agent.wire import cbor, cose, merkle
from edge_agent.wire.keys import Signer
from gateway import day_records
from gateway.day_records import KIND, MOST_DAYS, Came, DayRecord
from gateway.ledger import Draft, Ledger
from gateway.ledger.reader import Reader

_LOOK_NS = 60 * NS_PER_S


@dataclass(slots=True)
class DayCloser:
    """Knows which days are due and makes their records; used by the ledger's thread.

    ``signer`` is the gateway's key, ``ahead_s`` its limit for clocks ahead (None: not compared).
    """

    ledger: Ledger
    signer: Signer
    ahead_s: int | None
    problem: str = ""
    _zones: dict[bytes, ZoneInfo | None] = field(default_factory=dict)
    _looked: tuple[int, int] = (0, 0)

    def may_be_due(self, now_ns: int) -> bool:
        """Whether ``due`` should be asked: cheap, for whoever writes often."""
        since_ns, until_ns = self._looked
        return not since_ns <= now_ns < until_ns

    def due(self, now_ns: int) -> list[DayRecord]:
        """The days that ended and have no record, by site and day; ``size`` and ``root`` are not set."""
        found: list[DayRecord] = []
        until_ns, self.problem = now_ns + _LOOK_NS, ""
        for site in self.ledger.sites():
            zone = self._zone(site)
            if zone is None:
                continue
            today = to_local(now_ns, zone).date()
            until_ns = min(until_ns, day_records.start_of(today + timedelta(days=1), zone))
            found += self._of_site(site, zone, (today, now_ns))
        self._looked = (0, 0) if found else (now_ns, until_ns)
        return found

    def add(self, due: list[DayRecord], checkpoint: tuple[int, bytes]) -> None:
        """Sign the records under a checkpoint (size, root) of the log as it is; in a transaction."""
        size, root = checkpoint
        for one in due:
            whole = replace(one, size=size, root=root, last=max(one.last, one.first - 1))
            raw = day_records.sign(whole, self.signer)
            self.ledger.documents.add(Draft(KIND, one.site, one.day, raw, one.at_ns))

    def _of_site(self, site: str, zone: ZoneInfo, now: tuple[date, int]) -> Iterator[DayRecord]:
        today, now_ns = now
        before = newest(self.ledger, site)
        day = date.fromisoformat(before.following) if before else self._first_day(site, zone)
        count = (today - day).days
        if count > MOST_DAYS:
            self.problem = (
                f"{count} plant days of {site} since {day} have no record, by a clock that says"
                f" {today}: more than {MOST_DAYS} are not closed"
            )
            return
        if count <= 0:
            return
        first = before.last + 1 if before else self._first_leaf(day, zone)
        size = self.ledger.tree.size()
        for place in range(count):
            yield DayRecord(
                site,
                (day + timedelta(days=place)).isoformat(),
                zone.key,
                now_ns,
                size if place else first,
                size - 1,
                0,
                b"",
                self.ahead_s,
                {} if place else self._came(site, zone, (before, first)),
            )

    def _first_day(self, site: str, zone: ZoneInfo) -> date:
        """The day of the first batch; in a ledger from before there were records, of its last checkpoint."""
        came_ns = next(self.ledger.arrivals(site)).received_ns
        last = self.ledger.tree.checkpoint()
        return to_local(max(came_ns, last.at_ns if last else came_ns), zone).date()

    def _first_leaf(self, day: date, zone: ZoneInfo) -> int:
        return self.ledger.tree.size_before(day_records.start_of(day, zone))

    def _came(
        self, site: str, zone: ZoneInfo, since: tuple[DayRecord | None, int]
    ) -> dict[str, Came]:
        """What came of each agent since the record before, or since a leaf."""
        before, first = since
        found = {}
        for agent in self.ledger.agents(site):
            head = self.ledger.head(site, agent).seq
            if before is not None and agent in before.agents:
                last = before.agents[agent].last_seq
            else:
                last = self._last_before(site, agent, head, first)
            if last < head:
                span = (site, agent, last + 1, head)
                found[agent] = Came(last + 1, head, self._months(span, zone))
        return found

    def _last_before(self, site: str, agent: str, head: int, leaf: int) -> int:
        """The agent's last batch before a leaf of the log: batches stand there in their order."""
        low, high = 0, head
        while low < high:
            middle = (low + high + 1) // 2
            is_before = self._place(site, agent, middle) < leaf
            low, high = (middle, high) if is_before else (low, middle - 1)
        return low

    def _place(self, site: str, agent: str, seq: int) -> int:
        sha256 = self.ledger.hash_at(site, agent, seq)
        index = sha256 and self.ledger.tree.index_of(merkle.batch_leaf(site, agent, seq, sha256))
        if not isinstance(index, int):
            message = f"ledger: batch {seq} of {site}/{agent} is not in the log: run audit"
            raise StoreError(message)
        return index

    def _months(self, span: tuple[str, str, int, int], zone: ZoneInfo) -> dict[str, int]:
        """How many of these batches hold times of each month; no month begins within a quarter hour."""
        found: dict[str, int] = {}
        for low, high, count in self.ledger.quarters(*span):
            for name in day_records.months_of([(low, high)], zone):
                found[name] = found.get(name, 0) + count
        return dict(sorted(found.items()))

    def _zone(self, site: str) -> ZoneInfo | None:
        """Plant local time by the newest configuration of the site's first agent."""
        for agent in self.ledger.agents(site):
            for digest in reversed(self.ledger.config_digests(site, agent)):
                if digest not in self._zones:
                    raw = self.ledger.config(site, agent, digest)
                    plain = cbor.decode(cose.parse(raw).payload) if raw else {}
                    self._zones[digest] = day_records.zone_named(plain)
                if (zone := self._zones[digest]) is not None:
                    return zone
        return None


def newest(ledger: Reader, site: str) -> DayRecord | None:
    """The record of the site's last closed day; None before the first."""
    found = ledger.documents.last_of(KIND, site)
    return None if found is None else day_records.unchecked(found.raw)


def standing(ledger: Reader) -> list[dict[str, Any]]:
    """Of each site with closed days: the last one, its leaves, its checkpoint, and when it was closed."""
    found = []
    for site in ledger.sites():
        one = newest(ledger, site)
        if one is not None:
            found.append(
                {
                    "site": site,
                    "closed_day": one.day,
                    "first_leaf": one.first,
                    "last_leaf": one.last,
                    "checkpoint": one.size,
                    "closed_ns": one.at_ns,
                }
            )
    return found

"""Everything that can be asked of the ledger."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.wire.chain import ChainHead
from edge_agent.wire.keys import Enrolment, KeyRing, public_key
from gateway.ledger import lab, schema
from gateway.ledger.documents import Documents
from gateway.ledger.entries import LedgerRow, QuarantineCount
from gateway.ledger.rows import COLUMNS, Rows
from gateway.ledger.tree import Tree

_PAGE_ROWS = 256
_QUARTER_NS = 900 * 10**9
_Y2000_NS = 946_684_800 * 10**9
_MAX_SPAN_NS = 24 * 3600 * 10**9
_LAST_NS = 2**63 - 1
_LAST_SEQ = 2**53


class Reader:
    """The questions; ``Ledger`` adds the writing. One object per thread and process."""

    def __init__(self, path: Path) -> None:
        self._db = schema.connect(path)
        self._rows = Rows(self._db)
        self.tree = Tree(self._db)
        self.documents = Documents(self._db, self.tree)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Until the end every question is answered as of now, whatever others write meanwhile."""
        with schema.stored():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with schema.stored():
                self._db.execute("ROLLBACK")

    def head(self, site: str, agent: str) -> ChainHead:
        """The agent's last accepted batch; ``ChainHead()`` before the first."""
        found = self._first(
            "SELECT seq, sha256 FROM batches WHERE site = ? AND agent = ?"
            " ORDER BY seq DESC LIMIT 1",
            (site, agent),
        )
        return ChainHead(*found) if found else ChainHead()

    def hash_at(self, site: str, agent: str, seq: int) -> bytes | None:
        """Hash of an accepted batch; None when there is none."""
        found = self._first(
            "SELECT sha256 FROM batches WHERE site = ? AND agent = ? AND seq = ?",
            (site, agent, seq),
        )
        return found[0] if found else None

    def batches(
        self, site: str, agent: str, first_seq: int = 1, last_seq: int = _LAST_SEQ
    ) -> Iterator[LedgerRow]:
        """The agent's batches from first to last, both included, in order of ``seq``."""
        query = (
            f"SELECT {COLUMNS} FROM batches WHERE site = ? AND agent = ? AND seq BETWEEN ? AND ?"  # noqa: S608  a constant list of columns
            " ORDER BY seq LIMIT ?"
        )
        while page := self._all(query, (site, agent, first_seq, last_seq, _PAGE_ROWS)):
            yield from map(self._rows.read, page)
            first_seq = page[-1][3] + 1

    def arrivals(self, site: str, first_number: int = 1) -> Iterator[LedgerRow]:
        """The site's batches of all agents in order of arrival, from that number on."""
        query = f"SELECT {COLUMNS} FROM batches WHERE id >= ? AND site = ? ORDER BY id LIMIT ?"  # noqa: S608  a constant list of columns
        while page := self._all(query, (first_number, site, _PAGE_ROWS)):
            yield from map(self._rows.read, page)
            first_number = page[-1][0] + 1

    def number(self, site: str, agent: str, seq: int) -> int | None:
        """The place of arrival of a batch; None when it is not there."""
        found = self._first(
            "SELECT id FROM batches WHERE site = ? AND agent = ? AND seq = ?", (site, agent, seq)
        )
        return found[0] if found else None

    def window(self, site: str, agent: str, start_ns: int, end_ns: int) -> tuple[int, int] | None:
        """First and last ``seq`` of the batches that overlap start <= time < end."""
        first, last = self._one(
            "SELECT min(seq), max(seq) FROM batches WHERE site = ? AND agent = ?"
            " AND t1 >= ? AND t1 < ? AND t0 < ?",
            (site, agent, start_ns, min(end_ns + _MAX_SPAN_NS, _LAST_NS), end_ns),
        )
        return None if first is None else (first, last)

    def within(self, site: str, agent: str, start_ns: int, end_ns: int) -> list[int]:
        """Every ``seq`` of the batches that overlap start <= time < end, in order."""
        query = (
            "SELECT seq FROM batches WHERE site = ? AND agent = ?"
            " AND t1 >= ? AND t1 < ? AND t0 < ? ORDER BY seq"
        )
        last_ns = min(end_ns + _MAX_SPAN_NS, _LAST_NS)
        return [seq for (seq,) in self._all(query, (site, agent, start_ns, last_ns, end_ns))]

    def ending_before(self, site: str, agent: str, seq: int, time_ns: int) -> Iterator[int]:
        """The batches before ``seq`` that end before a time, backwards."""
        query = (
            "SELECT seq FROM batches WHERE site = ? AND agent = ? AND seq < ? AND t1 < ?"
            " ORDER BY seq DESC"
        )
        with schema.stored():
            yield from (row[0] for row in self._db.execute(query, (site, agent, seq, time_ns)))

    def beginning_from(self, site: str, agent: str, seq: int, time_ns: int) -> Iterator[int]:
        """The batches after ``seq`` that begin at a time or later, in order."""
        query = (
            "SELECT seq FROM batches WHERE site = ? AND agent = ? AND seq > ? AND t0 >= ?"
            " ORDER BY seq"
        )
        with schema.stored():
            yield from (row[0] for row in self._db.execute(query, (site, agent, seq, time_ns)))

    def spans(self, site: str) -> Iterator[tuple[int, int]]:
        """First and last time of every batch of the site, in no particular order."""
        with schema.stored():
            yield from self._db.execute("SELECT t0, t1 FROM batches WHERE site = ?", (site,))

    def span(self, site: str, agent: str) -> tuple[int, int] | None:
        """Earliest and latest time in the agent's batches."""
        first, last = self._one(
            "SELECT min(t0), max(t1) FROM batches WHERE site = ? AND agent = ?", (site, agent)
        )
        return None if first is None else (first, last)

    def quarters(
        self, site: str, agent: str, first_seq: int, last_seq: int
    ) -> list[tuple[int, int, int]]:
        """Of a range's batches with a good body, the quarter hours of their first and last time [ns UTC].

        With each pair, how many batches have it. Times before 2000 are not rounded: then days began at odd
        minutes somewhere.
        """
        query = (
            "SELECT t0 - (t0 % ?1 + ?1) % ?1 AS low, t1 - (t1 % ?1 + ?1) % ?1 AS high, count(*)"
            " FROM batches WHERE site = ?2 AND agent = ?3 AND seq BETWEEN ?4 AND ?5"
            " AND t0 >= ?6 AND t0 < ?7 AND instr(flags, 'body_') = 0 GROUP BY low, high"
        )
        place = (site, agent, first_seq, last_seq)
        old = self._all(query, (1, *place, -_LAST_NS, _Y2000_NS))
        rows = self._all(query, (_QUARTER_NS, *place, _Y2000_NS, _LAST_NS))
        return [(low, high, count) for low, high, count in (*old, *rows)]

    def contiguous(self, site: str, agent: str) -> bool:
        """Whether the agent's batches are 1, 2, 3 ... without a hole."""
        count, first, last = self._one(
            "SELECT count(*), min(seq), max(seq) FROM batches WHERE site = ? AND agent = ?",
            (site, agent),
        )
        return bool(count == 0 or (first == 1 and last == count))

    def sites(self) -> list[str]:
        """All sites with batches."""
        return [site for (site,) in self._all("SELECT DISTINCT site FROM batches ORDER BY 1", ())]

    def agents(self, site: str) -> list[str]:
        """All agents of a site with batches."""
        query = "SELECT DISTINCT agent FROM batches WHERE site = ? ORDER BY 1"
        return [agent for (agent,) in self._all(query, (site,))]

    def config(self, site: str, agent: str, digest: bytes) -> bytes | None:
        """The signed configuration message with that payload digest."""
        found = self._first(
            "SELECT raw FROM configs WHERE digest = ? AND site = ? AND agent = ?",
            (digest, site, agent),
        )
        return found[0] if found else None

    def config_digests(self, site: str, agent: str) -> list[bytes]:
        """Digests of the agent's configurations in order of arrival."""
        query = "SELECT digest FROM configs WHERE site = ? AND agent = ? ORDER BY rowid"
        return [digest for (digest,) in self._all(query, (site, agent))]

    def all_configs(self) -> Iterator[tuple[str, str, bytes, bytes]]:
        """Site, agent, digest and signed bytes of every configuration, in order of arrival."""
        with schema.stored():
            yield from self._db.execute(
                "SELECT site, agent, digest, raw FROM configs ORDER BY rowid"
            )

    def all_lab(self) -> Iterator[tuple[str, str, int, bytes]]:
        """Site, name, version and signed bytes of every lab document, in order of arrival."""
        with schema.stored():
            yield from self._db.execute(
                "SELECT site, name, version, raw FROM lab_documents ORDER BY id"
            )

    def config_uses(
        self, site: str, agent: str, first_seq: int, last_seq: int
    ) -> list[tuple[bytes, int, int, int]]:
        """Digest, first and last number and first time of the batches under each configuration."""
        query = (
            "SELECT config, min(seq), max(seq), min(t0) FROM batches WHERE site = ? AND agent = ?"
            " AND seq BETWEEN ? AND ? GROUP BY config ORDER BY min(seq)"
        )
        rows = self._all(query, (site, agent, first_seq, last_seq))
        return [(config, first, last, first_ns) for config, first, last, first_ns in rows]

    def marked(
        self, site: str, agent: str, first_seq: int, last_seq: int
    ) -> dict[str, tuple[int, int, int]]:
        """By flag: how many of the agent's batches carry it, the first and the last of them."""
        query = (
            "SELECT flags, count(*), min(seq), max(seq) FROM batches WHERE site = ? AND agent = ?"
            " AND seq BETWEEN ? AND ? AND flags != '' GROUP BY flags"
        )
        found: dict[str, tuple[int, int, int]] = {}
        for flags, count, first, last in self._all(query, (site, agent, first_seq, last_seq)):
            for flag in flags.split():
                before = found.get(flag, (0, first, last))
                found[flag] = (before[0] + count, min(before[1], first), max(before[2], last))
        return found

    def key_ring(self) -> KeyRing:
        """The public keys ever enrolled; when each was valid was judged at acceptance."""
        rows = self._all("SELECT site, agent, spki FROM enrolments", ())
        return KeyRing([Enrolment(site, agent, public_key(spki)) for site, agent, spki in rows])

    def lab_documents(self, site: str) -> list[tuple[bytes, bytes]]:
        """Signed lab documents of a site and the signers' keys (SPKI), by arrival."""
        return lab.documents(self._db, site)

    def lab_versions(self, site: str, name: str) -> int:
        """How many versions of a lab document there are."""
        return lab.versions(self._db, site, name)

    def attachment(self, sha256: bytes) -> bytes | None:
        """A file that a lab document names; None when it was never handed in."""
        return lab.attachment(self._db, sha256)

    def attachments(self) -> Iterator[tuple[bytes, bytes]]:
        """Digest and content of every file that lab documents name."""
        return lab.attachments(self._db)

    def is_frozen(self, site: str, agent: str) -> bool:
        """Whether the agent waits for an operator's decision."""
        found = self._first(
            "SELECT frozen FROM freezes WHERE site = ? AND agent = ? ORDER BY id DESC LIMIT 1",
            (site, agent),
        )
        return bool(found and found[0])

    def forks(self, site: str, agent: str) -> list[tuple[int, bytes, bytes]]:
        """Seq, hash and bytes of every batch that contradicted the chain."""
        query = "SELECT seq, sha256, raw FROM forks WHERE site = ? AND agent = ? ORDER BY rowid"
        return [(seq, sha256, raw) for seq, sha256, raw in self._all(query, (site, agent))]

    def quarantine_counts(self) -> list[QuarantineCount]:
        """How often each source was refused for each reason."""
        query = (
            "SELECT site, agent, reason, messages, bytes, not_kept FROM quarantine_counts"
            " ORDER BY site, agent, reason"
        )
        return [QuarantineCount(*row) for row in self._all(query, ())]

    def _one(self, query: str, values: Sequence[object]) -> tuple[Any, ...]:
        return self._all(query, values)[0]

    def _first(self, query: str, values: Sequence[object]) -> tuple[Any, ...] | None:
        found = self._all(query, values)
        return found[0] if found else None

    def _all(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with schema.stored():
            return self._db.execute(query, values).fetchall()

"""InfluxDB by its v2 write API, and every store that takes the same (VictoriaMetrics does).

A record is one point of measurement ``point`` with tags site, agent and series:

    value    float, always: one field keeps one numeric type for ever
    count    integer, beside ``value`` when the record is an integer: exact in 64 bits
    quality  integer; the only one beside ``seq`` when there is no value
    seq      integer, the batch it came in

An event is a point of measurement ``event`` whose field ``json`` holds it. Influx cannot compare
before it writes: a second value under a key replaces the first, so contradictions between
batches are not noticed here. Reads are Flux, or switched off where the store has none. How far
the ledger was projected stands in a small file, which is written after the points and therefore
never ahead of them.

A store with coarser time (VictoriaMetrics: milliseconds) keeps a point that is written twice
twice, unless it is told to deduplicate (there: ``-dedup.minScrapeInterval=1ms``).
"""

import base64
import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from influxdb_client.client.flux_table import FluxRecord
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from edge_agent.errors import StoreError
from edge_agent.readings import Columns, Event, Quality, Record
from edge_agent.wire import topics
from edge_agent.wire.batch_rules import valid_series_name
from gateway.store.base import Conflict, Projection, advance, event_time

_LINES_A_REQUEST = 5_000
_TIMEOUT_MS = 30_000
_DISTINCT_SEQS = 64
_BYTES = "base64"
_FIRST = datetime(1678, 1, 1, tzinfo=UTC)
_LAST = datetime(2262, 1, 1, tzinfo=UTC)
_SELECT = """
from(bucket: p_bucket)
  |> range(start: time(v: p_start), stop: time(v: p_stop))
  |> filter(fn: (r) => r._measurement == "point" and r.site == p_site and r.series == p_series)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["_time"])
  |> map(fn: (r) => ({r with ns: int(v: r._time)}))
"""
_SELECT_EVENTS = """
from(bucket: p_bucket)
  |> range(start: time(v: p_start), stop: time(v: p_stop))
  |> filter(fn: (r) => r._measurement == "event" and r.site == p_site)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["_time", "agent", "seq", "position"])
"""
_QUALITIES = """
from(bucket: p_bucket)
  |> range(start: time(v: 0), stop: time(v: 9223372036854775807))
  |> filter(fn: (r) => r._measurement == "point" and r._field == "quality" and r.site == p_site)
"""
_SERIES = f"""{_QUALITIES}
  |> keep(columns: ["series"])
  |> group()
  |> distinct(column: "series")
  |> sort(columns: ["_value"])
"""
_COUNT = f"""{_QUALITIES}
  |> group()
  |> count()
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Which bucket of which server, and whether it answers Flux."""

    url: str
    token: str
    org: str
    bucket: str
    flux: bool

    def __repr__(self) -> str:
        return f"Target({self.url}, {self.org}, {self.bucket})"


class InfluxStore:
    """Points and events in one bucket."""

    def __init__(self, target: Target, progress: Path) -> None:
        self._target = target
        self._progress = _Progress(progress)
        self._client = InfluxDBClient(
            url=target.url, token=target.token, org=target.org, timeout=_TIMEOUT_MS
        )
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()  # type: ignore[no-untyped-call]  # the client is half typed

    def write(
        self, site: str, agent: str, seq: int, columns: Columns, events: Sequence[Event]
    ) -> None:
        """Write one batch."""
        self.write_many([Projection(site, agent, seq, columns, events)])

    def write_many(self, batches: Sequence[Projection]) -> list[Conflict]:
        """Write batches in their order; the last value of a key stays."""
        text = [line for batch in batches for line in lines(batch)]
        with _stored():
            for start in range(0, len(text), _LINES_A_REQUEST):
                self._writer.write(
                    self._target.bucket,
                    self._target.org,
                    "\n".join(text[start : start + _LINES_A_REQUEST]),
                    write_precision=WritePrecision.NS,  # type: ignore[arg-type]  # typed wrongly there
                )
            self._progress.add(batches)
        return []

    def projected(self, site: str, agent: str) -> int:
        """The last seq up to which everything was written."""
        return self._progress.seq(site, agent)

    def read(self, site: str, series: str, start_ns: int, end_ns: int) -> Iterator[Record]:
        """Records of the half-open time range, in order."""
        if start_ns >= end_ns:
            return
        names = {"p_site": site, "p_series": series, "p_start": start_ns, "p_stop": end_ns}
        for row in self._query(_SELECT, names):
            values = row.values
            count = values.get("count")
            value = values.get("value") if count is None else count
            yield Record(series, values["ns"], value, Quality(values["quality"]))

    def read_events(
        self, site: str, start_ns: int, end_ns: int, types: Collection[str] | None = None
    ) -> Iterator[Event]:
        """Events of the half-open time range, in order of time, agent and batch."""
        if start_ns >= end_ns:
            return
        names = {"p_site": site, "p_start": start_ns, "p_stop": end_ns}
        for row in self._query(_SELECT_EVENTS, names):
            event = json.loads(row.values["json"], object_hook=_event_value)
            if types is None or event["type"] in types:
                yield event

    def series(self, site: str) -> list[str]:
        """Names of the site's series."""
        return [str(row.values["_value"]) for row in self._query(_SERIES, {"p_site": site})]

    def points(self, site: str) -> int:
        """Number of the site's points."""
        return sum(int(row.values["_value"]) for row in self._query(_COUNT, {"p_site": site}))

    def clear(self, site: str) -> None:
        """Delete what the site has here; a store without InfluxDB's delete API refuses."""
        _check(topics.NAME.match(site), site)
        with _stored():
            self._client.delete_api().delete(
                _FIRST, _LAST, f'site="{site}"', self._target.bucket, self._target.org
            )
            self._progress.forget(site)

    def _query(self, flux: str, names: dict[str, Any]) -> Iterator[FluxRecord]:
        if not self._target.flux:
            message = f"{self._target.url}: reads are not configured (store: read: flux)"
            raise StoreError(message)
        with _stored():
            yield from self._client.query_api().query_stream(
                flux, self._target.org, params={"p_bucket": self._target.bucket, **names}
            )


class _Progress:
    """How far each agent was written, in a JSON file that is replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _stored():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            text = path.read_text(encoding="utf-8") if path.exists() else "{}"
            self._seqs: dict[str, int] = json.loads(text)

    def seq(self, site: str, agent: str) -> int:
        return self._seqs.get(f"{site}/{agent}", 0)

    def add(self, batches: Sequence[Projection]) -> None:
        seqs: dict[str, list[int]] = defaultdict(list)
        for batch in batches:
            seqs[f"{batch.site}/{batch.agent}"].append(batch.seq)
        for key, written in seqs.items():
            self._seqs[key] = advance(self._seqs.get(key, 0), written)
        self._save()

    def forget(self, site: str) -> None:
        self._seqs = {key: seq for key, seq in self._seqs.items() if key.partition("/")[0] != site}
        self._save()

    def _save(self) -> None:
        fresh = self._path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(self._seqs, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def lines(batch: Projection) -> list[str]:
    """Line protocol of a batch.

    Names are checked, not escaped: only characters without meaning in the protocol pass.

    Raises:
        StoreError: a name holds other characters.
    """
    tags = f"agent={batch.agent},site={batch.site}"
    _check(topics.NAME.match(batch.agent) and topics.NAME.match(batch.site), tags)
    for name in batch.columns.series:
        _check(valid_series_name(name), name)
    text = [_point(tags, batch.seq, record) for record in batch.columns.records()]
    for position, event in enumerate(batch.events):
        body = json.dumps(event, default=_encode_bytes).replace("\\", "\\\\").replace('"', '\\"')
        kind, at = event["type"], event_time(event)
        _check(valid_series_name(kind), kind)
        # Two events of one type at one time differ in ``n``; its range is bounded on purpose.
        number = f"{batch.seq % _DISTINCT_SEQS}-{position}"
        text.append(
            f"event,{tags},n={number},type={kind}"
            f' json="{body}",position={position}i,seq={batch.seq}i {at}'
        )
    return text


def _point(tags: str, seq: int, record: Record) -> str:
    value = record.value
    fields = f"quality={int(record.quality)}i,seq={seq}i"
    if value is not None:
        fields = f"value={float(value)!r},{fields}"
    if isinstance(value, int):
        fields = f"count={value}i,{fields}"
    return f"point,{tags},series={record.series} {fields} {record.time_ns}"


def _check(good: object, name: str) -> None:
    if not good:
        message = f"store: {name!r} is no name that line protocol can carry"
        raise StoreError(message)


def _encode_bytes(value: object) -> object:
    if isinstance(value, bytes):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    message = f"an event cannot hold {type(value).__name__}"
    raise StoreError(message)


def _event_value(value: dict[str, Any]) -> object:
    return base64.b64decode(value[_BYTES]) if value.keys() == {_BYTES} else value


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except (ApiException, HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()
        message = f"store: {' '.join(reason)[:300]}"
        raise StoreError(message) from error

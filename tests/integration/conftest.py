"""A plant's month through the real pipeline, batches, ledger, store, report and bundle."""

import fcntl
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge_agent import config as config_
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.parts import cut
from edge_agent.pipeline.series import to_plain
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cose
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from gateway import lab
from gateway.ledger import Ledger
from gateway.month import Entry
from gateway.reports import run as reports
from gateway.store.base import Projection
from gateway.store.sqlite import SqliteStore

NS = 10**9
HOUR_NS = 3600 * NS
T0 = 1_790_784_000 * NS  # 2026-10-01 00:00 in Shanghai
HOURS = 744
PLANTS = Path(__file__).resolve().parents[2] / "configs/plants"
AUTHOR = "laboratory 化验室"


DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(scope="session")
def stock_project(tmp_path_factory):
    """Installs a project of other people's libraries, once for all workers."""

    def install(name, verb="ci"):
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed")
        content = b"".join(path.read_bytes() for path in sorted((DATA / name).iterdir()))
        digest = hashlib.sha256(content).hexdigest()[:16]
        shared = tmp_path_factory.getbasetemp().parent / f"{name}-{digest}"
        shared.mkdir(exist_ok=True)
        with (shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder = shared / "project"
            if not (folder / "installed").exists():
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(DATA / name, folder)
                done = subprocess.run(
                    ["npm", verb, "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"],
                    cwd=folder, capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
                (folder / "installed").touch()
        return folder

    return install


@dataclass
class Site:
    """A plant with its month in ledger and store."""

    folder: Path
    name: str
    ledger: Ledger
    store: SqliteStore
    gateway: Any
    person: Any
    agent: Any
    log_key: Any = None

    def enter(
        self, document: str, entries: list[Entry], version: int = 1, reason: str = ""
    ) -> None:
        """Sign entries and put them into the ledger."""
        paper = lab.LabDocument(
            self.name, document, version, T0, AUTHOR, tuple(entries), reason, (bytes(32),)
        )
        raw = lab.sign(paper, self.person)
        place = (self.name, document, version)
        self.ledger.add_lab(place, raw, self.person.public_spki(), T0)

    def make(self, out: str = "out") -> reports.Made:
        """The report and bundle."""
        return reports.make(
            self.ledger, self.store, self.name, "2026-10", self.gateway, self.folder / out
        )


def figures(made: reports.Made) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of a report by parameter and scope."""
    return {(item["id"], item["scope"]): item for item in made.plain["parameters"]}


@pytest.fixture(scope="session")
def figures_of():
    return figures


def _send(config, readings, ledger, store, signer) -> None:
    """Readings (in order of time) through pipeline and batches into ledger and store."""
    factors = config_.factors_of(config)
    document = config_.effective(config, factors, to_plain(config))
    site, agent = config.site, config.agent
    ring = KeyRing([Enrolment(site, agent, public_key(signer.public_spki()))])
    ledger.enrol(ring.enrolments())
    raw = cose.sign(MessageType.CONFIG, document, signer)
    public = public_key(signer.public_spki())
    ledger.add_config(site, agent, cose.verify(raw, MessageType.CONFIG, lambda _: public), T0)
    pipeline, head = Pipeline(config, factors), ChainHead()
    entries, projections = [], []
    pending = sorted(readings, key=lambda reading: reading.time_ns)
    for until in [*range(T0 + 12 * HOUR_NS, T0 + (HOURS + 1) * HOUR_NS, 12 * HOUR_NS), None]:
        end = T0 + HOURS * HOUR_NS + 60 * NS if until is None else until
        due = [reading for reading in pending if reading.time_ns < end]
        pending = pending[len(due) :]
        pipeline.feed(due, 2**62)
        produce = pipeline.advance(end)
        for columns, events in cut(produce.pieces, produce.events):
            times = [*columns.time_ns, *(event["t"] for event in events)]
            batch = Batch(
                site, agent, head.seq + 1, head.sha256, bytes(16), min(times), max(times),
                (0, 1), ClockState(), config_.digest(document), "edge-agent/test", columns, events,
            )  # fmt: skip
            signed = wire_batch.sign(batch, signer)
            evidence = wire_batch.verify(signed, site, agent, ring)
            entries.append((evidence, max(times)))
            kept = evidence.batch
            projections.append(Projection(site, agent, kept.seq, kept.columns, kept.events))
            head = ChainHead(batch.seq, hashlib.sha256(signed).digest())
    ledger.append(entries)
    store.write_many(projections)


@pytest.fixture(scope="session")
def build_site(tmp_path_factory):
    """Builds a site from an example plant, readings and, optionally, changes of its file."""
    opened: list[Site] = []

    def build(plant: str, readings, change=lambda _plain, _plan: None) -> Site:
        folder = tmp_path_factory.mktemp(plant)
        plain = yaml.safe_load((PLANTS / f"{plant}.yaml").read_text(encoding="utf-8"))
        plain["time"] = {"source": "device", "lateness_s": 5}
        plan = yaml.safe_load((PLANTS / plain["control_plan"]).read_text(encoding="utf-8"))
        change(plain, plan)
        (folder / "plan.yaml").write_text(yaml.safe_dump(plan, allow_unicode=True))
        plain["control_plan"] = "plan.yaml"
        (folder / "agent.yaml").write_text(yaml.safe_dump(plain, allow_unicode=True))
        config = config_.load(folder / "agent.yaml")
        ledger, store = Ledger(folder / "ledger.sqlite"), SqliteStore(folder / "store.sqlite")
        signer, gateway, person = (
            create_signer(folder / f"keys/{name}.pem") for name in ("agent", "gateway", "person")
        )
        _send(config, readings, ledger, store, signer)
        site = Site(folder, config.site, ledger, store, gateway, person, signer)
        opened.append(site)
        return site

    yield build
    for site in opened:
        site.ledger.close()
        site.store.close()


@pytest.fixture(scope="session")
def counter():
    """Hourly readings of a totaliser that rises evenly by ``total`` counts over the month."""
    from edge_agent.readings import Sample

    def make(tag: str, total: int, *, first: int = 0, hours=range(HOURS + 1), modulus=2**62):
        return [
            Sample(tag, T0 + hour * HOUR_NS, (first + total * hour // HOURS) % modulus)
            for hour in hours
        ]

    return make


@pytest.fixture(scope="session")
def rate():
    """Readings of a constant rate every five minutes; ``skip`` names hours without any."""
    from edge_agent.readings import Sample

    def make(tag: str, value: float, *, skip=()):
        return [
            Sample(tag, T0 + step * 300 * NS, value)
            for step in range(HOURS * 12 + 1)
            if step // 12 not in skip
        ]

    return make


@pytest.fixture(scope="session")
def entry():
    """An entry on a day of the month."""
    from decimal import Decimal

    def make(kind, item, quantity, value, unit, *, day=1, mass=None, uncertainty=None):
        return Entry(
            kind,
            item,
            quantity,
            Decimal(str(value)),
            unit,
            T0 + (day - 1) * 24 * HOUR_NS + 8 * HOUR_NS,
            None if mass is None else Decimal(str(mass)),
            uncertainty,
        )

    return make


@pytest.fixture(scope="session")
def only_kiln1():
    """Changes a cement plant and its control plan to one kiln without a balance of its stock."""

    def change(plain, plan):
        plain["kilns"] = plain["kilns"][:1]
        plain["kilns"][0]["stock_balance"] = False
        plan["parameters"] = [
            line
            for line in plan["parameters"]
            if not str(line.get("scope", "")).startswith("kiln2")
        ]

    return change


@pytest.fixture(scope="session")
def enter_kiln1(entry):
    """Enters what the laboratory of that kiln weighed in October."""

    def enter(site):
        stock = (("opening", 8420.55), ("bought", 16310.2), ("closing", 9186.3))
        entries = [entry("stock", "kiln1.coal", name, value, "t") for name, value in stock]
        entries.append(entry("weighing", "kiln1.diesel", "amount", 42.6, "t"))
        entries.append(entry("weighing", "kiln1.limestone", "amount", 200_000, "t"))
        site.enter("october", entries)

    return enter

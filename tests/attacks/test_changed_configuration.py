"""The configuration changed on disk: what a batch names is what it was computed with (row 44)."""

import hashlib
import re
from dataclasses import replace

import pytest
import yaml

from edge_agent import agent as agent_module
from edge_agent import config as config_
from edge_agent import factor_sets
from edge_agent.agent import Agent
from edge_agent.clock import Synchronisation
from edge_agent.outbox import Outbox
from edge_agent.pipeline import Pipeline
from edge_agent.readings import Sample
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key

S = 10**9
T0 = 1_790_784_000 * S
SITE, AGENT = "al-001", "gw-01"
PLANT = {
    "site": SITE,
    "agent": AGENT,
    "state_dir": "state",
    "keys": {"signing": "agent.pem", "gateway": ["agent.pub.pem"]},
    "factor_set": "cets-ag-04.01-v01-2024",
    "time": {"lateness_s": 0},
    "devices": [
        {"driver": "modbus", "id": "meter", "host": "127.0.0.1", "unit": 1, "interval_s": 10,
         "tags": [{"id": "gas.flow", "address": 4, "type": "uint16", "scale": "0.1"}]},
    ],
}  # fmt: skip


class Clock:
    def __init__(self):
        self.utc = T0

    def utc_ns(self):
        return self.utc

    def monotonic_ns(self):
        return self.utc - T0 + S

    def synchronisation(self):
        return Synchronisation(is_synchronised=True)


class Plant:
    """An agent's folder, and the agent started in it, without a network."""

    def __init__(self, folder):
        self.folder, self.clock, self.agent = folder, Clock(), None
        create_signer(folder / "agent.pem")
        self.key = public_key((folder / "agent.pub.pem").read_bytes())

    def write(self, scale="0.1"):
        text = re.sub(r"scale: '[^']*'", f"scale: '{scale}'", yaml.safe_dump(PLANT))
        (self.folder / "agent.yaml").write_text(text, encoding="utf-8")

    def start(self):
        self.stop()
        self.agent = Agent(config_.load(self.folder / "agent.yaml"), self.clock)
        self.agent._restore()
        return self.agent

    def stop(self):
        if self.agent is not None:
            self.agent._worker.shutdown()
            self.agent._outbox.close()
            self.agent = None

    def measure(self, minutes=3):
        for _ in range(minutes * 6):
            self.clock.utc += 10 * S
            self.agent._take([Sample("gas.flow", self.clock.utc, 12.5)])

    def outbox(self):
        """The batches, and the configurations by the digest of their content."""
        opened = Outbox(self.folder / "state/outbox.sqlite", 2**30)
        raws, messages = [one.raw for one in opened.after(0, 1_000)], opened.configs()
        opened.close()
        ring = KeyRing([Enrolment(SITE, AGENT, self.key)])
        batches = [wire_batch.verify(raw, SITE, AGENT, ring).batch for raw in raws]
        payloads = [
            cose.verify(raw, MessageType.CONFIG, lambda _: self.key).payload for raw in messages
        ]
        return batches, {hashlib.sha256(one).digest(): cbor.decode(one) for one in payloads}


def scale_of(document):
    (device,) = document["devices"]
    return device["tags"][0]["scale"]


@pytest.fixture
def plant(tmp_path):
    made = Plant(tmp_path)
    made.write()
    yield made
    made.stop()


def test_a_file_changed_under_a_running_agent_changes_neither_it_nor_what_it_names(plant):
    plant.start()
    plant.measure()
    plant.write("0.09")
    plant.measure()
    batches, documents = plant.outbox()
    assert len(batches) >= 4
    assert {scale_of(documents[batch.config_sha256]) for batch in batches} == {"0.1"}


def test_a_restart_names_the_new_file_from_its_first_batch_on(plant):
    plant.start()
    plant.measure()
    plant.write("0.09")
    before, _ = plant.outbox()
    plant.start()
    plant.measure()
    batches, documents = plant.outbox()
    assert len(documents) == 2
    scales = [scale_of(documents[batch.config_sha256]) for batch in batches]
    assert scales == ["0.1"] * len(before) + ["0.09"] * (len(batches) - len(before))
    assert scales.count("0.09") >= 2


def test_a_file_put_back_names_the_first_digest_again_and_not_a_remembered_one(plant):
    digests = []
    for scale in ("0.1", "0.09", "0.1"):
        plant.write(scale)
        digests.append(plant.start()._config_sha256)
    assert digests[0] == digests[2] != digests[1]


def test_a_kept_message_exchanged_under_its_digest_is_written_again_at_the_start(plant):
    """Somebody puts another signed configuration where the outbox keeps the one in force."""
    first = plant.start()._config_sha256
    plant.write("0.09")
    plant.start()
    outbox = plant.agent._outbox
    _, other = outbox.configs()
    outbox._db.execute("UPDATE configs SET raw = ? WHERE sha256 = ?", (other, first))
    plant.write("0.1")
    plant.start()
    plant.measure()
    batches, documents = plant.outbox()
    assert batches[-1].config_sha256 == first
    assert scale_of(documents[first]) == "0.1"


def test_factors_exchanged_while_the_agent_starts_are_signed_as_they_are_used(plant, monkeypatch):
    """Every read of the factor file finds other numbers."""
    read, used = factor_sets.read, []

    def changing(path):
        found, name = read(path), "pfc.slope.cwpb"
        changing.count += 1
        changed = (replace(found.factors[name][0], value=float(changing.count)),)
        return replace(found, factors={**found.factors, name: changed})

    class Watched(Pipeline):
        def __init__(self, config, factors):
            used.append(factors)
            super().__init__(config, factors)

    changing.count = 0
    monkeypatch.setattr(factor_sets, "read", changing)
    monkeypatch.setattr(agent_module, "Pipeline", Watched)
    digest = plant.start()._config_sha256
    _, documents = plant.outbox()
    signed = factor_sets.from_plain(documents[digest]["factor_set"])
    assert signed.get("pfc.slope.cwpb").value == used[0].get("pfc.slope.cwpb").value == 1.0

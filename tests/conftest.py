"""Fixtures that several folders share: keys with fixed seeds, a batch, a small plant, vectors."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings

from edge_agent import factor_sets
from edge_agent.config import AgentConfig
from edge_agent.readings import Columns
from edge_agent.wire import batch as wire_batch
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.keys import Enrolment, FileSigner, KeyRing, public_key
from edge_agent.wire.keys.hsm import Slot

# How long an example takes on a busy machine says nothing of the code.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
DATA = Path(__file__).parent / "data"
SITE, AGENT = "al-001", "gw-01"


def seeded_signer(first: int) -> FileSigner:
    return FileSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(first, first + 32))))


@pytest.fixture(scope="session")
def vectors():
    """A vector file by name."""
    return lambda name: json.loads((DATA / "vectors" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def signer():
    """The agent's key: the seed of trust.md 3.4."""
    return seeded_signer(0)


@pytest.fixture(scope="session")
def neighbour():
    """Another agent's key, enrolled too."""
    return seeded_signer(100)


@pytest.fixture(scope="session")
def gateway_signer():
    return seeded_signer(200)


@pytest.fixture(scope="session")
def ring(signer, neighbour):
    """Both agents' keys."""
    return KeyRing(
        [
            Enrolment(SITE, AGENT, public_key(signer.public_spki())),
            Enrolment(SITE, "gw-02", public_key(neighbour.public_spki())),
        ]
    )


@pytest.fixture(scope="session")
def make_batch():
    """The batch of trust.md 3.4, with changes."""

    def make(**changes):
        fields = {
            "site": SITE,
            "agent": AGENT,
            "seq": 1,
            "prev": bytes(32),
            "boot": bytes(range(16)),
            "first_ns": 1_767_196_800_000_000_000,
            "last_ns": 1_767_196_860_000_000_000,
            "mono": (1_000_000_000, 61_000_000_000),
            "clock": ClockState("ntp", sync=True, off=120_000, err=900_000, steps=0),
            "config_sha256": bytes.fromhex(
                "b79606fb3afea5bd1609ed40b622142f1c98125abcfe89a76a661b0e8e343910"
            ),
            "software": "edge-agent/0.1.0",
            "columns": Columns(
                ("pot.001.v", "line.kwh"),
                [0, 1],
                [1_767_196_800_000_000_000] * 2,
                [4.25, 10_000_000],
                [0, 0],
            ),
        }
        return Batch(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def make_fields(make_batch):
    """The payload of that batch as a plain map, with changes; ``drop`` names keys to leave out."""

    def make(drop=(), **changes):
        fields = cbor2.loads(wire_batch.payload(make_batch())) | changes
        return {key: value for key, value in fields.items() if key not in drop}

    return make


@pytest.fixture(scope="session")
def make_config():
    """A smelter of two pots with a meter of each role; keyword arguments replace whole keys."""

    def make(**changes):
        modbus = {"driver": "modbus", "host": "127.0.0.1", "interval_s": 1}
        volts = [
            {"id": f"pot{n}.v", "address": 2 * n, "type": "float32", "unit": "V"} for n in (1, 2)
        ]
        states = [{"id": f"pot{n}.status", "address": 20 + n, "type": "uint16"} for n in (1, 2)]
        current = {"id": "line.ka", "address": 10, "type": "float32", "unit": "kA"}
        hall = {
            "id": "hall.temperature",
            "address": 30,
            "type": "float32",
            "unit": "degC",
            "range": [-40, 80],
        }
        meters = [
            {"id": "kwh", "address": 40, "type": "uint32", "unit": "kWh", "modulus": 1_000_000},
            {"id": "gas", "address": 42, "type": "uint32", "unit": "Nm3", "modulus": 10**9},
            {"id": "scale", "address": 44, "type": "int64", "unit": "kg", "modulus": None},
        ]
        for tag in meters:
            modulus = tag.pop("modulus")
            tag["totaliser"] = {"modulus": modulus} if modulus else {}
        meters[1]["scale"] = "0.1"
        plain = {
            "site": SITE,
            "agent": AGENT,
            "timezone": "Asia/Shanghai",
            "state_dir": "state",
            "keys": {"signing": "agent.pem", "gateway": ["gateway.pub.pem"]},
            "factor_set": "cets-ag-04.01-v01-2024",
            "time": {"source": "system", "lateness_s": 5},
            "devices": [
                {"id": "pots", "unit": 1, "tags": [*volts, *states, current, hall], **modbus},
                {"id": "meters", "unit": 2, "tags": meters, **modbus},
            ],
            "potlines": [
                {
                    "id": "line1",
                    "pots": {"count": 2, "voltage": "pot{n}.v", "status": "pot{n}.status"},
                    "current": "line.ka",
                    "nominal_ka": 300,
                    "current_efficiency_percent": 94,
                }
            ],
            "meters": [
                {"id": "energy", "tag": "kwh", "role": "electricity", "potline": "line1"},
                {"id": "natural_gas", "tag": "gas", "role": "fuel", "fuel": "natural_gas"},
                {"id": "metal", "tag": "scale", "role": "metal", "potline": "line1"},
            ],
        }
        return AgentConfig.model_validate(plain | changes)

    return make


class SoftHsm:
    """A software token store of this test process; a token is unplugged by moving its files."""

    module = Path("/usr/lib/softhsm/libsofthsm2.so")

    def __init__(self, folder):
        self.tokens, self._away, self._count = folder / "tokens", folder / "away", 0
        self.tokens.mkdir()
        (folder / "softhsm2.conf").write_text(
            f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")

    def slot(self, folder, pin="2468"):
        """A new token with this PIN, and where its key will be."""
        self._count += 1
        token = f"token-{self._count}"
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", token, "--pin", pin,
             "--so-pin", "13579"],
            check=True, capture_output=True,
        )  # fmt: skip
        pin_file = folder / f"{token}.pin"
        pin_file.touch(0o600)
        pin_file.write_text(pin + "\n")
        return Slot(self.module, token, "signing", pin_file, folder / f"{token}.refused")

    def unplug(self):
        self.tokens.rename(self._away)

    def plug(self):
        if self._away.exists():
            self._away.rename(self.tokens)


@pytest.fixture(scope="session")
def _soft_hsm(tmp_path_factory):
    if shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed")
    before = os.environ.get("SOFTHSM2_CONF")
    yield SoftHsm(tmp_path_factory.mktemp("softhsm"))
    os.environ.pop("SOFTHSM2_CONF", None)
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture
def soft_hsm(_soft_hsm):
    """A software token store, plugged in again afterwards."""
    yield _soft_hsm
    _soft_hsm.plug()


@pytest.fixture(scope="session")
def factors():
    return factor_sets.find("cets-ag-04.01-v01-2024")

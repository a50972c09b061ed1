"""The bill of materials names what a plant installs, with the lock's versions and hashes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    out = tmp_path_factory.mktemp("sbom") / "sbom.json"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / ".ci" / "sbom.py", out],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    bom = json.loads(out.read_text())
    assert bom["bomFormat"] == "CycloneDX"
    assert bom["metadata"]["component"]["name"] == "plant-carbon-monitor"
    return {item["name"]: item for item in bom["components"]}


def test_every_direct_dependency_and_what_it_needs_is_listed(components):
    direct = {"asyncua", "cbor2", "cryptography", "paho-mqtt", "pydantic", "pymodbus"}
    indirect = {"cffi", "pydantic-core", "reactivex"}
    assert direct | indirect <= components.keys()


def test_nothing_of_the_workshop_is_listed(components):
    assert not {"pytest", "ruff", "mypy", "hatchling", "amqtt"} & components.keys()


def test_versions_and_hashes_are_the_locks(components):
    lock = (ROOT / "requirements.lock").read_text()
    for name, item in components.items():
        assert re.search(
            rf"^{re.escape(name)}=={re.escape(item['version'])}\b", lock, re.MULTILINE
        ), name
        hashes = [
            entry["content"]
            for reference in item["externalReferences"]
            for entry in reference.get("hashes", ())
        ]
        assert hashes, name
        assert all(f"sha256:{value}" in lock for value in hashes), name

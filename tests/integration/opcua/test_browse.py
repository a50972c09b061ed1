"""``edge-agent browse`` as a user runs it, and the sample configuration of the documentation."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import yaml

from edge_agent import config as config_

ROOT = Path(__file__).resolve().parents[3]


def run(*args):
    return subprocess.run(
        [sys.executable, "-m", "edge_agent.cli", "browse", *args],
        capture_output=True, text=True, check=False, timeout=120, cwd=ROOT,
    )  # fmt: skip


async def test_the_tree_shows_values_and_tag_lines_that_can_be_pasted(
    node_server, device, first_readings, tmp_path
):
    setup = {"policies": ["None", "Basic256Sha256"], "modes": ["None", "SignAndEncrypt"]}
    async with node_server(**setup) as server:
        await server.send(set="v", value=4.25)
        await server.send(set="range", value=21.5)
        await server.send(set="text", value="on\u001b[31m")
        done = await asyncio.to_thread(run, server.url, "--filter", "potline")
        assert done.returncode == 0, done.stderr
        assert "v  nsu=urn:test:potline;s=v  Double = 4.25  writable" in done.stdout
        assert "Double = 21.5 degC" in done.stdout
        assert "\u001b" not in done.stdout
        lines = yaml.safe_load(done.stdout.partition("\ntags:")[2])
        assert {line["id"] for line in lines} == {"v", "n", "wave", "range"}
        assert {"id": "range", "node": "nsu=urn:test:potline;s=range", "unit": "degC"} in lines
        found = await first_readings(device(server.url, *lines), count=4)
        assert {"v", "range"} <= {reading.tag for reading in found}

        few = await asyncio.to_thread(run, server.url, "--nodes", "2")
        assert "stopped at 2 nodes" in few.stdout
        secure = ("--security", "Basic256Sha256", "--pki", str(tmp_path), "--device", "potroom")
        refused = await asyncio.to_thread(run, server.url, *secure)
        assert refused.returncode == 1
        kept, place = re.search(r"move (\S+) to (\S+)", refused.stderr).groups()
        Path(kept).rename(place)
        done = await asyncio.to_thread(run, server.url, *secure)
        assert "Double = 4.25" in done.stdout


def test_a_wrong_argument_is_named_and_exits_with_2():
    done = run("opc.tcp://h:1", "--security", "Basic256")
    assert (done.returncode, "Basic256Sha256" in done.stderr) == (2, True)
    done = run("http://h:1")
    assert (done.returncode, "opc" in done.stderr) == (2, True)


def test_the_documented_configuration_is_valid(tmp_path):
    page = (ROOT / "docs/drivers/opcua.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(devices:.*?)```", page, re.DOTALL)
    head = {
        "site": "al-001",
        "agent": "gw-01",
        "state_dir": "state",
        "keys": {"signing": "agent.pem", "gateway": ["gateway.pub.pem"]},
        "factor_set": "cets-ag-04.01-v01-2024",
    }
    file = tmp_path / "agent.yaml"
    file.write_text(yaml.safe_dump(head) + block, encoding="utf-8")
    config = config_.load(file)
    potroom, substation = config.devices
    assert potroom.security.pki == tmp_path / "keys/opcua"
    assert potroom.login.password_file == tmp_path / "keys/potroom.password"
    assert len(potroom.tags) == 26
    assert substation.insecure
    document = config.model_dump(mode="json")["devices"][0]
    assert str(tmp_path) not in str(document)
    for key in type(potroom).model_fields.keys() - {"id", "driver", "enabled", "tags", "url"}:
        assert f"`{key}" in page, key

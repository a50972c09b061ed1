"""Writes the software bill of materials (CycloneDX JSON) of what is installed at a plant.

The runtime packages are the closure of the project's dependencies in this environment; their
versions and hashes come from the lock. `python .ci/sbom.py OUT`
"""

import re
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "plant-carbon-monitor"


def runtime_packages(project: str) -> set[str]:
    """Canonical names of everything the project needs at run time on this platform."""
    found: set[str] = set()
    waiting = [(project, frozenset[str]())]
    while waiting:
        name, extras = waiting.pop()
        for text in distribution(name).requires or ():
            need = Requirement(text)
            wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if need.marker and not any(need.marker.evaluate(extra) for extra in wanted):
                continue
            if canonicalize_name(need.name) not in found:
                found.add(canonicalize_name(need.name))
                waiting.append((need.name, frozenset(need.extras)))
    return found


def locked(names: set[str]) -> str:
    """The lock's entries of these packages, hashes included."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return "".join(
        entry for entry in entries if canonicalize_name(re.split("[=; ]", entry)[0]) in names
    )


def main() -> int:
    """Write the file named by the first argument."""
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(locked(runtime_packages(PROJECT)))
        file.flush()
        command = ["cyclonedx-py", "requirements", file.name, "--pyproject"]
        command += [str(ROOT / "pyproject.toml"), "--output-reproducible", "-o", str(out)]
        program = Path(sys.executable).with_name(command[0])
        return subprocess.run([program, *command[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

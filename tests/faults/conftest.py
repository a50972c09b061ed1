"""The shims that stand between a program and its disk or clock, compiled once."""

import shutil
import subprocess
from pathlib import Path

import pytest

STACKS = Path(__file__).parents[1] / "stacks"


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """Compiles a shim of ``tests/stacks`` by name; skips where there is no compiler."""
    folder = tmp_path_factory.mktemp("shims")

    def build(name):
        if shutil.which("gcc") is None:
            pytest.skip("gcc is not installed")
        target = folder / f"{name}.so"
        if not target.exists():
            subprocess.run(
                ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror",
                 "-o", target, STACKS / f"{name}.c", "-ldl", "-lpthread"],
                check=True,
            )  # fmt: skip
        return target

    return build

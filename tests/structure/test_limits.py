"""Limits on files, functions and classes, and what may stand in committed files."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ("edge_agent", "gateway", "simulators")
FILE_LINES, FUNCTION_LINES, CLASS_LINES = 400, 50, 260
BROAD_EXCEPTS = 6
HOSTS = re.compile(
    "|".join(("pypi" + r"\.org", "python" + "hosted", "npm" + r"js\.", "deb" + r"\.debian"))
)


def production_files():
    return sorted(file for folder in PRODUCTION for file in (ROOT / folder).rglob("*.py"))


def committed_files():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\n") if name]


@pytest.mark.parametrize("file", production_files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_files_functions_and_classes_stay_small(file):
    text = file.read_text()
    assert len(text.splitlines()) <= FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            docstring = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
            first = body[1].lineno if docstring and len(body) > 1 else node.lineno
            assert (node.end_lineno or 0) - first < FUNCTION_LINES, node.name
        elif isinstance(node, ast.ClassDef):
            assert (node.end_lineno or 0) - node.lineno <= CLASS_LINES, node.name


def test_broad_excepts_are_few():
    broad = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in production_files()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert len(broad) <= BROAD_EXCEPTS, broad
    assert not [place for place in broad if "/calc/" in place or "/wire/" in place]


def test_no_committed_file_names_a_registry_host():
    found = [
        str(file.relative_to(ROOT))
        for file in committed_files()
        if file.is_file() and HOSTS.search(file.read_text(errors="ignore"))
    ]
    assert not found


def test_every_locked_package_has_hashes_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[a-zA-Z0-9_.-]+==", text, re.MULTILINE)
    assert len(packages) > 40
    assert text.count("--hash=sha256:") >= len(packages)
    assert "://" not in text


def test_the_wheel_holds_configs_and_no_simulator(tmp_path):
    import sys
    import zipfile

    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q",
            "-w", str(tmp_path), str(ROOT),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "edge_agent/configs/factors/ipcc-2006.yaml" in names
    assert "edge_agent/configs/devices/siemens-pac4200.yaml" in names
    assert "gateway/verify.py" in names
    assert not [name for name in names if name.startswith(("simulators", "tests"))]

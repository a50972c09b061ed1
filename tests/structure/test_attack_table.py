"""Every test that docs/attacks.md names exists, and no attack test stands outside the table."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (\S+)::(\w+) \|$")


def rows():
    lines = (ROOT / "docs/attacks.md").read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if line.startswith("| ") and not line.startswith("| row")]
    found = [ROW.match(line) for line in body]
    assert all(found), [line for line, match in zip(body, found, strict=True) if not match]
    return [match.groups() for match in found if match]


def names_in(file):
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    return re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}-{row[4][:40]}")
def test_the_test_that_plays_an_attack_exists(row):
    _, attack, becomes, file, name = row
    assert attack
    assert becomes
    assert [test for test in names_in(file) if test.startswith(name)]


def test_rows_are_in_order():
    numbers = [int(row[0]) for row in rows()]
    assert numbers == sorted(numbers)

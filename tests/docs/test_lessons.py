"""docs/lessons.md names tests that exist, and every lesson has one or says what is open."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def lessons():
    text = (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    return {int(number): (held, set(re.findall(r"`(test_\w+)`", tests)))
            for number, _, held, tests in ROW.findall(text)}  # fmt: skip


def existing():
    return {
        node.name
        for file in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_all_twenty_five_lessons_stand_in_the_page():
    assert sorted(lessons()) == list(range(1, 26))


def test_every_test_that_is_named_exists():
    named = set().union(*(tests for _, tests in lessons().values()))
    assert len(named) > 30
    assert named <= existing(), named - existing()


def test_a_lesson_without_a_test_says_what_is_open():
    untested = [number for number, (held, tests) in lessons().items() if not tests]
    assert all("open" in lessons()[number][0].lower() for number in untested)
    assert len(untested) <= 1

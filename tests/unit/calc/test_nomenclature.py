"""docs/nomenclature.md: every public parameter of ``calc`` stands there, each once."""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import edge_agent.calc

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "nomenclature.md").read_text("utf-8")
TABLE = re.findall(r"^\| `([a-z0-9_]+)` \| ([^|]*) \| ([^|]*) \|", PAGE, re.MULTILINE)
LISTED = re.findall(r"`([a-z0-9_]+)`", " ".join(re.findall(r"^- (`[^:]+`):", PAGE, re.MULTILINE)))


def parameters():
    """Names that callers write: arguments of public functions, fields of public dataclasses."""
    found = {}
    for info in pkgutil.iter_modules(edge_agent.calc.__path__, "edge_agent.calc."):
        module = importlib.import_module(info.name)
        for name, item in vars(module).items():
            if name.startswith("_") or getattr(item, "__module__", "") != info.name:
                continue
            if inspect.isfunction(item):
                names = list(inspect.signature(item).parameters)
            elif dataclasses.is_dataclass(item):
                names = [field.name for field in dataclasses.fields(item)]
            else:
                continue
            for parameter in names:
                if not parameter.startswith("_"):
                    found.setdefault(parameter, f"{info.name}.{name}")
    return found


def test_every_public_parameter_of_calc_stands_in_the_nomenclature():
    found = parameters()
    assert len(found) > 200
    known = {name for name, _, _ in TABLE} | set(LISTED)
    assert {name: place for name, place in found.items() if name not in known} == {}


def test_no_name_stands_twice():
    names = [name for name, _, _ in TABLE] + LISTED
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_a_quantity_has_a_chinese_and_an_english_term():
    for name, zh, en in TABLE:
        assert re.search(r"[\u4e00-\u9fff]", zh), name
        assert len(en) > 1, name

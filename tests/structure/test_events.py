"""Every event that the agent can tell has a type that the wire knows."""

import ast
from pathlib import Path

from edge_agent.wire.batch_rules import EVENT_TYPES

ROOT = Path(__file__).resolve().parents[2]


def told_types():
    """Types in ``….tell(kind, …)``, ``….event(time, kind, …)`` and ``{"type": kind}``."""
    for file in (ROOT / "edge_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                has_time = any(
                    isinstance(key, ast.Constant) and key.value == "t" for key in node.keys
                )
                for key, value in pairs:
                    if has_time and isinstance(key, ast.Constant) and key.value == "type":
                        yield file, value
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                place = {"_tell": 0, "_event": 0, "event": 1}.get(node.func.attr)
                if place is not None and len(node.args) > place:
                    yield file, node.args[place]


def test_every_event_type_is_one_the_wire_lets_through():
    found = {
        (value.value, file.name) for file, value in told_types() if isinstance(value, ast.Constant)
    }
    kinds = {kind for kind, _ in found}
    assert {"tag_quality", "device_state", "task_restarted", "gap"} <= kinds
    assert kinds <= EVENT_TYPES, {pair for pair in found if pair[0] not in EVENT_TYPES}

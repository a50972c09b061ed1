"""``edge-agent schema``: JSON Schema of the configuration, for editors."""

import argparse
import json
from typing import Any

from edge_agent.commands import Verb
from edge_agent.config import AgentConfig

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REPEAT = {
    "type": "object",
    "description": "One tag a number; {n} or {n:03d} in its texts is the number.",
    "properties": {
        "from": {"type": "integer", "minimum": 0},
        "to": {"type": "integer", "minimum": 0},
    },
    "required": ["from", "to"],
    "additionalProperties": False,
}


def register(verb: Verb) -> None:
    """Add the verb."""
    verb("schema", schema)


def schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema of the configuration file, for editors."""
    print(json.dumps(of_file(), indent=2, ensure_ascii=False))
    return 0


def of_file() -> dict[str, Any]:
    """The schema of the file as it is written: with ``repeat``, before it is expanded."""
    schema_ = AgentConfig.model_json_schema(mode="validation")
    for name, part in schema_.get("$defs", {}).items():
        properties = part.get("properties", {})
        if name.endswith("Tag") and "id" in properties:
            properties["repeat"] = _REPEAT
            # the texts of a repeated tag hold {n}: their patterns are checked after expansion
            properties["id"] = {"type": "string"}
    return {"$schema": _DIALECT, **schema_, "title": "edge-agent configuration"}

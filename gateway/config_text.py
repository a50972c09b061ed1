"""The gateway's YAML files as text: reading them, and where in them something is wrong."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from edge_agent.errors import ConfigError

UNKNOWN_KEY = "unknown_key"
_SHOWN_CHARACTERS = 60
_SECRETS = frozenset({"token", "password"})


def parse(path: Path) -> tuple[Any, yaml.Node]:
    """The file's value and its node tree.

    Raises:
        ConfigError: it cannot be read, is no YAML, or holds a key twice.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        document = None if node is None else loader.construct_document(node)
    except OSError as error:
        message = f"cannot read the file: {error.strerror}"
        raise ConfigError(message, file=str(path)) from error
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        message = f"not readable as YAML: {problem}"
        line = mark.line + 1 if mark else 0
        raise ConfigError(message, file=str(path), line=line) from error
    if not isinstance(node, yaml.MappingNode):
        message = "holds no keys"
        raise ConfigError(message, file=str(path), right="key: value lines are needed")
    _refuse_twins(path, node)
    return document, node


def _refuse_twins(path: Path, node: yaml.Node) -> None:
    """Refuse a key that stands twice in one mapping; YAML would keep the last silently."""
    seen: set[Hashable] = set()
    for child in node.value if isinstance(node.value, list) else ():
        pair = child if isinstance(child, tuple) else (None, child)
        if pair[0] is not None:
            if pair[0].value in seen:
                raise ConfigError(
                    "stands twice in this section",
                    file=str(path),
                    line=pair[0].start_mark.line + 1,
                    key=str(pair[0].value),
                )
            seen.add(str(pair[0].value))
        _refuse_twins(path, pair[1])


def explain(path: Path, node: yaml.Node, details: ErrorDetails) -> ConfigError:
    """What the checker found, with the place in the file, and no secret in it."""
    location: list[int | str] = list(details["loc"])
    context = details.get("ctx", {})
    if details["type"] == UNKNOWN_KEY:
        location.append(context["key"])
    elif details["type"].startswith("union_tag"):
        location.append("kind")
    line, steps = _find(node, location)
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    message, right = details["msg"], str(context.get("right", ""))
    if details["type"] == "missing":
        key = f"{key}.{location[-1]}"
        message, right = "is missing", f"add {location[-1]!r} here"
    elif details["type"] != UNKNOWN_KEY and not isinstance(details["input"], dict):
        message = f"{_show(steps, details['input'])} is wrong: {message}"
    return ConfigError(message, file=str(path), line=line, key=key.removeprefix("."), right=right)


def _show(steps: list[int | str], value: object) -> str:
    if steps and steps[-1] in _SECRETS:
        return "the value"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _find(node: yaml.Node, location: list[int | str]) -> tuple[int, list[int | str]]:
    """Line of a value, and its path without the union tags that the checker puts in."""
    line, steps = node.start_mark.line + 1, list[int | str]()
    for step in location:
        if isinstance(node, yaml.MappingNode):
            pairs = {str(key.value): (key, value) for key, value in node.value}
            if str(step) in pairs:
                key, node = pairs[str(step)]
                line = key.start_mark.line + 1
                steps.append(step)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
            steps.append(step)
    return line, steps

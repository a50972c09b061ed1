"""YAML files into strict models, with errors that name file, line, key and what would be right."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edge_agent.errors import ConfigError

Path_ = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML file: its plain value and the line of every key."""

    file: str
    value: Any
    lines: dict[Path_, int]

    def line(self, key: Path_) -> int:
        """Line of a key, or of the nearest key above it that stands in the file."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)

    def error(self, key: Path_, message: str, right: str = "") -> ConfigError:
        """A configuration error at a key of this file."""
        return ConfigError(
            message, file=self.file, line=self.line(key), key=dotted(key), right=right
        )


def dotted(key: Path_) -> str:
    """``devices[0].tags[3].address`` for a path of keys and places."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def load(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: unreadable, no YAML, or a key that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {error}"
        raise ConfigError(message, file=str(path)) from error
    lines: dict[Path_, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = _plain(node, (), lines, str(path)) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = f"is no valid YAML: {getattr(error, 'problem', error)}"
        raise ConfigError(message, file=str(path), line=mark.line + 1 if mark else 0) from error
    return Document(str(path), value, lines)


def _plain(node: yaml.Node, key: Path_, lines: dict[Path_, int], file: str) -> Any:
    lines[key] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        plain: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = str(name_node.value)
            line = name_node.start_mark.line + 1
            if name in plain:
                message = "this key stands twice"
                raise ConfigError(message, file=file, line=line, key=dotted((*key, name)))
            plain[name] = _plain(value_node, (*key, name), lines, file)
            lines[(*key, name)] = line
        return plain
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*key, i), lines, file) for i, item in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)


def validate(document: Document, model: type[Model], context: Any = None) -> Model:
    """The document as a strict model.

    Raises:
        ConfigError: the first key that is wrong, with its line and what would be right.
    """
    try:
        return model.model_validate(document.value, context=context)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _config_error(document, model, first) from None


def _config_error(document: Document, model: type[BaseModel], error: Any) -> ConfigError:
    key = tuple(part for part in error["loc"] if _stands(document, part, error["loc"]))
    message = error["msg"].removeprefix("Value error, ")
    right = ""
    if error["type"] == "extra_forbidden":
        message = "unknown key"
        close = difflib.get_close_matches(str(error["loc"][-1]), _known_keys(model), 1, 0.7)
        right = f"did you mean {close[0]!r}?" if close else ""
    elif error["type"] == "missing":
        message = "this key is missing"
    else:
        message = f"{message}; found {error['input']!r}"[:400]
    return document.error(key, message, right)


def _stands(document: Document, part: str | int, loc: Path_) -> bool:
    """Drop the discriminator tags that pydantic puts into a location."""
    place = loc.index(part)
    return (
        part == loc[-1]
        or isinstance(part, int)
        or any(part in known for known in document.lines if len(known) > place - 1)
    )


def _known_keys(model: type[BaseModel]) -> list[str]:
    """Every field name of a model and the models below it."""
    names: set[str] = set()
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        names.update(part.get("properties", {}))
    return sorted(names)

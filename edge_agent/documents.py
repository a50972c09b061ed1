"""YAML files into strict models, with errors that name file, line, key and what would be right."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from edge_agent import hints, yaml_text
from edge_agent.errors import ConfigError, ConfigErrors
from edge_agent.yaml_text import LOADER, MOST_DEPTH, Unusual

_MOST_ERRORS = 50
_NUMBER = re.compile(r"\{n(?::0([1-9])d)?\}")
Path_ = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Marks:
    """Line and column of every key of a file, from 1."""

    lines: dict[Path_, int] = field(default_factory=dict)
    columns: dict[Path_, int] = field(default_factory=dict)

    def rearranged(self, origins: Mapping[Path_, Path_]) -> "Marks":
        """As ``Document.rearranged``."""
        lines, columns = dict(self.lines), dict(self.columns)
        parents = {new[:-1] for new in origins}
        for table, before in ((lines, self.lines), (columns, self.columns)):
            below: dict[Path_, list[Path_]] = {}
            for key in before:
                for parent in (key[:depth] for depth in range(len(key))):
                    if parent in parents:
                        del table[key]
                        below.setdefault(key[: len(parent) + 1], []).append(key)
            for new, old in origins.items():
                for key in below.get(old, ()):
                    table[new + key[len(old) :]] = before[key]
        return Marks(lines, columns)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML file: its plain value, and where its keys stand.

    ``marks`` are worked out when the first error asks for them: they take far more than the value.
    """

    file: str
    value: Any
    marks: Callable[[], Marks] = Marks

    def line(self, key: Path_) -> int:
        """Line of a key, or of the nearest key above it that stands in the file."""
        lines = self.marks().lines
        while key and key not in lines:
            key = key[:-1]
        return lines.get(key, 1)

    def error(self, key: Path_, message: str, right: str = "") -> ConfigError:
        """A configuration error at a key of this file."""
        error = ConfigError(
            message, file=self.file, line=self.line(key), key=dotted(key), right=right
        )
        columns = self.marks().columns
        while key and key not in columns:
            key = key[:-1]
        return error.at_column(columns.get(key, 0))

    def rearranged(self, origins: Mapping[Path_, Path_]) -> "Document":
        """The same file after parts of its value were copied or moved.

        Args:
            origins: for each new place the place in the file that its keys stand at; the places
                of the file that share a parent with new ones are forgotten.
        """
        if all(new == old for new, old in origins.items()):
            return self
        before = self.marks
        return Document(self.file, self.value, cache(lambda: before().rearranged(origins)))


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
    text = _text(path)
    try:
        return Document(str(path), yaml_text.plain(text), cache(lambda: _tree(path, text).marks()))
    except Unusual:
        return _tree(path, text)


def _tree(path: Path, text: str) -> Document:
    """The document by PyYAML's tree, which knows where everything stands."""
    marks = Marks()
    document = Document(str(path), {}, lambda: marks)
    try:
        node = yaml.compose(text, Loader=LOADER)
        value = _plain(node, (), document, 0) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        found, right = hints.of_yaml(text, line, problem)
        message = f"is no valid YAML: {problem}" + (f"; found {found!r}"[:200] if found else "")
        wrong = ConfigError(message, file=str(path), line=line, right=right)
        raise wrong.at_column(column) from error
    except RecursionError:
        message = f"is nested more than {MOST_DEPTH} levels deep"
        raise ConfigError(message, file=str(path)) from None
    return Document(str(path), value, document.marks)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
        raise ConfigError(message, file=str(path)) from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, right = hints.of_bytes(raw, error.start)
        message = f"is no UTF-8 text: byte 0x{raw[error.start]:02x}"
        raise ConfigError(message, file=str(path), line=line, right=right) from error


def numbered(text: str, n: int) -> str:
    """A text with ``{n}`` or ``{n:03d}`` (up to nine digits) filled in.

    Raises:
        ValueError: it holds other braces.
    """
    filled = _NUMBER.sub(lambda found: f"{n:0{found[1] or 1}d}", text)
    if "{" in filled or "}" in filled:
        message = f"{text!r} holds braces other than {{n}} or {{n:03d}}"
        raise ValueError(message)
    return filled


def _plain(node: yaml.Node, key: Path_, document: Document, depth: int) -> Any:
    if depth > MOST_DEPTH:
        message = f"is nested more than {MOST_DEPTH} levels deep"
        raise ConfigError(message, file=document.file, line=node.start_mark.line + 1)
    marks = document.marks()
    marks.lines[key] = node.start_mark.line + 1
    marks.columns[key] = node.start_mark.column + 1
    if isinstance(node, yaml.MappingNode):
        return _plain_map(node, key, document, depth)
    if isinstance(node, yaml.SequenceNode):
        return [
            _plain(item, (*key, place), document, depth + 1)
            for place, item in enumerate(node.value)
        ]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (ValueError, OverflowError) as error:  # 2026-13-45 looks like a date and is none
        message = f"{node.value!r} cannot be read: {error}"
        raise document.error(key, message, "quote a text") from None


def _plain_map(node: yaml.MappingNode, key: Path_, document: Document, depth: int) -> Any:
    plain: dict[str, Any] = {}
    marks = document.marks()
    for name_node, value_node in node.value:
        mark, name = name_node.start_mark, name_node.value
        if not isinstance(name, str):
            raise document.error(key, "a key must be a plain text")
        if name in plain:
            message, line = "this key stands twice", mark.line + 1
            twice = ConfigError(message, file=document.file, line=line, key=dotted((*key, name)))
            raise twice.at_column(mark.column + 1)
        plain[name] = _plain(value_node, (*key, name), document, depth + 1)
        marks.lines[(*key, name)] = mark.line + 1
        marks.columns[(*key, name)] = mark.column + 1
    return plain


def validate(document: Document, model: type[Model], context: Any = None) -> Model:
    """The document as a strict model.

    Raises:
        ConfigError: every key that is wrong, with its line and what would be right.
    """
    try:
        return model.model_validate(document.value, context=context)
    except ValidationError as error:
        known = _known_keys(model)
        details: list[Any] = [
            {**detail, "loc": tuple(part for part in detail["loc"] if "[" not in str(part))}
            for detail in error.errors(include_url=False)[:_MOST_ERRORS]
        ]
        missing = {detail["loc"] for detail in details if detail["type"] == "missing"}
        errors: dict[tuple[Path_, str], ConfigError] = {}
        for detail in details:
            loc = detail["loc"]
            if not _is_consequence(detail, details):
                beside = [str(key[-1]) for key in missing if key[:-1] == loc[:-1]]
                told = _config_error(document, (beside, known), detail)
                errors.setdefault((loc, detail["type"]), told)
        in_order = sorted(errors.values(), key=lambda item: (item.line, item.column))
        raise all_of(in_order) from None


def _is_consequence(detail: Any, details: Sequence[Any]) -> bool:
    """Whether an error only says that there are others."""
    loc = detail["loc"]
    if detail["type"] == "default_factory_not_called":
        return len(details) > 1
    return detail["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and other is not detail for other in details
    )


def all_of(errors: Sequence[ConfigError]) -> ConfigError:
    """One error that says them all."""
    return errors[0] if len(errors) == 1 else ConfigErrors(errors)


def did_you_mean(word: object, known: Iterable[str], first: Sequence[str] = ()) -> str:
    """A hint at the known word nearest to a wrong one (in ``first`` first), or an empty text."""
    close = difflib.get_close_matches(str(word), first, 1, 0.6)
    close = close or difflib.get_close_matches(str(word), list(known), 1, 0.7)
    return f"did you mean {close[0]!r}?" if close else ""


def _config_error(
    document: Document, words: tuple[Sequence[str], Sequence[str]], error: Any
) -> ConfigError:
    """One error of pydantic's; ``words`` are the keys missing beside it, and all keys."""
    beside, known = words
    key = tuple(part for part in error["loc"] if _stands(document, part, error["loc"]))
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        key = (
            key if key in document.marks().lines else key[:-1]
        )  # the tag of a union stands nowhere
        key += getattr(context.get("error"), "key", ())
    is_plain = not isinstance(error["input"], list | dict)
    found = f"; found {error['input']!r}"[:200] if is_plain else ""
    message = error["msg"].removeprefix("Value error, ") + found
    match error["type"]:
        case "extra_forbidden":
            word = error["loc"][-1]
            hint = hints.of_key(word, did_you_mean(word, known, beside))
            return document.error(key, "unknown key", hint)
        case "missing":
            return document.error(key, "this key is missing")
        case "union_tag_not_found":
            name = str(context["discriminator"]).strip("'")
            return document.error((*key, name), "this key is missing")
        case "union_tag_invalid":
            name = str(context["discriminator"]).strip("'")
            right = context["expected_tags"].replace("'", "")
            hint = did_you_mean(context["tag"], right.split(", ")) or f"{right} are right"
            return document.error((*key, name), f"no such {name}: {context['tag']!r}", hint)
        case "literal_error":
            right = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            return document.error(key, message, did_you_mean(error["input"], right))
    return document.error(key, message, hints.of_value(error["type"], context))


def _stands(document: Document, part: str | int, loc: Path_) -> bool:
    """Drop the discriminator tags that pydantic puts into a location."""
    place = loc.index(part)
    return (
        part == loc[-1]
        or isinstance(part, int)
        or any(part in known for known in document.marks().lines if len(known) > place - 1)
    )


def _known_keys(model: type[BaseModel]) -> list[str]:
    """Every field name of a model and the models below it."""
    names: set[str] = set()
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        names.update(part.get("properties", {}))
    return sorted(names)

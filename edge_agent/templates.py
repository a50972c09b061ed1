"""Device templates: what a meter's registers mean, as data with a source.

``template: acrel-adw300`` in a device stands for the template's tags. The user gives what the
template cannot know: the transformer ratios it asks for, and the units an instrument was set to.
Every tag names the source it was taken from; a tag from a source that is not the maker's own
document makes the whole template unverified.
"""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent import documents
from edge_agent.documents import Document, Path_
from edge_agent.drivers.base import Seconds
from edge_agent.drivers.decode import Order, width
from edge_agent.drivers.modbus.config import Address, Forbidden, ModbusTag, Table
from edge_agent.errors import ConfigError

_HERE = Path(__file__).resolve().parent
_PLACES = (_HERE.parent / "configs" / "devices", _HERE / "configs" / "devices")
_MOST = 1_000_000  # no transformer has a larger ratio
_OF_USER = ("ratios", "units", "only", "template")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Source(_Strict):
    """Where register numbers were read.

    Args:
        document: title, number and version.
        where: page, table or section.
        status: verified when it is the maker's own text and was read for this template.
    """

    document: str = Field(min_length=5)
    where: str = Field(min_length=2)
    status: Literal["verified", "unverified"]
    note: str = ""


class TemplateTag(ModbusTag):
    """A tag of a template.

    Args:
        source: key of ``sources``.
        times: ratios that its scale and range are multiplied by.
    """

    source: str
    times: tuple[str, ...] = ()


class Mark(_Strict):
    """A register by which ``scan`` knows the device.

    Args:
        contains: part of the text it holds.
        between: lowest and highest value it holds.
        block: first address and number of registers to read, where the device gives the register
            only with others.
    """

    table: Table = "holding"
    address: Address
    type: Literal["uint16", "int16", "uint32", "float32", "string"]
    length: int = Field(default=1, ge=1, le=40)
    contains: str | None = None
    between: tuple[float, float] | None = None
    block: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if (self.contains is None) == (self.between is None):
            raise ValueError("a mark has either contains (of a string) or between")
        if (self.type == "string") != (self.contains is not None):
            raise ValueError("contains belongs to a string, between to a number")
        end = self.address + (self.length if self.type == "string" else width(self.type))
        if self.block and not self.block[0] <= self.address < end <= sum(self.block) <= 65536:
            raise ValueError("block is first address and number of registers, around the mark")
        return self


class Template(_Strict):
    """One device template file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]+$")
    maker: str
    model: str
    kind: Literal["electricity", "gas", "steam", "flow"]
    accuracy_class: str
    accuracy_status: Literal["verified", "unverified"] = "unverified"
    notes: str = ""
    sources: dict[str, Source] = Field(min_length=1)
    order: Order = "ABCD"
    max_registers: int = Field(ge=1, le=125)
    max_gap: int = Field(default=8, ge=0, le=121)
    pause_s: float = Field(default=0, ge=0, le=60)
    timeout_s: Seconds = 1.0
    forbidden: tuple[Forbidden, ...] = ()
    ratios: dict[str, str] = Field(default_factory=dict)
    units: dict[str, str] = Field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    tags: tuple[TemplateTag, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _refers_to_what_exists(self) -> Self:
        for tag in self.tags:
            if tag.source not in self.sources:
                raise ValueError(f"tag {tag.id}: no source {tag.source!r}")
            for name in tag.times:
                if name not in self.ratios:
                    raise ValueError(f"tag {tag.id}: no ratio {name!r}")
        ids = [tag.id for tag in self.tags]
        if len(set(ids)) != len(ids):
            raise ValueError("a tag id stands twice")
        return self

    def status(self, tags: Sequence[TemplateTag]) -> Literal["verified", "unverified"]:
        """Verified when every one of these tags comes from a verified source."""
        statuses = {self.sources[tag.source].status for tag in tags}
        return "verified" if statuses == {"verified"} else "unverified"


def names(folder: Path | None = None) -> list[str]:
    """All templates there are."""
    places = (folder,) if folder else _PLACES
    return sorted({file.stem for place in places for file in place.glob("*.yaml")})


def find(name: str, folder: Path | None = None) -> tuple[Template, str]:
    """The template with this name, and the SHA-256 of its file.

    Raises:
        ConfigError: there is none; names those there are.
    """
    for place in (folder,) if folder else _PLACES:
        path = place / f"{name}.yaml"
        if path.is_file():
            return read(path)
    raise ConfigError(
        f"there is no device template {name!r}",
        key="template",
        right=f"known: {', '.join(names(folder))}",
    )


def read(path: Path) -> tuple[Template, str]:
    """A template file, and its SHA-256.

    Raises:
        ConfigError: the file breaks the schema, or its name is not the template's.
    """
    document = documents.load(path)
    template = documents.validate(document, Template)
    if template.name != path.stem:
        raise document.error(("name",), f"is {template.name!r} in a file named {path.name}")
    return template, hashlib.sha256(path.read_bytes()).hexdigest()


def expand(document: Document, folder: Path | None = None) -> None:
    """Replace every ``template`` of the document's devices by its tags, in place.

    Tag ids become ``device.tag``. What the user writes about the line and the limits stands.

    Raises:
        ConfigError: the template is unknown, or what it asks for is missing or not its own.
    """
    devices = document.value.get("devices") if isinstance(document.value, dict) else None
    for place, device in enumerate(devices if isinstance(devices, list) else []):
        if isinstance(device, dict) and isinstance(device.get("template"), str):
            _expand(device, document, ("devices", place), folder)


def _expand(device: dict[str, Any], document: Document, key: Path_, folder: Path | None) -> None:
    try:
        template, sha256 = find(device["template"], folder)
    except ConfigError as error:
        raise document.error((*key, "template"), error.message, error.right) from None
    if "tags" in device:
        raise document.error(
            (*key, "tags"), "stands beside template", "only: [tag, ...] picks tags of a template"
        )
    ratios = _given(device, "ratios", template.ratios, document, key)
    units = _given(device, "units", template.units, document, key)
    picked = _picked(device, template, document, key)
    for name in _OF_USER:
        device.pop(name, None)
    used = dict.fromkeys(tag.source for tag in picked)
    device.setdefault("driver", "modbus")
    for name in ("order", "max_registers", "max_gap", "pause_s", "timeout_s"):
        device.setdefault(name, getattr(template, name))
    device.setdefault("forbidden", [span.model_dump() for span in template.forbidden])
    device["template"] = {
        "name": template.name,
        "sha256": sha256,
        "status": template.status(picked),
        "source": "; ".join(template.sources[name].document for name in used),
    }
    device["tags"] = [_tag(tag, str(device.get("id")), ratios, units) for tag in picked]


def _given(
    device: dict[str, Any], name: str, wanted: dict[str, str], document: Document, key: Path_
) -> dict[str, Any]:
    """What the user gives under ``name``: exactly what the template asks for."""
    given = device.get(name, {})
    right = f"{name}: {{{', '.join(f'{word}: …' for word in wanted)}}} is right" if wanted else ""
    if not isinstance(given, dict):
        raise document.error((*key, name), f"found {given!r}", right)
    for word, meaning in wanted.items():
        if word not in given:
            raise document.error((*key, name), f"the template needs {word}: {meaning}", right)
    for word in given:
        if word not in wanted:
            raise document.error((*key, name, word), "the template does not ask for this", right)
        if name == "ratios" and not _is_ratio(given[word]):
            raise document.error((*key, name, word), f"found {given[word]!r}", "a number above 0")
    return given


def _is_ratio(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MOST


def _picked(
    device: dict[str, Any], template: Template, document: Document, key: Path_
) -> list[TemplateTag]:
    only = device.get("only")
    if only is None:
        return list(template.tags)
    known = [tag.id for tag in template.tags]
    for name in only if isinstance(only, list) and only else [only]:
        if name not in known:
            raise document.error((*key, "only"), f"found {name!r}", f"known: {', '.join(known)}")
    return [tag for tag in template.tags if tag.id in only]


def _tag(
    tag: TemplateTag, device: str, ratios: dict[str, Any], units: dict[str, Any]
) -> dict[str, Any]:
    plain = tag.model_dump(exclude={"source", "times"}, exclude_defaults=True)
    scale = Decimal(tag.scale)
    for name in tag.times:
        scale *= Decimal(str(ratios[name]))
    if tag.range is not None:
        wider = float(scale / Decimal(tag.scale))
        plain["range"] = [tag.range[0] * wider, tag.range[1] * wider]
    plain["id"] = f"{device}.{tag.id}"
    plain["scale"] = f"{scale.normalize():f}"
    plain["unit"] = tag.unit.format_map({name: str(unit) for name, unit in units.items()})
    return plain

"""``edge-agent scan modbus TARGET``: which units answer on a line, and what they may be.

It only reads: one holding register of every unit, and the registers by which the device templates
know their devices. It asks slowly, one question at a time, and no longer than ``--limit`` seconds.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edge_agent import templates
from edge_agent.clock import NS_PER_S, Clock, SystemClock
from edge_agent.commands.tables import table
from edge_agent.drivers.decode import Order, Words, width
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.frames import FUNCTIONS, Question
from edge_agent.drivers.modbus.line import Line
from edge_agent.errors import ConfigError, DeviceError, NoAnswer, Refused
from edge_agent.templates import Mark, Template

_FIRST = Question(1, FUNCTIONS["holding"], 0, 1)
_TARGET = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\[\]]+)(?::(?P<port>\d{1,5}))?")
_UNITS = re.compile(r"\d{1,3}(-\d{1,3})?(,\d{1,3}(-\d{1,3})?)*")


@dataclass(frozen=True, slots=True)
class Found:
    """A unit that answered: how, and which templates fit what its registers hold."""

    unit: int
    answer: str
    names: tuple[str, ...]
    held: str


def add(verbs: Any) -> None:
    """Add the verb to the program's parser."""
    help_ = "Look for devices on a line, slowly and without writing anything."
    parser = verbs.add_parser("scan", help=help_, description=help_)
    kinds = parser.add_subparsers(dest="protocol", required=True)
    modbus = kinds.add_parser("modbus", help="Modbus units behind a host or serial port")
    modbus.add_argument("target", help="HOST, HOST:PORT or a serial port such as /dev/ttyUSB0")
    modbus.add_argument("--units", default="1-247", help="such as 1-32,100 (default: 1-247)")
    transports = ("tcp", "rtu_over_tcp", "udp", "tls")
    modbus.add_argument("--transport", choices=transports, default="tcp")
    modbus.add_argument("--ca", help="tls: certificates that may have signed the server's")
    modbus.add_argument("--cert", help="tls: our certificate")
    modbus.add_argument("--key", help="tls: its private key")
    modbus.add_argument("--server-name", help="tls: the server's name, where it is not HOST")
    modbus.add_argument("--baud", type=int, default=9600, help="of a serial port")
    modbus.add_argument("--parity", choices=("none", "even", "odd"), default="none")
    modbus.add_argument("--stop-bits", type=int, choices=(1, 2), default=1)
    modbus.add_argument("--timeout", type=float, default=0.5, help="for one answer, in s")
    modbus.add_argument("--pause", type=float, default=0.1, help="between two questions, in s")
    modbus.add_argument("--limit", type=float, default=600.0, help="for all of it, in s")
    modbus.set_defaults(function=scan_modbus)


def scan_modbus(args: argparse.Namespace) -> int:
    """Look for Modbus units and print what was found."""
    config, units = target(args), unit_numbers(args.units)
    return asyncio.run(_scan(config, units, args.limit))


def target(args: argparse.Namespace) -> ModbusConfig:
    """The line to scan.

    Raises:
        ConfigError: the target or an option is not one.
    """
    plain: dict[str, Any] = {
        "driver": "modbus",
        "id": "scan",
        "unit": 1,
        "interval_s": 1,
        "timeout_s": args.timeout,
        "pause_s": args.pause,
        "tags": [{"id": "first", "address": 0, "type": "uint16"}],
    }
    if "/" in args.target:
        serial = {"port": args.target, "baud": args.baud, "parity": args.parity}
        plain |= {"transport": "rtu", "serial": serial | {"stop_bits": args.stop_bits}}
    elif match := _TARGET.fullmatch(args.target):
        plain |= {"transport": args.transport, "host": match["host"].strip("[]")}
        plain |= {"port": int(match["port"])} if match["port"] else {}
        plain |= _tls(args)
    else:
        right = "HOST, HOST:PORT or /dev/ttyUSB0 is right"
        raise ConfigError(f"{args.target!r} is no line", key="TARGET", right=right)
    try:
        return ModbusConfig.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{first['msg']}; found {first['input']!r}", key=key) from None


def _tls(args: argparse.Namespace) -> dict[str, Any]:
    """The TLS files of the line; nothing for other transports."""
    given = {"ca": args.ca, "cert": args.cert, "key": args.key, "server_name": args.server_name}
    right = "--transport tls --ca CA.pem --cert OWN.pem --key OWN.key is right"
    if args.transport != "tls":
        for name in (name for name, value in given.items() if value is not None):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"belongs to tls, not to {args.transport}", key=option, right=right)
        return {}
    for name in ("ca", "cert", "key"):
        if given[name] is None:
            raise ConfigError("is missing", key=f"--{name}", right=right)
        if not Path(given[name]).is_file():
            raise ConfigError(f"there is no file {given[name]!r}", key=f"--{name}", right=right)
    return {"tls": given}


def unit_numbers(text: str) -> list[int]:
    """Unit ids from a text such as ``1-32,100``.

    Raises:
        ConfigError: it is no such text, or a number is not between 1 and 247.
    """
    right = "such as 1-32,100, from 1 to 247"
    if not _UNITS.fullmatch(text):
        raise ConfigError(f"{text!r} names no units", key="--units", right=right)
    units: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        units.update(range(int(first), int(last or first) + 1))
    if not units or min(units) < 1 or max(units) > 247:
        raise ConfigError(f"{text!r} goes beyond 1 to 247", key="--units", right=right)
    return sorted(units)


async def search(
    config: ModbusConfig,
    units: Sequence[int],
    clock: Clock,
    *,
    limit_s: float,
    tell: Callable[[str], None],
) -> tuple[list[Found], str]:
    """The units that answer, and what cut the search short or spoiled it (empty: nothing).

    Raises:
        NoAnswer: the line itself cannot be opened.
    """
    line = Line(config, clock)
    line.join()
    found: list[Found] = []
    end_ns = clock.monotonic_ns() + round(limit_s * NS_PER_S)
    try:
        for unit in units:
            if clock.monotonic_ns() >= end_ns:
                return found, f"stopped before unit {unit}: --limit {limit_s:g} s is over"
            answer, error = await _first_answer(line, config, unit)
            if answer is not None:
                names, held = await _known(line, config, unit)
                found.append(Found(unit, answer, names, held))
                tell(f"unit {unit}: {answer} {', '.join(names)}")
            if error is not None and not line.stats.connections:
                raise error
    finally:
        line.leave()
    late = line.stats.late + line.stats.strays
    return found, "answers came after --timeout; try a longer one" if late else ""


async def _scan(config: ModbusConfig, units: Sequence[int], limit_s: float) -> int:
    def tell(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    tell(f"{config.place}: asking {len(units)} units")
    found, trouble = await search(config, units, SystemClock(), limit_s=limit_s, tell=tell)
    rows = [("UNIT", "ANSWERS WITH", "MAY BE", "HOLDS")]
    rows += [(str(f.unit), f.answer, ", ".join(f.names) or "unknown", f.held) for f in found]
    print("\n".join(table(rows)) if found else f"{config.place}: no unit answered")
    if trouble:
        print(trouble)
    return 0 if found else 1


async def _first_answer(
    line: Line, config: ModbusConfig, unit: int
) -> tuple[str | None, DeviceError | None]:
    """How a unit answers the plainest question (None: it does not), and what went wrong."""
    question = Question(unit, _FIRST.function, _FIRST.address, _FIRST.count)
    try:
        await line.ask(config, question)
    except Refused as refusal:
        return f"exception {refusal.code}", None
    except NoAnswer as error:
        return None, error
    except DeviceError as error:
        return f"something else: {error}", error
    return "a value", None


async def _known(line: Line, config: ModbusConfig, unit: int) -> tuple[tuple[str, ...], str]:
    """The templates all of whose marks fit, and what those marks hold."""
    names: list[str] = []
    seen: dict[tuple[Order, Mark], str | float | None] = {}
    for template in _marked():
        for mark in template.marks:
            key = (template.order, mark)
            if key not in seen:
                seen[key] = await _held(line, config, unit, key)
            if not _fits(mark, seen[key]):
                break
        else:
            names.append(template.name)
    texts = [value for value in seen.values() if isinstance(value, str) and value.isprintable()]
    return tuple(names), "; ".join(dict.fromkeys(filter(None, texts)))


def _marked() -> Iterator[Template]:
    for name in templates.names():
        template, _ = templates.find(name)
        if template.marks:
            yield template


async def _held(
    line: Line, config: ModbusConfig, unit: int, key: tuple[Order, Mark]
) -> str | float | None:
    order, mark = key
    count = mark.length if mark.type == "string" else width(mark.type)
    first, size = mark.block or (mark.address, count)
    try:
        answer = await line.ask(config, Question(unit, FUNCTIONS[mark.table], first, size))
    except DeviceError:
        return None
    words = Words(answer.values)
    if mark.type == "string":
        return words.text(mark.address - first, count, order)
    return words.number(mark.address - first, mark.type, order)


def _fits(mark: Mark, held: str | float | None) -> bool:
    if held is None:
        return False
    if isinstance(held, str):
        return mark.contains is not None and mark.contains in held
    return mark.between is not None and mark.between[0] <= held <= mark.between[1]

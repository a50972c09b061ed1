"""What a user writes about a Modbus device, and what devices that share a line must agree on."""

import os
from collections.abc import Hashable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edge_agent.drivers.base import DeviceConfig, Host, Seconds, Tag
from edge_agent.drivers.decode import Kind, Order, width
from edge_agent.errors import ConfigError, WrongPart

Table = Literal["holding", "input", "coil", "discrete"]
Transport = Literal["tcp", "rtu", "rtu_over_tcp", "tls", "udp"]
BIT_TABLES = ("coil", "discrete")
MAX_REGISTERS = 125  # Modbus application protocol V1.1b3, 6.3 and 6.4
MAX_BITS = 2000  # the same, 6.1 and 6.2
_PORT = 502
_TLS_PORT = 802  # Modbus/TCP Security V36, 5
Address = Annotated[int, Field(ge=0, le=65535)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ModbusTag(Tag):
    """One value in one table.

    Args:
        order: overrides the device's.
        mask: bits of an integer that make up the value, shifted down to its lowest bit; of a
            bool, the bits any of which makes it 1.
        length: registers of a ``string``.
        texts: what each text of a ``string`` stands for, as a number; others are bad.
        count: of a totaliser in a float, how much of the register's number one count is.
        absent: raw integers by which the device says that it has no value.
    """

    table: Table = "holding"
    address: Address
    type: Kind | Literal["string"]
    order: Order | None = None
    mask: int | None = Field(default=None, ge=1, lt=2**64)
    length: int | None = Field(default=None, ge=1, le=MAX_REGISTERS)
    texts: dict[str, int] | None = Field(default=None, min_length=1)
    count: Annotated[Decimal, Field(gt=0, le=10**9)] | None = None
    absent: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """Number of addresses the value takes."""
        return (self.length or 1) if self.type == "string" else width(self.type)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.table in BIT_TABLES and (self.type != "bool" or self.mask is not None):
            raise ValueError(f"a {self.table} has type bool and no mask, not {self.type}")
        if self.address + self.width > 65536:
            raise ValueError(f"{self.type} at {self.address} reaches beyond address 65535")
        return self

    @model_validator(mode="after")
    def _check_text(self) -> Self:
        given = (self.length is not None, self.texts is not None)
        if self.type == "string" and given != (True, True):
            raise ValueError("a string needs length (registers) and texts (text: number)")
        if self.type != "string" and any(given):
            raise ValueError(f"length and texts belong to a string, not to {self.type}")
        return self

    @model_validator(mode="after")
    def _check_mask(self) -> Self:
        if self.mask is None:
            return self
        if not self.type.startswith(("bool", "uint")):
            raise ValueError(f"a mask belongs to bool or an unsigned integer, not to {self.type}")
        if self.mask >> 16 * self.width:
            raise ValueError(f"mask {self.mask:#x} is wider than {self.type}")
        return self

    @model_validator(mode="after")
    def _check_count(self) -> Self:
        is_float = self.type.startswith("float")
        if self.totaliser is not None and self.type in ("bool", "string"):
            raise ValueError(f"a totaliser counts in a number, not in a {self.type}")
        if (self.count is not None) != (is_float and self.totaliser is not None):
            raise ValueError("count belongs to, and is needed by, a totaliser in a float")
        return self


class ClockRegister(_Strict):
    """Where a device keeps its own UTC, as an int64 count of ``unit`` since 1970."""

    address: Annotated[int, Field(ge=0, le=65532)]
    type: Literal["int64"] = "int64"
    unit: Literal["ns", "ms", "s"] = "ns"
    table: Literal["holding", "input"] = "holding"
    order: Order | None = None


class SerialPort(_Strict):
    """A serial port and how it is set; Modbus RTU has 8 data bits.

    Args:
        port: device file; a link below /dev/serial/by-id survives re-plugging.
    """

    port: str = Field(min_length=1)
    baud: Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1


class ClientTls(_Strict):
    """Modbus/TCP Security: who the server must be, and who we are.

    Args:
        ca: certificates that may have signed the server's; no others are trusted.
        cert: our certificate, with its chain.
        key: its private key.
        server_name: name in the server's certificate, where it is not ``host``.
    """

    ca: Path
    cert: Path
    key: Path
    server_name: str | None = None


class Forbidden(_Strict):
    """Addresses ``first`` to ``last`` of a table, which no request may touch."""

    table: Table = "holding"
    first: Address
    last: Address

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError("first is not above last")
        return self


class TemplateRef(_Strict):
    """The device template that the tags came from; filled in when it is expanded."""

    name: str
    sha256: str
    status: Literal["verified", "unverified"]
    source: str


def _default_port(known: dict[str, Any]) -> int | None:
    transport = known.get("transport")
    return None if transport == "rtu" else _TLS_PORT if transport == "tls" else _PORT


class ModbusConfig(DeviceConfig):
    """One unit on a Modbus line.

    Args:
        transport: ``rtu`` needs ``serial``, the others ``host``; ``tls`` needs ``tls`` too.
        port: 502 when not given, 802 for TLS.
        interval_s: time from one poll to the next [s].
        max_registers: most registers a request may ask for (16 times as many coils).
        max_gap: most unwanted registers a request may read along (16 times as many coils).
        pause_s: least silence on the line before a request to this device [s].
        late_s: RTU: how long after a time-out the late answer may still come [s]; when not
            given, ``timeout_s`` once more.
        forbidden: addresses that no request may touch.
        clock_register: when set, its time stamps all samples of a poll.
    """

    driver: Literal["modbus"]
    transport: Transport = "tcp"
    host: Host | None = None
    port: int | None = Field(default_factory=_default_port, ge=1, le=65535)
    serial: SerialPort | None = None
    tls: ClientTls | None = Field(default=None, exclude=True)
    unit: int = Field(ge=1, le=247)
    interval_s: Seconds
    order: Order = "ABCD"
    max_registers: int = Field(default=MAX_REGISTERS, ge=1, le=MAX_REGISTERS)
    max_gap: int = Field(default=8, ge=0, le=121)
    pause_s: float = Field(default=0, ge=0, le=60)
    late_s: Seconds | None = None
    forbidden: tuple[Forbidden, ...] = ()
    clock_register: ClockRegister | None = None
    template: TemplateRef | None = None
    tags: tuple[ModbusTag, ...]

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        wanted = {"serial"} if self.transport == "rtu" else {"host", "port"}
        wanted |= {"tls"} if self.transport == "tls" else set()
        given = {
            name for name in ("host", "port", "serial", "tls") if getattr(self, name) is not None
        }
        for name in sorted(wanted - given):
            raise ValueError(f"transport {self.transport} needs {name}")
        for name in sorted(given - wanted):
            raise WrongPart(f"{name} does not belong to transport {self.transport}", name)
        return self

    def certificate_files(self) -> tuple[Path, ...]:
        """Our certificate and the authority's, with transport ``tls``."""
        return (self.tls.cert, self.tls.ca) if self.tls is not None else ()

    @property
    def has_transaction_ids(self) -> bool:
        """True where an answer names its question."""
        return self.transport in ("tcp", "tls", "udp")

    @property
    def line_key(self) -> Hashable:
        """The same for all devices on one line, however it is written."""
        if self.serial is not None:
            return ("serial", os.path.realpath(self.serial.port))
        kind = "udp" if self.transport == "udp" else "tcp"
        return (kind, (self.host or "").lower(), self.port)

    @property
    def line_settings(self) -> tuple[object, ...]:
        """What all devices of one line must agree on."""
        serial = self.serial and (self.serial.baud, self.serial.parity, self.serial.stop_bits)
        return (self.transport, serial, self.tls)

    @property
    def place(self) -> str:
        """The line in words, for messages."""
        return self.serial.port if self.serial is not None else f"{self.host}:{self.port}"


def check_same_line(first: ModbusConfig, second: ModbusConfig) -> None:
    """Raise ConfigError when these two set their common line differently."""
    if first.line_settings != second.line_settings:
        raise ConfigError(
            f"devices {first.id!r} and {second.id!r} share {first.place} but set it differently: "
            f"{_words(first)} and {_words(second)}",
            right="one line has one transport, one baud rate, parity and stop bits, one TLS set",
        )


def _words(device: ModbusConfig) -> str:
    serial = device.serial
    if serial is None:
        return f"transport {device.transport}"
    return f"{serial.baud} baud, parity {serial.parity}, {serial.stop_bits} stop bit(s)"

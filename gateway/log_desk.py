"""Verbs about the log: ``checkpoint``, ``timestamp``, ``log``, ``log-export`` and ``witness``."""

import argparse
import json
import signal
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from edge_agent.clock import SystemClock
from edge_agent.errors import CarbonError, ConfigError
from edge_agent.wire import certificates, keys, notes
from edge_agent.wire.notes import NoteKey
from gateway import checkpoints, day_records, tiles, timestamp_http
from gateway import config as config_
from gateway.config import GatewayConfig, Section
from gateway.ledger import Ledger
from gateway.stamps import Stamper
from gateway.trust import statements
from gateway.trust.enrolment import pinned
from gateway.trust.people import load_people
from gateway.trust.persons import NEVER_NS
from gateway.witness import Witness
from gateway.witness_http import serving

FAILED = 1


def checkpoint(args: argparse.Namespace) -> int:
    """State the log as it is now, signed, and print the checkpoint."""
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        made = checkpoints.of_config(ledger, config).now(SystemClock().utc_ns())
        if made is None:
            print("the ledger is empty")
            return FAILED
        print(made.note + "".join(ledger.tree.cosignatures(made.size)), end="")
    return 0


def show(args: argparse.Namespace) -> int:
    """Show the log: origin, public key, checkpoints and who cosigned them."""
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        key = checkpoints.log_key(config)
        print(f"origin      {key.name}")
        print(f"public key  {key.public.hex()}")
        print(f"leaves      {ledger.tree.size()}")
        tree = ledger.tree
        for made in tree.checkpoints()[-args.last :]:
            names = [line.split(" ")[1] for line in tree.cosignatures(made.size)]
            witnessed = ", ".join(names) or "not witnessed"
            times = [f"stamped by {one.authority}" for one in tree.stamps(made.size, made.size)]
            print(
                f"checkpoint  {made.size:10d}  {made.root.hex()}  {', '.join([witnessed, *times])}"
            )
        for site in ledger.sites():
            records = day_records.of_site(ledger.documents.of_kind(day_records.KIND, site))
            for one in records[-args.last :]:
                closed = certificates.from_ns(one.at_ns).isoformat(timespec="seconds")
                print(
                    f"day  {site} {one.day}  leaves {one.first}-{one.last}  "
                    f"checkpoint {one.size}  closed {closed}"
                )
    return 0


def stamp(args: argparse.Namespace) -> int:
    """State the log as it is now and have every configured authority stamp it."""
    config = config_.load(args.config)
    clients, clock = timestamp_http.clients(config), SystemClock()
    if not clients:
        message = "names no authority"
        raise ConfigError(message, file=str(args.config), key="log.timestamps")
    outcome = 0
    with closing(Ledger(config.ledger_path)) as ledger:
        made = checkpoints.of_config(ledger, config).now(clock.utc_ns())
        if made is None:
            print("the ledger is empty")
            return FAILED
        stamper = Stamper(ledger, clients)
        for client in clients:
            try:
                got, token = stamper.fetch(client, made)
            except CarbonError as error:
                print(f"{client.authority.name}: {error}", file=sys.stderr)
                outcome = FAILED
                continue
            stamper.keep(replace(got, at_ns=clock.utc_ns()))
            print(
                f"{client.authority.name}: {made.size} leaves existed before {token.before}, "
                f"policy {token.policy}, serial {token.serial}"
            )
    return outcome


def trust(args: argparse.Namespace) -> int:
    """Print a trust file of this gateway; a verifier compares its keys with what was told."""
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        log = checkpoints.log_key(config)
        enrolled = _without_enrolment(config, ledger)
    own = {keys.load_signer(config.keys.ack).kid, *(one.kid for one in config_.former_keys(config))}
    gateway = {kid.hex() for kid in own}
    print(f"trusted = {json.dumps(sorted({*gateway, *enrolled}), indent=2)}")
    print(f"quorum = {min(1, len(config.log.witnesses))}")
    print(f'approval = "{config.approval}"')
    print(f'\n[log]\norigin = "{log.name}"\nkey = "{log.public.hex()}"')
    for authority in pinned(config):
        pem = authority.public_bytes(Encoding.PEM).decode("ascii")
        print(f"\n[[ca]]\ncertificate = '''\n{pem}'''")
    for person in load_people(config):
        print(f"\n[[person]]\nname = {json.dumps(person.name, ensure_ascii=False)}")
        print(f'key = "{person.public.spki.hex()}"\nroles = {json.dumps(sorted(person.roles))}')
        if person.revoked_ns != NEVER_NS:
            print(f"revoked = {certificates.from_ns(person.revoked_ns).isoformat()}")
    for one in config.log.witnesses:
        spki = keys.public_key(one.public_key.read_bytes()).spki
        public = notes.note_key(one.name, spki).public
        print(f'\n[[witness]]\nname = "{one.name}"\nkey = "{public.hex()}"')
    for client in timestamp_http.clients(config):
        known = client.authority
        print(f'\n[[timestamp]]\nname = "{known.name}"\npolicy = "{known.policy}"\nroots = \'\'\'')
        for root in known.roots:
            print(root.public_bytes(Encoding.PEM).decode("ascii"), end="")
        print("'''")
    return 0


def _without_enrolment(config: GatewayConfig, ledger: Ledger) -> list[str]:
    """Ids of the agents' keys that a verifier has to be told: no CA stands for them."""
    told = ledger.key_ring().enrolments()
    if config.authorities:
        decided = {
            statements.unchecked(one.raw).get("spki") for one in ledger.documents.all("enrol")
        }
        told = [one for one in told if one.public.spki not in decided]
    return [one.public.kid.hex() for one in told]


def export(args: argparse.Namespace) -> int:
    """Write the log up to its newest checkpoint as a folder of static files."""
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        made = ledger.tree.checkpoint()
        if made is None:
            print("there is no checkpoint yet")
            return FAILED
        count = tiles.export(ledger.tree, made, args.out)
    print(f"{count} files of {made.size} leaves in {args.out}")
    return 0


class KnownLog(Section):
    """A log that a witness knows."""

    origin: str
    public_key: str = Field(pattern=r"^[0-9a-f]{64}$")


class WitnessFile(Section):
    """The witness's file."""

    name: str = Field(min_length=1, max_length=200)
    key: config_.FilePath
    state_dir: config_.FilePath
    host: str = "127.0.0.1"
    port: int = Field(default=8091, ge=0, le=65_535)
    logs: list[KnownLog] = Field(min_length=1)


def witness(args: argparse.Namespace) -> int:
    """Run a witness until SIGTERM or SIGINT."""
    file = config_.load_as(args.config, WitnessFile)
    signer = keys.load_signer(file.key)
    try:
        notes.note_key(file.name, signer.public_spki())
    except CarbonError as error:
        raise ConfigError(str(error), file=str(args.config), key="name") from error
    logs = [NoteKey(one.origin, bytes.fromhex(one.public_key)) for one in file.logs]
    state = Witness(file.state_dir / "witness.sqlite", file.name, signer, logs, SystemClock())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serving(state, file.host, file.port) as (host, port):
        print(f"witness {file.name} listens on http://{host}:{port}", flush=True)
        stop.wait()
    return 0


def add_config(parser: argparse.ArgumentParser) -> None:
    """The configuration's argument."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the file")


def add_last(parser: argparse.ArgumentParser) -> None:
    """How much of the log is shown."""
    parser.add_argument(
        "--last", type=int, default=10, help="this many checkpoints, and days of each site"
    )


def add_out(parser: argparse.ArgumentParser) -> None:
    """Where an export goes."""
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")

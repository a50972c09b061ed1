"""``carbon-gateway``: one function a verb. Exit codes: 0 ok, 1 failed, 2 usage or configuration."""

import argparse
import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import CarbonError, ConfigError, KeyFileError, StoreError
from edge_agent.process import harden
from edge_agent.wire import certificates, keys
from gateway import (
    audit,
    checkpoints,
    day_closing,
    desk,
    factor_desk,
    ledger_audit,
    log_desk,
    month_desk,
    office,
    stamps,
    timestamp_http,
)
from gateway.config import GatewayConfig, key_ring, load
from gateway.ingest.service import serve
from gateway.ledger import Ledger
from gateway.store import PointStore, open_store
from gateway.trust import closed_months
from gateway.trust.enrolment import key_states, pinned
from gateway.trust.keybook import KeyBook, open_keybook
from gateway.trust.people import load_people

OK, FAILED, USAGE = 0, 1, 2
Arguments = argparse.Namespace
_SHOWN_DIFFERENCES = 50


@dataclass(frozen=True, slots=True)
class Verb:
    """A word of the command line: what it does, what it takes, and the function behind it."""

    name: str
    help: str
    run: Callable[[Arguments], int]
    arguments: tuple[Callable[[argparse.ArgumentParser], None], ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    harden()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    try:
        return int(arguments.run(arguments))
    except (ConfigError, KeyFileError) as error:
        print(f"carbon-gateway: {_placed(error, arguments)}", file=sys.stderr)
        return USAGE
    except CarbonError as error:
        print(f"carbon-gateway: {error}", file=sys.stderr)
        return FAILED


def run(arguments: Arguments) -> int:
    """Receive, verify, keep and acknowledge until SIGTERM or SIGINT."""
    config = load(arguments.config)
    try:
        asyncio.run(_until_stopped(config, SystemClock()))
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")
    return OK


async def _until_stopped(config: GatewayConfig, clock: Clock) -> None:
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await serve(config, clock)


def new_key(arguments: Arguments) -> int:
    """Make a private key and print its id."""
    print(keys.create_signer(arguments.path).kid.hex())
    return OK


def check(arguments: Arguments) -> int:
    """Read the configuration and every key it names."""
    config = load(arguments.config)
    enrolments = key_ring(config).enrolments()
    load_people(config)
    pinned(config)
    timestamp_http.clients(config)
    signer = keys.load_signer(config.keys.ack)
    print(f"{arguments.config}: good; {len(enrolments)} enrolled keys")
    print(f"ack key {signer.kid.hex()}")
    return OK


def _check_ledger(ledger: Ledger, config: GatewayConfig) -> int:
    checked = ledger_audit.check(ledger, checkpoints.log_key(config))
    print(
        f"ledger: {checked.batches} batches, {checked.leaves} leaves, "
        f"{checked.checkpoints} checkpoints, {len(checked.findings)} findings"
    )
    for finding in checked.findings:
        print(f"  {finding}")
    return FAILED if checked.findings else OK


def rebuild(arguments: Arguments) -> int:
    """Make the store again from the ledger."""
    with _opened(load(arguments.config)) as (ledger, store):
        for site in _sites(arguments, ledger):
            print(f"{site}: {audit.rebuild(ledger, store, site)} batches written")
    return OK


def compare(arguments: Arguments) -> int:
    """Compare the ledger with its roots, and the store with the ledger."""
    config = load(arguments.config)
    if arguments.ledger_only:
        with closing(Ledger(config.ledger_path)) as ledger:
            return _check_ledger(ledger, config)
    with _opened(config) as (ledger, store):
        outcome = _check_ledger(ledger, config)
        for site in _sites(arguments, ledger):
            differences = audit.compare(ledger, store, site)
            print(f"{site}: {len(differences)} differing hours")
            for difference in differences[:_SHOWN_DIFFERENCES]:
                print(
                    f"  {difference.series} hour {difference.hour_ns}: {difference.rows} rows,"
                    f" ledger {difference.expected}, store {difference.found}"
                )
            outcome = FAILED if differences else outcome
    return outcome


def status(arguments: Arguments) -> int:
    """Show where every agent stands."""
    config = load(arguments.config)
    with _opened(config) as (ledger, store):
        book = open_keybook(config, ledger.documents)
        sources = sorted({one.source for one in book.enrolments()})
        agents = [_agent_status(ledger, book, *source) for source in sources]
        unknown = {
            count.reason: count.messages for count in ledger.quarantine_counts() if not count.site
        }
        points = {site: _points(store, site) for site in sorted({site for site, _ in sources})}
        names = [one.name for one in config.log.timestamps]
        times = stamps.standing(ledger, names, SystemClock().utc_ns())
        days = day_closing.standing(ledger)
        months = closed_months.standing(ledger, ledger.sites())
    ends = _certificate_ends(config, SystemClock().utc_ns())
    report = {
        "agents": agents,
        "points": points,
        "quarantine_unknown_source": unknown,
        "days": days,
        "months": months,
        "timestamps": times,
        "certificates": ends,
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return OK
    for line in (*agents, *days, *months, *times, *ends):
        print(" ".join(f"{key}={value}" for key, value in line.items()))
    print(f"points={points} quarantine_unknown_source={unknown}")
    return OK


def release(arguments: Arguments) -> int:
    """Let an agent that a fork has frozen go on; the decision stays in the ledger."""
    config = load(arguments.config)
    source = (arguments.site, arguments.agent)
    with closing(Ledger(config.ledger_path)) as ledger:
        if not ledger.is_frozen(*source):
            print(f"carbon-gateway: {'/'.join(source)} is not frozen", file=sys.stderr)
            return FAILED
        ledger.release(*source, SystemClock().utc_ns(), arguments.reason)
    return OK


def _agent_status(ledger: Ledger, book: KeyBook, site: str, agent: str) -> dict[str, Any]:
    head, span = ledger.head(site, agent), ledger.span(site, agent)
    return {
        "site": site,
        "agent": agent,
        "seq": head.seq,
        "hash": head.sha256.hex(),
        "first_ns": span[0] if span else None,
        "last_ns": span[1] if span else None,
        "batches": head.seq,
        "contiguous": ledger.contiguous(site, agent),
        "configs": len(ledger.config_digests(site, agent)),
        "forks": len(ledger.forks(site, agent)),
        "frozen": ledger.is_frozen(site, agent),
        "keys": key_states(book, site, agent, SystemClock().utc_ns()),
        "quarantine": {
            count.reason: count.messages
            for count in ledger.quarantine_counts()
            if (count.site, count.agent) == (site, agent)
        },
    }


def _certificate_ends(config: GatewayConfig, now_ns: int) -> list[dict[str, str]]:
    """Certificates of the gateway's file that end within 30 days."""
    tls = config.mqtt.tls
    files = {"mqtt.tls.cert": tls.cert, "mqtt.tls.ca": tls.ca} if tls else {}
    for place, one in enumerate(config.authorities):
        files[f"authorities[{place}].certificate"] = one.certificate
    return [
        {"certificate": key, "warning": said, "file": str(path)}
        for key, path in files.items()
        if path is not None and (said := certificates.file_warning(path, now_ns))
    ]


def _points(store: PointStore, site: str) -> int | None:
    """Number of points; None where the store cannot be asked."""
    try:
        return store.points(site)
    except StoreError:
        return None


@contextmanager
def _opened(config: GatewayConfig) -> Iterator[tuple[Ledger, PointStore]]:
    with closing(Ledger(config.ledger_path)) as ledger, closing(open_store(config)) as store:
        yield ledger, store


def _sites(arguments: Arguments, ledger: Ledger) -> list[str]:
    sites = ledger.sites()
    if arguments.site is None:
        return sites
    if arguments.site not in sites:
        message = f"the ledger has no site {arguments.site!r}"
        raise ConfigError(message, right=f"it has: {', '.join(sites) or 'none'}")
    return [arguments.site]


def _placed(error: CarbonError, arguments: Arguments) -> str:
    """The error's text, with the file it is about where the error does not name it."""
    config = getattr(arguments, "config", None)
    named = isinstance(error, KeyFileError) or bool(getattr(error, "file", ""))
    return str(error) if named or config is None else f"{config}: {error}"


def _config_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the gateway's file")


def _site_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", help="only this site")


def _ledger_only_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ledger-only", action="store_true", help="not the store; fit for a running gateway"
    )


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _release_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site")
    parser.add_argument("agent")
    parser.add_argument("--reason", required=True, help="who decided, and why")


# A new verb is a function and a line here.
VERBS: tuple[Verb, ...] = (
    Verb("run", "receive, verify, keep and acknowledge", run, (_config_argument,)),
    Verb("check", "check configuration and keys", check, (_config_argument,)),
    Verb("status", "show where every agent stands", status, (_config_argument, _json_option)),
    Verb(
        "audit",
        "compare store and ledger, ledger and log",
        compare,
        (_config_argument, _site_option, _ledger_only_option),
    ),
    Verb("rebuild", "make the store again", rebuild, (_config_argument, _site_option)),
    Verb("release", "let a frozen agent go on", release, (_config_argument, _release_arguments)),
    Verb("checkpoint", "state the log now", log_desk.checkpoint, (_config_argument,)),
    Verb("timestamp", "have the log stamped now", log_desk.stamp, (_config_argument,)),
    Verb("log", "show the log", log_desk.show, (_config_argument, log_desk.add_last)),
    Verb(
        "log-export",
        "write the log as static files",
        log_desk.export,
        (_config_argument, log_desk.add_out),
    ),
    Verb("trust", "print a trust file of this gateway", log_desk.trust, (_config_argument,)),
    Verb("witness", "run a witness of logs", log_desk.witness, (log_desk.add_config,)),
    Verb("report", "write a month's report and bundle", desk.report, (desk.add_report_arguments,)),
    Verb("verify", "check a bundle offline", desk.verify, (desk.add_verify_arguments,)),
    Verb("calc", "evaluate case files", desk.calc, (desk.add_calc_arguments,)),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="carbon-gateway", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="log more")
    words = parser.add_subparsers(required=True, metavar="VERB")
    for verb in VERBS:
        word = words.add_parser(verb.name, help=verb.help, description=verb.run.__doc__)
        for add in verb.arguments:
            add(word)
        word.set_defaults(run=verb.run)
    _add_keys(words)
    factor_desk.add_verbs(words)
    month_desk.add_verbs(words)
    office.add(words)
    return parser


def _add_keys(words: Any) -> None:
    subject = words.add_parser("keys", help="make keys")
    new = subject.add_subparsers(required=True, metavar="VERB").add_parser(
        "new", help="make a private key", description=new_key.__doc__
    )
    new.add_argument("path", type=Path, metavar="PATH", help="a file that does not exist yet")
    new.set_defaults(run=new_key)


if __name__ == "__main__":
    sys.exit(main())

"""Verbs for those who plan, enter and explain: ``plan``, ``lab``, ``explain``."""

import argparse
import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

from edge_agent import control_plan, documents, factor_sets
from edge_agent.clock import SystemClock
from edge_agent.errors import CarbonError, ConfigError, TrustError
from edge_agent.wire import keys
from gateway import config as config_
from gateway import explain as explain_
from gateway import forms, lab, plan_check
from gateway import verify as verify_
from gateway.config import GatewayConfig
from gateway.lab import LabDocument
from gateway.ledger import Ledger
from gateway.month import Entry
from gateway.plan_check import Plant
from gateway.reports import run as reports
from gateway.reports.basis import Proven
from gateway.trust import revoked_people
from gateway.trust.people import load_people

OK, FAILED = 0, 1


def check_plan(args: argparse.Namespace) -> int:
    """Find what a sector requires and the control plan does not give; exit code 1 if anything."""
    if (args.file is None) == (args.site is None):
        message = "a FILE or --site is needed, not both"
        raise ConfigError(message)
    plan, plant = _of_site(args) if args.site else _of_file(args.file)
    form = forms.find(plan["sector"])
    problems = plan_check.check(form, plan, plant)
    for text in problems:
        print(text)
    verdict = f"{len(problems)} problems" if problems else "good"
    print(f"plan {plan['id']} v{plan['version']} ({form.en} {form.zh}): {verdict}")
    return FAILED if problems else OK


def _of_file(path: Path) -> tuple[Any, Plant]:
    """A plan's file, or an agent's file that names one."""
    document = documents.load(path)
    value = document.value
    if not isinstance(value, dict) or "devices" not in value:
        return control_plan.to_plain(
            documents.validate(document, control_plan.ControlPlan)
        ), Plant()
    name = value.get("control_plan")
    if not isinstance(name, str):
        raise document.error(("control_plan",), "this agent names no control plan")
    plan = control_plan.to_plain(control_plan.read(path.resolve().parent / name))
    factors = factor_sets.find(str(value.get("factor_set")))
    return plan, plan_check.plant_of(value, factors)


def _of_site(args: argparse.Namespace) -> tuple[Any, Plant]:
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        configuration = reports.newest_configuration(ledger, args.site)
    plan = configuration.plain.get("control_plan")
    if plan is None:
        message = f"the agents of {args.site} have no control plan"
        raise ConfigError(message, key="control_plan", right="control_plan: plan.yaml in each")
    plan = {**plan, "parameters": configuration.plain["control_lines"]}
    return plan, plan_check.plant_of(configuration.plain, configuration.factors)


def add_lab(args: argparse.Namespace) -> int:
    """Sign one value and put it into the ledger."""
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        zone = reports.zone_of(ledger, args.site)
        plain = {
            "kind": args.kind,
            "item": args.item,
            "quantity": args.quantity,
            "value": args.value,
            "unit": args.unit,
            "time": lab.time_ns("--time", args.time, zone),
            "mass": args.mass_t,
            "uncertainty": args.uncertainty,
        }
        entry = lab.read_entry(plain, "lab add")
        return _enter(args, config, ledger, [entry])


def import_lab(args: argparse.Namespace) -> int:
    """Sign the values of a CSV or XLSX table and put them into the ledger, all or none."""
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        entries = lab.read_sheet(args.file, reports.zone_of(ledger, args.site))
        return _enter(args, config, ledger, entries, args.file)


def _enter(
    args: argparse.Namespace,
    config: GatewayConfig,
    ledger: Ledger,
    entries: list[Entry],
    *own: Path,
) -> int:
    signer = keys.load_signer(args.key)
    spki = signer.public_spki()
    now_ns = SystemClock().utc_ns()
    revoked_people.note(ledger, load_people(config), keys.load_signer(config.keys.ack), now_ns)
    author = _author(config, spki)
    version = ledger.lab_versions(args.site, args.document) + 1
    contents = [_content(path) for path in (*own, *args.attachment)]
    attachments = tuple(hashlib.sha256(content).digest() for content in contents)
    document = LabDocument(
        args.site, args.document, version, now_ns, author, tuple(entries), args.reason, attachments
    )
    raw = lab.sign(document, signer)
    for content in contents:
        ledger.add_attachment(content, now_ns)
    ledger.add_lab((args.site, args.document, version), raw, spki, now_ns)
    print(f"{args.document} v{version} by {author}: {len(entries)} entries")
    print(f"sha256 {hashlib.sha256(raw).hexdigest()}")
    return OK


def _content(path: Path) -> bytes:
    """A file that is kept beside the values and travels in the month's bundle.

    Raises:
        ConfigError: it cannot be read or is too large.
    """
    try:
        size = path.stat().st_size
        if size > lab.MAX_ATTACHMENT:
            message = f"{size} bytes"
            right = f"at most {lab.MAX_ATTACHMENT} bytes"
            raise ConfigError(message, file=str(path), key="--attachment", right=right)
        return path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(message, file=str(path), key="--attachment") from error


def _author(config: GatewayConfig, spki: bytes) -> str:
    """The person whose key this is.

    Raises:
        ConfigError: nobody's.
    """
    try:
        kid = keys.key_id(spki)
        return load_people(config).find(kid, "analyst", SystemClock().utc_ns()).name
    except TrustError as error:
        right = "people: [{name: ..., public_key: ..., roles: [analyst]}]"
        raise ConfigError(str(error), key="people", right=right) from error


def list_lab(args: argparse.Namespace) -> int:
    """Show every version of a site's lab documents."""
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        papers = reports.lab_papers(ledger, args.site)
    last = {document.id: document.version for document in papers.documents}
    for document, sha256 in zip(papers.documents, papers.raw, strict=True):
        state = "in force" if last[document.id] == document.version else "replaced"
        print(
            f"{document.id} v{document.version} {state} by {document.author} "
            f"{len(document.entries)} entries sha256 {sha256}"
            + (f" reason: {document.reason}" if document.reason else "")
        )
        for entry in document.entries if args.entries else ():
            mass = f" of {entry.mass_t} t" if entry.mass_t is not None else ""
            print(
                f"    {entry.kind} {entry.item} {entry.quantity} {entry.value} {entry.unit}{mass}"
            )
    return OK


def explain(args: argparse.Namespace) -> int:
    """Print a value's formula with numbers, its inputs, sources, clause, hours and batches."""
    if args.bundle is not None:
        verdict = verify_.verify(args.bundle, None)
        if verdict.content is None or not verdict.proven:
            message = f"{args.bundle} does not prove its figures: {verdict.difference}"
            raise CarbonError(message)
        proven = verdict.content
    else:
        proven = _prove(args)
    print(explain_.explain(proven, args.parameter, args.scope, hours=args.hours))
    return OK


def _prove(args: argparse.Namespace) -> Proven:
    if args.site is None or args.month is None:
        message = "--site and --month are needed, or --bundle"
        raise ConfigError(message)
    config = config_.load(args.config)
    with closing(Ledger(config.ledger_path)) as ledger:
        proof = reports.prove(ledger, args.site, args.month, {})
    return Proven(proof.month, proof.configuration, proof.ranges, proof.reader)


def add_verbs(words: Any) -> None:
    """Put ``plan check``, ``lab add|import|list`` and ``explain`` on the command line."""
    explained = words.add_parser(
        "explain", help="explain a month's value", description=explain.__doc__
    )
    add_explain_arguments(explained)
    explained.set_defaults(run=explain)
    for group, help_, verbs in _GROUPS:
        subject = words.add_parser(group, help=help_).add_subparsers(required=True, metavar="VERB")
        for name, short, run, add_arguments in verbs:
            word = subject.add_parser(name, help=short, description=run.__doc__)
            add_arguments(word)
            word.set_defaults(run=run)


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``plan check``."""
    text = "a control plan, or an agent's file that names one"
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help=text)
    parser.add_argument("--site", help="the newest signed configuration of this plant")
    _config(parser)


def add_explain_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``explain``."""
    _config(parser)
    parser.add_argument("--site", help="the plant")
    parser.add_argument("--month", help="YYYY-MM, plant local time")
    parser.add_argument("--bundle", type=Path, help="explain from a bundle, offline")
    parser.add_argument("--parameter", required=True, help="id of the form, as total_co2e_t")
    parser.add_argument("--scope", help="one scope, as line1 or kiln1.coal; all when not given")
    parser.add_argument("--hours", action="store_true", help="list every hour behind a series")


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lab list``."""
    _config(parser)
    parser.add_argument("--site", required=True, help="the plant")
    parser.add_argument("--entries", action="store_true", help="show every entry")


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lab import``."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a .csv or .xlsx table")
    _document(parser)


def add_entry_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``lab add``."""
    _document(parser)
    parser.add_argument("--kind", required=True, help="analysis, weighing or stock")
    parser.add_argument("--item", required=True, help="what it is about, as the plan names it")
    parser.add_argument("--quantity", required=True, help="parameter id; amount; opening ...")
    parser.add_argument("--value", required=True, help="a decimal number")
    parser.add_argument("--unit", required=True)
    parser.add_argument("--time", required=True, help="ISO 8601, plant local without an offset")
    parser.add_argument("--mass-t", help="mass of the lot, by which analyses are blended")
    parser.add_argument("--uncertainty", help="95 %% half width as a fraction")


def _document(parser: argparse.ArgumentParser) -> None:
    _config(parser)
    parser.add_argument("--site", required=True, help="the plant")
    parser.add_argument("--document", required=True, help="id; an id that exists is corrected")
    parser.add_argument("--key", type=Path, required=True, help="the person's private key")
    parser.add_argument("--reason", default="", help="needed for a correction")
    text = "a file kept with the values; its digest is signed"
    parser.add_argument("--attachment", type=Path, action="append", default=[], help=text)


def _config(parser: argparse.ArgumentParser) -> None:
    help_ = "the gateway's file (gateway.yaml here when not given)"
    parser.add_argument("--config", type=Path, default=Path("gateway.yaml"), help=help_)


_GROUPS = (
    (
        "plan",
        "the data quality control plan",
        (("check", "find gaps", check_plan, add_plan_arguments),),
    ),
    (
        "lab",
        "lab values, weighings and stocks",
        (
            ("add", "sign one value", add_lab, add_entry_arguments),
            ("import", "sign a table", import_lab, add_import_arguments),
            ("list", "show all versions", list_lab, add_list_arguments),
        ),
    ),
)

"""Verbs for the accountant and the verifier: ``report``, ``verify``, ``calc``."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError
from edge_agent.wire import keys
from gateway import cases, checkpoints, trust_file, vector_cases
from gateway import config as config_
from gateway import verify as verify_
from gateway.ledger import Ledger
from gateway.reports import run as reports
from gateway.store.sqlite import SqliteStore
from gateway.trust import revoked_people
from gateway.trust.closed_months import close
from gateway.trust.closing import Closing, judge
from gateway.trust.people import load_people

FAILED, RESERVED = 1, 3


def report(args: argparse.Namespace) -> int:
    """Write a month's report (JSON, XLSX) and its evidence bundle."""
    config = config_.load(args.config)
    signer = reports.GatewayKeys(keys.load_signer(config.keys.ack), config_.former_keys(config))
    if config.store.kind != "sqlite":
        message = "a report reads its figures from the sqlite store"
        raise ConfigError(message, file=str(args.config), key="store.kind")
    ledger = Ledger(config.ledger_path)
    store = SqliteStore(config.store_path)
    people, now_ns = load_people(config), SystemClock().utc_ns()
    try:
        revoked_people.note(ledger, people, signer.signer, now_ns)
        checkpoints.of_config(ledger, config).now(now_ns)
        made = reports.make(ledger, store, args.site, args.month, signer, args.out)
        closing = judge(
            ledger,
            people,
            args.site,
            [(one["agent"], one["first_seq"], one["last_seq"]) for one in made.plain["evidence"]],
            required=config.approval == "required",
        )
        closed = None
        if not closing.objections:
            closed = close(ledger, made.plain, made.manifest_sha256, signer.signer, now_ns)
    finally:
        store.close()
        ledger.close()
    for path in made.files:
        print(path)
    print(f"manifest sha256 {made.manifest_sha256.hex()}")
    for item in made.plain["evidence"]:
        print(f"batches {item['agent']} {item['first_seq']}-{item['last_seq']} root {item['root']}")
    print(f"{len(made.plain['parameters'])} values, {len(made.plain['reservations'])} reservations")
    if closed is not None:
        print(f"month {closed.month} closed, version {closed.version}")
    return _tell(closing)


def _tell(closing: Closing) -> int:
    """Print what keys and configurations add to a report; 1 when the month cannot close."""
    for name, texts in (
        ("changed", closing.changes),
        ("reservation", closing.notes),
        ("NOT CLOSED", closing.objections),
    ):
        for text in texts:
            print(f"{name}: {text}")
    return FAILED if closing.objections else 0


def verify(args: argparse.Namespace) -> int:
    """Recompute a bundle's figures offline; say match or name the first difference."""
    trust = trust_file.load(args.trust) if args.trust else None
    verdict = verify_.verify(args.bundle, trust)
    print("match" if verdict.proven else f"DIFFERENCE: {verdict.difference}")
    for line in verdict.lines:
        print(line)
    if verdict.proven and trust is not None and verdict.reserved:
        return RESERVED
    return 0 if verdict.proven else FAILED


def calc(args: argparse.Namespace) -> int:
    """Evaluate case files with the functions that reports use; prints JSON."""
    if args.cases:
        file = _json(args.cases)
        stepwise = isinstance(file, dict) and isinstance(file.get("vectors"), list)
        result: Any = vector_cases.evaluate(file) if stepwise else cases.evaluate(file)
    else:
        result = cases.evaluate_effects(_json(args.effects))
    json.dump(result, sys.stdout, ensure_ascii=False, indent=1)
    print()
    return 0


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"cannot be read as JSON: {error}"
        raise ConfigError(message, file=str(path)) from error


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``report``."""
    help_ = "the gateway's file (gateway.yaml here when not given)"
    parser.add_argument("--config", type=Path, default=Path("gateway.yaml"), help=help_)
    parser.add_argument("--site", required=True, help="the plant")
    parser.add_argument("--month", required=True, help="YYYY-MM, plant local time")
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``verify``."""
    parser.add_argument("bundle", type=Path, help="the evidence bundle of a month")
    parser.add_argument(
        "--trust",
        type=Path,
        help="TOML file with trusted keys, log and witnesses, got elsewhere; with it the exit code"
        " is 3 where something stays unproven",
    )


def add_calc_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``calc``."""
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--cases", type=Path, help="file shaped like emissions.json or china.json")
    group.add_argument("--effects", type=Path, help="file shaped like anode_effects.json")

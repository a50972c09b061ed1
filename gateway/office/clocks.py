"""``carbon-gateway clocks``: batches from a clock ahead of the gateway's, and what becomes of them."""

from contextlib import closing
from typing import Any

from gateway import audit
from gateway.config import load
from gateway.office.common import (
    Arguments,
    decision,
    decision_arguments,
    registrar,
    source_arguments,
    verbs,
)
from gateway.store import open_store
from gateway.trust import verdicts
from gateway.trust.clocks import Run


def list_(arguments: Arguments) -> int:
    """List the batches that were set aside, and what was decided about them."""
    with registrar(arguments) as desk:
        for site in desk.ledger.sites():
            for run in verdicts.runs(desk.ledger, site):
                state = "waits for a verdict"
                if run.counts is not None:
                    fate = "counts" if run.counts else "left out"
                    state = f"{fate}, {run.by}: {run.reason}"
                print(f"{site}/{run.agent} {run.first_seq}-{run.last_seq} {state}")
    return 0


def decide(arguments: Arguments) -> int:
    """Decide whether batches that were set aside count after all; makes the site's store again."""
    run = Run(arguments.agent, arguments.first, arguments.last, counts=arguments.count)
    with (
        registrar(arguments) as desk,
        closing(open_store(load(arguments.config))) as store,
    ):
        verdicts.decide(desk.ledger, desk.people, store, run, arguments.site, decision(arguments))
        written = audit.rebuild(desk.ledger, store, arguments.site)
    fate = "count" if arguments.count else "are left out"
    print(f"{run} {fate}; {written} batches projected again")
    return 0


def add(words: Any) -> None:
    """Add the verbs."""
    verb = verbs(words, "clocks", "decide on batches from a clock ahead of the gateway's")
    verb("list", list_)
    parser = verb("decide", decide)
    source_arguments(parser)
    parser.add_argument("--first", type=int, required=True, help="number of the first batch")
    parser.add_argument("--last", type=int, required=True, help="number of the last batch")
    fate = parser.add_mutually_exclusive_group(required=True)
    fate.add_argument("--count", action="store_true", help="their rows count")
    fate.add_argument("--leave-out", action="store_true", help="their rows count in no sum")
    decision_arguments(parser)

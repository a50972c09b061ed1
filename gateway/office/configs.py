"""``carbon-gateway config``: which configurations an agent sent, what changed, who approved."""

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.errors import ConfigError
from edge_agent.wire.certificates import from_ns, to_ns
from gateway.office.common import (
    Arguments,
    decision,
    decision_arguments,
    from_hex,
    read,
    registrar,
    source_arguments,
    verbs,
)
from gateway.trust import approvals
from gateway.trust.approvals import Wish
from gateway.trust.enrolment import Registrar


def list_(arguments: Arguments) -> int:
    """List an agent's configurations in order of arrival and which are approved."""
    source = (arguments.site, arguments.agent)
    with registrar(arguments) as desk:
        holding = approvals.approved(desk.ledger, desk.people, *source)
        for digest in desk.ledger.config_digests(*source):
            from_time = holding.get(digest)
            state = "not approved"
            if from_time is not None:
                state = f"approved from {from_ns(from_time).isoformat()}"
            print(f"{digest.hex()} {state}")
    return 0


def diff(arguments: Arguments) -> int:
    """Show what a configuration changes: scales, units, factors, registers and ranges first."""
    source = (arguments.site, arguments.agent)
    with registrar(arguments) as desk:
        after = _digest(desk, source, arguments.digest)
        before = _before(desk, source, arguments.against)
        found = approvals.differences(desk.ledger, *source, before, after)
        print(f"from {before.hex() if before else 'nothing'}")
        print(f"to   {after.hex()}")
        for change in found:
            print(f"  {change}")
        print(f"{len(found)} changes")
    return 0


def approve(arguments: Arguments) -> int:
    """Approve a configuration as a second person; its author cannot."""
    source = (arguments.site, arguments.agent)
    with registrar(arguments) as desk:
        now_ns = SystemClock().utc_ns()
        if arguments.message is not None:
            raw = read(arguments.message)
        else:
            wished = decision(arguments)
            wish = Wish(
                *source,
                config=_digest(desk, source, arguments.digest),
                author=arguments.author,
                reason=wished.reason,
                clause=arguments.clause,
                valid_from_ns=arguments.valid_from,
            )
            raw = approvals.make(desk.ledger, desk.people, wish, wished.signer, now_ns)
        statement = approvals.take(desk.ledger, desk.people, raw, now_ns)
        print(f"{statement.fields['config'].hex()} approved by {statement.person.name}")
    return 0


def _digest(desk: Registrar, source: tuple[str, str], text: str) -> bytes:
    """A digest given in full or by an unmistakable beginning of at least eight digits."""
    known = desk.ledger.config_digests(*source)
    found = [digest for digest in known if digest.hex().startswith(text)]
    if len(text) < 8 or len(found) != 1:
        right = ", ".join(digest.hex()[:16] for digest in known) or "none was sent yet"
        message = f"{text[:80]!a} names {len(found)} configurations of {'/'.join(source)}"
        raise ConfigError(message, key="DIGEST", right=right)
    return found[0]


def _before(desk: Registrar, source: tuple[str, str], text: str | None) -> bytes | None:
    if text is not None:
        return from_hex(text, "--against")
    holding = approvals.approved(desk.ledger, desk.people, *source)
    return list(holding)[-1] if holding else None


def _instant(text: str) -> int:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        message = "a time with its zone is needed, as 2026-01-01T00:00:00+08:00"
        raise argparse.ArgumentTypeError(message)
    return to_ns(instant)


def add(words: Any) -> None:
    """Add the verbs."""
    verb = verbs(words, "config", "judge and approve agents' configurations")
    source_arguments(verb("list", list_))
    parser = verb("diff", diff)
    source_arguments(parser)
    parser.add_argument("digest", help="of the configuration, or its beginning")
    parser.add_argument("--against", help="another digest; default: the one approved last")
    parser = verb("approve", approve)
    source_arguments(parser)
    parser.add_argument("digest", help="of the configuration, or its beginning")
    parser.add_argument("--author", default="", help="who changed it")
    parser.add_argument("--clause", default="", help="clause of the control plan")
    parser.add_argument("--valid-from", type=_instant, default=0, help="holds from this time on")
    parser.add_argument("--message", type=Path, help="an approval signed on another machine")
    decision_arguments(parser)

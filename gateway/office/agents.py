"""``carbon-gateway agents``: invite, list, show, approve, revoke, release."""

from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.errors import TrustError
from edge_agent.wire.certificates import from_ns
from edge_agent.wire.keys import Enrolment
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
from gateway.trust import enrolment


def invite(arguments: Arguments) -> int:
    """Print the nonce that an agent's enrolment request must name."""
    with registrar(arguments) as desk:
        source = (arguments.site, arguments.agent)
        print(enrolment.invite(desk.ledger, *source, SystemClock().utc_ns()).hex())
    return 0


def list_(arguments: Arguments) -> int:
    """List every agent's keys, what each may do, and which end soon."""
    with registrar(arguments) as desk:
        now_ns = SystemClock().utc_ns()
        for source in sorted({one.source for one in desk.keys.enrolments()}):
            for kid, state in enrolment.key_states(desk.keys, *source, now_ns).items():
                print(f"{'/'.join(source)} {kid} {state}")
    return 0


def show(arguments: Arguments) -> int:
    """Show one agent's keys and everything that was decided about them."""
    source = (arguments.site, arguments.agent)
    with registrar(arguments) as desk:
        for one in desk.keys.of(*source):
            print(f"key {one.public.kid.hex()}")
            print(f"  batches {_place(one)}")
            if one.not_after_ns < 2**63 - 1:
                print(f"  valid {from_ns(one.not_before_ns)} to {from_ns(one.not_after_ns)}")
        for document in desk.ledger.documents.all(site=arguments.site):
            if document.id == arguments.agent:
                when = from_ns(document.received_ns).isoformat()
                print(f"{when} {document.kind} sha256 {document.sha256.hex()}")
    return 0


def approve(arguments: Arguments) -> int:
    """Enrol a key: its request, the CA's certificate, and the fingerprint read at the agent."""
    with registrar(arguments) as desk:
        enrolled = enrolment.approve(
            desk,
            read(arguments.request),
            read(arguments.certificate),
            arguments.fingerprint,
            decision(arguments),
        )
        state = "waits for its keychange" if enrolled.pending else "is in force"
        print(f"{'/'.join(enrolled.source)}: key {enrolled.public.kid.hex()} {state}")
    return 0


def revoke(arguments: Arguments) -> int:
    """Revoke a key after a last good batch; later ones that are stored become suspect."""
    with registrar(arguments) as desk:
        kid = from_hex(arguments.kid, "--key")
        one, suspect = enrolment.revoke(desk, kid, arguments.last_good, decision(arguments))
        name = "/".join(one.source)
        print(f"{name}: key {kid.hex()} is revoked")
        if suspect:
            months = _months(desk, one, suspect)
            print(f"{name}: batches {suspect[0]}-{suspect[1]} are suspect; they touch {months}")
    return 0


def release(arguments: Arguments) -> int:
    """Let batches in that came too long after their key's end, up to a number."""
    with registrar(arguments) as desk:
        kid = from_hex(arguments.kid, "--key")
        enrolment.release(desk, kid, arguments.up_to, decision(arguments))
        print(f"key {kid.hex()}: batches up to {arguments.up_to} are let in")
    return 0


def _place(one: Enrolment) -> str:
    if one.first_seq is None:
        return "none yet: waits for its keychange"
    last = one.last_seq if one.revoked_after is None else min(one.last_seq, one.revoked_after)
    revoked = "" if one.revoked_after is None else " (revoked)"
    return f"{one.first_seq} to {'now' if one.active else last}{revoked}"


def _months(desk: enrolment.Registrar, one: Enrolment, suspect: tuple[int, int]) -> str:
    """The months (UTC) in which suspect batches lie; their reports have to be made again."""
    months = {
        from_ns(time_ns).strftime("%Y-%m")
        for row in desk.ledger.batches(*one.source, *suspect)
        for time_ns in (row.first_ns, row.last_ns)
    }
    if not months:
        message = f"{'/'.join(one.source)} has no batches {suspect}"
        raise TrustError(message)
    return ", ".join(sorted(months))


def add(words: Any) -> None:
    """Add the verbs."""
    verb = verbs(words, "agents", "decide which keys speak for which agent")
    source_arguments(verb("invite", invite))
    verb("list", list_)
    source_arguments(verb("show", show))
    parser = verb("approve", approve)
    parser.add_argument("request", type=Path, help="file from `edge-agent keys csr`")
    parser.add_argument("--certificate", type=Path, required=True, help="from `ca issue`")
    parser.add_argument("--fingerprint", required=True, help="key id as read at the agent")
    decision_arguments(parser)
    parser = verb("revoke", revoke)
    parser.add_argument("--key", dest="kid", required=True, help="key id")
    parser.add_argument("--last-good", type=int, help="last trusted batch; default: the last one")
    decision_arguments(parser)
    parser = verb("release", release)
    parser.add_argument("--key", dest="kid", required=True, help="key id")
    parser.add_argument("--up-to", type=int, required=True, help="number of the last batch let in")
    decision_arguments(parser)

"""``carbon-gateway ca``: the plant CA, best kept on a machine of its own."""

from pathlib import Path
from typing import Any

from edge_agent.clock import SystemClock
from edge_agent.wire import certificates
from edge_agent.wire.enrolment import open_request
from edge_agent.wire.keys import create_signer
from gateway.office.common import Arguments, read, verbs
from gateway.trust import authority


def init(arguments: Arguments) -> int:
    """Make a plant CA; print the fingerprint that gateways pin."""
    made = authority.init(arguments.folder, arguments.name, SystemClock().utc_ns())
    print(f"certificate {arguments.folder / authority.CERTIFICATE}")
    print(f"fingerprint {certificates.fingerprint(made.certificate)}")
    return 0


def issue(arguments: Arguments) -> int:
    """Issue the certificate that an agent's request is for."""
    request = open_request(read(arguments.request))
    found = authority.open_(arguments.folder)
    made = authority.issue(found, request, SystemClock().utc_ns(), arguments.days)
    arguments.out.write_bytes(authority.to_pem(made))
    print(f"certificate {arguments.out}")
    print(f"{request.purpose.value} certificate of {request.site}/{request.agent}")
    print(f"key id {request.fingerprint}")
    print(f"until {made.not_valid_after_utc.isoformat()}")
    return 0


def service(arguments: Arguments) -> int:
    """Make a key and a TLS certificate for a service; with hosts it is a server's."""
    found = authority.open_(arguments.folder)
    authority.check_service(arguments.name)
    key = arguments.out / f"{arguments.name}.pem"
    signer = create_signer(key)
    made = authority.issue_service(
        found,
        arguments.name,
        signer.public_spki(),
        arguments.host,
        SystemClock().utc_ns(),
    )
    path = arguments.out / f"{arguments.name}.crt"
    path.write_bytes(authority.to_pem(made))
    print(f"key {key}")
    print(f"certificate {path}")
    return 0


def revoke(arguments: Arguments) -> int:
    """Put TLS certificates on the CA's revocation list, which the broker reads."""
    found = authority.open_(arguments.folder)
    revoked = [certificates.load(read(path)) for path in arguments.certificates]
    made = authority.revoke(found, arguments.folder, revoked, SystemClock().utc_ns())
    print(f"list {arguments.folder / authority.REVOKED}")
    print(f"{len(made)} revoked certificates")
    return 0


def add(words: Any) -> None:
    """Add the verbs."""
    verb = verbs(words, "ca", "be the plant CA")
    parser = verb("init", init, config=False)
    parser.add_argument("folder", type=Path, help="a folder for the CA's key, its owner's alone")
    parser.add_argument("--name", default="plant-ca")
    parser = verb("issue", issue, config=False)
    parser.add_argument("folder", type=Path, help="the CA's folder")
    parser.add_argument("request", type=Path, help="file from `edge-agent keys csr`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--days", type=float, help="less than the profile's longest")
    parser = verb("service", service, config=False)
    parser.add_argument("folder", type=Path, help="the CA's folder")
    parser.add_argument("name", help="`ingest` for the gateway, anything for the broker")
    parser.add_argument("--host", action="append", default=[], help="name or address of a server")
    parser.add_argument("--out", type=Path, required=True, help="folder for key and certificate")
    parser = verb("revoke", revoke, config=False)
    parser.add_argument("folder", type=Path, help="the CA's folder")
    parser.add_argument("certificates", type=Path, nargs="*", help="none: only write the list")

"""``edge-agent keys``: make, show, request, rotate, and tell how long keys last."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_agent import config as config_
from edge_agent.clock import SystemClock
from edge_agent.config import AgentConfig
from edge_agent.errors import ConfigError, KeyFileError, TrustError
from edge_agent.keystore import Keystore, Stored
from edge_agent.outbox import Outbox
from edge_agent.scribe import SIGNING_KID
from edge_agent.wire import certificates, enrolment
from edge_agent.wire.certificates import Purpose
from edge_agent.wire.keys import ED25519, ES256, algorithm_of, create_signer, load_signer

_ALGORITHMS = {"ed25519": ED25519, "es256": ES256}


def new(args: argparse.Namespace) -> int:
    """Make the agent's key where its configuration says: signing key, next one, or TLS key."""
    config = config_.load(args.config)
    algorithm = _ALGORITHMS[args.algorithm]
    if args.tls:
        signer: Stored = create_signer(_tls_key(config), algorithm=algorithm)
    else:
        signer = _store(config).create(after=args.next, algorithm=algorithm)
    _tell(signer)
    return 0


def show(args: argparse.Namespace) -> int:
    """Show a key's id, to be compared out of band, and its public half."""
    signer = _chosen(args, config_.load(args.config))
    _tell(signer)
    print(signer.public_pem().decode(), end="")
    return 0


def csr(args: argparse.Namespace) -> int:
    """Write the enrolment request for a key, signed by it over the gateway's nonce."""
    config = config_.load(args.config)
    signer = _chosen(args, config)
    purpose = Purpose.TLS if args.tls else Purpose.SIGNING
    if args.nonce is None and not args.tls:
        message = "a signing key's request needs the nonce of `carbon-gateway agents invite`"
        raise ConfigError(message, key="--nonce")
    nonce = bytes(enrolment.NONCE_BYTES) if args.nonce is None else _hex(args.nonce)
    raw = enrolment.make_request(signer, config.site, config.agent, purpose, nonce)
    args.out.write_bytes(raw)
    print(f"request {args.out}")
    _tell(signer)
    return 0


def rotate(args: argparse.Namespace) -> int:
    """Put a certificate beside its key; for the next key this starts the change of keys."""
    config = config_.load(args.config)
    store = _store(config)
    encoded = _read(args.certificate)
    found = certificates.load(encoded)
    kid = certificates.key_of(found).kid
    for after in (False, True):
        try:
            signer = store.open(after=after)
        except KeyFileError:
            continue
        if signer.kid == kid:
            path = store.certificate(after=after)
            fresh = path.with_suffix(".new")
            fresh.write_bytes(encoded)
            fresh.replace(path)
            print(f"certificate {path}")
            if after:
                print("the agent changes to this key with its next batch")
            return 0
    message = f"{args.certificate}: is for key {kid.hex()}, which is not here"
    raise TrustError(message)


def status(args: argparse.Namespace) -> int:
    """Tell which keys there are, which one signs, and when certificates end."""
    config = config_.load(args.config)
    store = _store(config)
    signing = _signing(config)
    for after, name in ((False, "signing"), (True, "next")):
        try:
            signer = store.open(after=after)
        except KeyFileError as error:
            if not after:
                raise
            print(f"{name}: none ({error})" if args.verbose else f"{name}: none")
            continue
        signs = signer.kid == signing if signing else not after
        print(f"{name}: {signer.kid.hex()}{' signs' if signs else ''}")
        print(f"{name}: {_end(store.certificate(after=after))}")
    tls = config.mqtt.tls
    if tls is not None and tls.cert is not None:
        print(f"tls: {_end(tls.cert)}")
    return 0


def _signing(config: AgentConfig) -> bytes | None:
    """Id of the key that signs by the outbox; None before the first change of keys."""
    path = config.state_dir / "outbox.sqlite"
    if not path.exists():
        return None
    outbox = Outbox(path, 2**20)
    try:
        return outbox.get(SIGNING_KID)
    finally:
        outbox.close()


def _tell(signer: Stored) -> None:
    algorithm = "Ed25519" if algorithm_of(signer.public_spki()) == ED25519 else "ES256"
    print(f"key id {signer.kid.hex()}")
    print(f"algorithm {algorithm}")


def _end(path: Path) -> str:
    try:
        end = certificates.load(path.read_bytes()).not_valid_after_utc
    except OSError:
        return f"no certificate {path}"
    warning = certificates.expiry_warning(certificates.to_ns(end) - SystemClock().utc_ns())
    return f"certificate until {end.isoformat()}{': ' + warning if warning else ''}"


def _store(config: AgentConfig) -> Keystore:
    return Keystore(config.keys, config.state_dir)


def _chosen(args: argparse.Namespace, config: AgentConfig) -> Stored:
    if args.tls:
        return load_signer(_tls_key(config))
    return _store(config).open(after=args.next)


def _tls_key(config: AgentConfig) -> Path:
    tls = config.mqtt.tls
    if tls is None or tls.key is None:
        raise ConfigError("names no TLS key", key="mqtt.tls.key", right="a path for the key file")
    if tls.key == config.keys.signing:
        message = "is the signing key; a TLS key faces the network and must be another one"
        raise ConfigError(message, key="mqtt.tls.key")
    return tls.key


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ConfigError("is no nonce", key="--nonce", right="64 hexadecimal digits") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(message, file=str(path)) from error


def add(verbs: Any) -> None:
    """Add ``keys`` and its verbs to the command line."""
    subject = verbs.add_parser("keys", help="make, show, request and rotate keys")
    words = subject.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        text = (function.__doc__ or "").strip()
        parser: argparse.ArgumentParser = words.add_parser(name, help=text, description=text)
        parser.add_argument("config", type=Path, help="the agent's YAML file")
        parser.set_defaults(function=function)
        return parser

    for name, function in (("new", new), ("show", show), ("csr", csr)):
        parser = verb(name, function)
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--next", action="store_true", help="the key of the next rotation")
        which.add_argument("--tls", action="store_true", help="the key towards the broker")
        if name == "new":
            parser.add_argument("--algorithm", choices=_ALGORITHMS, default="ed25519")
        if name == "csr":
            parser.add_argument("--nonce", help="from `carbon-gateway agents invite`")
            parser.add_argument("--out", type=Path, required=True, help="file for the request")
    verb("rotate", rotate).add_argument("--certificate", type=Path, required=True)
    verb("status", status).add_argument("--verbose", action="store_true", help="say why")

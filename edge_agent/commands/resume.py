"""``edge-agent resume-from-ack``: go on with the chain on a machine that replaces a lost one."""

import argparse
from datetime import datetime
from pathlib import Path

from edge_agent import config as config_
from edge_agent.acks import authentic
from edge_agent.clock import SystemClock
from edge_agent.commands import Verb
from edge_agent.config import AgentConfig
from edge_agent.errors import ConfigError, EvidenceError, TrustError
from edge_agent.outbox import Outbox, OutboxInUse
from edge_agent.resumption import Resumption, begin, resumption
from edge_agent.state_lock import locked
from edge_agent.uplink import retained_ack
from edge_agent.wire import keys, topics
from edge_agent.wire.messages import Ack

_WAIT_S = 10.0
_MAX_ACK = 2**20


def register(verb: Verb) -> None:
    """Add the verb."""
    parser = verb("resume-from-ack", resume)
    parser.add_argument("config", type=Path, help="the agent's YAML file")
    parser.add_argument("--reason", required=True, help="why the outbox is lost")
    parser.add_argument("--operator", required=True, help="who decides to go on")
    parser.add_argument(
        "--lost-since",
        type=datetime.fromisoformat,
        required=True,
        help="when the lost machine stopped delivering, such as 2026-03-01T08:00+08:00",
    )
    parser.add_argument("--ack", type=Path, help="file with the ack; default: ask the broker")
    parser.add_argument(
        "--wait-s", type=float, default=_WAIT_S, help="how long to wait for the broker (default 10)"
    )


def resume(args: argparse.Namespace) -> int:
    """Begin a new outbox behind the gateway's last ack, after the disk with the old one is lost."""
    config = config_.load(args.config)
    where, payload = _payload(args, config)
    ack = _open(config, where, payload)
    now_ns = SystemClock().utc_ns()
    told = resumption(ack, args.reason, args.operator, args.lost_since, now_ns)
    with locked(config.state_dir):
        _begin(config, ack, told)
    print(f"the chain goes on with batch {ack.seq + 1}, after {ack.sha256.hex()}")
    print("the next start of the agent tells it in that batch")
    if ack.held is not None:
        first, last = ack.held
        print(
            f"the gateway holds batches {first} to {last} of the lost machine behind a missing one: "
            "expect a fork, which keeps both and waits for `carbon-gateway release`"
        )
    return 0


def _begin(config: AgentConfig, ack: Ack, told: Resumption) -> None:
    path = config.state_dir / "outbox.sqlite"
    outbox = Outbox(path, config.outbox.max_mb * 2**20)
    try:
        begin(outbox, ack, told)
    except OutboxInUse as error:
        message = f"{path}: {error}; resume-from-ack begins new outboxes only"
        raise TrustError(message) from error
    finally:
        outbox.close()


def _payload(args: argparse.Namespace, config: AgentConfig) -> tuple[str, bytes]:
    """The ack's bytes and where they come from."""
    if args.ack is None:
        topic = topics.topic(config.site, config.agent, "ack")
        return topic, retained_ack(config.mqtt, topic, args.wait_s)
    try:
        with args.ack.open("rb") as file:
            return str(args.ack), file.read(_MAX_ACK)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise ConfigError(message, file=str(args.ack), key="--ack") from error


def _open(config: AgentConfig, where: str, payload: bytes) -> Ack:
    gateways = [keys.public_key(path.read_bytes()) for path in config.keys.gateway]
    try:
        return authentic(payload, gateways, config.site, config.agent)
    except EvidenceError as error:
        message = (
            f"{where}: {error.reason}: {error}; an ack for {config.site}/{config.agent}, signed by "
            "a key of keys.gateway, is right"
        )
        raise TrustError(message) from error

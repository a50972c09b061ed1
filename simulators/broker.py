"""An MQTT broker for demonstrations and tests, on 127.0.0.1 only, without passwords.

    python -m simulators.broker --port 1883 --dir DIR

Not for production: sessions and retained messages live in memory and die with the process. Three habits of
amqtt 0.12 that a real broker does not have are put right here:

1. It queues nothing for absent clients that logged in anonymously; so everybody is let in by name of nobody.
2. It sends a connecting client the retained messages of other clients' subscriptions.
3. It marks messages that waited for an absent client as retained.

Not put right: a QoS 1 message that a subscriber has not acknowledged within 5 s, or when its connection breaks,
is forgotten and never sent again, so acknowledgements that matter have to be end to end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amqtt.broker import Broker
from amqtt.plugins.base import BaseAuthPlugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amqtt.session import Session

HOST = "127.0.0.1"


class OpenDoor(BaseAuthPlugin):  # type: ignore[misc]  # amqtt has no types
    """Lets everybody in, without marking the session as anonymous."""

    async def authenticate(self, *, session: Session) -> bool | None:  # noqa: ARG002
        """Say yes."""
        return True


class DemoBroker(Broker):  # type: ignore[misc]  # amqtt has no types
    """The embedded broker with points 2 and 3 put right."""

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send retained messages, but only for a subscription that is the session's own."""
        owners = [owner.client_id for owner, _ in self._subscriptions.get(subscription[0], [])]
        if session.client_id in owners:
            await super()._publish_retained_messages_for_subscription(subscription, session)

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Send what waited for this session, in order and as the ordinary messages they are."""
        handler = self._get_handler(session)
        while handler and not session.retained_messages.empty():
            waiting = session.retained_messages.get_nowait()
            sending = handler.mqtt_publish(waiting.topic, waiting.data, waiting.qos, retain=False)
            self._tasks_queue.append(asyncio.ensure_future(sending))


def broker_config(port: int) -> dict[str, Any]:
    """Configuration of the broker: anonymous clients, no topic checks, no system topics."""
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {"simulators.broker.OpenDoor": {}},
    }


async def serve(port: int, directory: Path) -> None:
    """Run until SIGTERM or SIGINT; ``broker.json`` appears in the folder once it listens."""
    directory.mkdir(parents=True, exist_ok=True)
    ready = directory / "broker.json"
    ready.unlink(missing_ok=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = DemoBroker(broker_config(port))
    await broker.start()
    fresh = directory / "broker.json.new"
    fresh.write_text(json.dumps({"host": HOST, "port": port, "pid": os.getpid()}), encoding="utf-8")
    fresh.replace(ready)
    try:
        await stop.wait()
    finally:
        ready.unlink(missing_ok=True)
        await broker.shutdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the broker; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulators.broker", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--dir", type=Path, required=True, help="folder for log and broker.json")
    options = parser.parse_args(arguments)
    options.dir.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=options.dir / "broker.log",
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    asyncio.run(serve(options.port, options.dir))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

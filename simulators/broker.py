"""An MQTT broker for demonstrations and tests, on 127.0.0.1 only, without passwords.

    python -m simulators.broker --port 1883 --dir DIR

Not for production: sessions and retained messages live in memory and die with the process.
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

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"


def broker_config(port: int) -> dict[str, Any]:
    """Configuration of the broker: anonymous clients, no topic checks, no system topics."""
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {
            "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True},
        },
    }


async def serve(port: int, directory: Path) -> None:
    """Run until SIGTERM or SIGINT; ``broker.json`` appears in the folder once it listens."""
    directory.mkdir(parents=True, exist_ok=True)
    ready = directory / "broker.json"
    ready.unlink(missing_ok=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(broker_config(port))
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

"""``edge-agent run``: the agent itself."""

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from edge_agent import config as config_
from edge_agent.agent import Agent
from edge_agent.commands import Verb
from edge_agent.state_lock import locked


def register(verb: Verb) -> None:
    """Add the verb."""
    verb("run", run).add_argument("config", type=Path, help="the agent's YAML file")


def run(args: argparse.Namespace) -> int:
    """Run the agent until it is told to stop."""
    config = config_.load(args.config)
    with locked(config.state_dir):
        asyncio.run(_until_stopped(Agent(config)))
    return 0


async def _until_stopped(agent: Agent) -> None:
    task = asyncio.ensure_future(agent.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")

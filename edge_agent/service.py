"""Tells the service manager that the program is up and still alive (sd_notify(3)).

systemd names a datagram socket in ``NOTIFY_SOCKET`` and, with ``WatchdogSec=``, a period in
``WATCHDOG_USEC``. The messages come from the event loop, so a loop that hangs is restarted.
Outside systemd nothing is sent.
"""

import logging
import socket
from collections.abc import Mapping

from edge_agent.clock import Clock

log = logging.getLogger(__name__)
_US_PER_S = 1_000_000


class ServiceManager:
    """The manager that started this program, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take address and watchdog period from the environment."""
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        period_us = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(period_us) / _US_PER_S if period_us.isdecimal() else 0.0

    def tell(self, text: str) -> None:
        """Send one message; a manager that does not listen is logged, never an error."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto(text.encode(), self._address)
        except OSError as error:
            log.warning("service_manager_unreachable error=%s", error)


async def report_alive(manager: ServiceManager, clock: Clock) -> None:
    """Say that the program is ready, then feed the watchdog three times a period."""
    manager.tell("READY=1")
    while manager.watchdog_s > 0:
        await clock.sleep(manager.watchdog_s / 3)
        manager.tell("WATCHDOG=1")

"""Tasks that must never end: run again after a growing wait, with a counted event each time.

A task that ends by itself, by an exception, or by a cancellation that is not its supervisor's is a
crash. Only a cancellation from outside ends ``keep``, and it waits until the task is gone.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from edge_agent.clock import Clock
from edge_agent.readings import Event

BACKOFF_FIRST_S = 0.5
BACKOFF_CAP_S = 30.0
_LEAVE_S = 10.0
_log = logging.getLogger(__name__)
Work = Callable[[], Coroutine[Any, Any, None]]


class Backoff:
    """Growing waits that never end; ``jitter`` gives numbers in [0, 1)."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """Begin with the shortest wait."""
        self._jitter = jitter
        self._limit_s = BACKOFF_FIRST_S

    def next_s(self) -> float:
        """The next wait: between half of the current limit and all of it [s]."""
        wait_s = self._limit_s * (1 + self._jitter()) / 2
        self._limit_s = min(2 * self._limit_s, BACKOFF_CAP_S)
        return wait_s

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self._limit_s = BACKOFF_FIRST_S


async def finished(task: asyncio.Task[None], *others: asyncio.Future[Any]) -> None:
    """Wait until the task (or one of the others) is done; a cancellation takes the task along."""
    try:
        await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=_LEAVE_S)
        raise


class Keeper:
    """Keeps an agent's own tasks alive, and counts how often each was started again."""

    def __init__(
        self, clock: Clock, jitter: Callable[[], float], emit: Callable[[Event], None]
    ) -> None:
        """Events ``task_restarted`` go to ``emit``."""
        self._clock = clock
        self._jitter = jitter
        self._emit = emit
        self.restarts: Counter[str] = Counter()

    async def keep(self, name: str, work: Work) -> None:
        """Run the work for ever."""
        backoff = Backoff(self._jitter)
        while True:
            task = asyncio.create_task(work(), name=name)
            await finished(task)
            error = None if task.cancelled() else task.exception()
            reason = "cancelled" if task.cancelled() else repr(error) if error else "ended"
            _log.error("task_restarted %s", {"task": name, "reason": reason}, exc_info=error)
            self.restarts[name] += 1
            self._emit(
                {
                    "t": self._clock.utc_ns(),
                    "type": "task_restarted",
                    "task": name,
                    "reason": reason[:200],
                    "count": self.restarts[name],
                }
            )
            await self._clock.sleep(backoff.next_s())

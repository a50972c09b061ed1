"""What one device delivered and is not durable yet, and by what its sender's repeats are known.

A driver that was left behind in a session that hangs may still deliver; what it delivered is told
to its successor as marks, since the sender turns to that one.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.drivers.base import REMEMBERED, Driver, Polled, Receipted


@dataclass(frozen=True, slots=True)
class _Unkept:
    """A delivery: its place in the queue, whose it is, and its marks."""

    place: int
    driver: Driver | Polled
    marks: Sequence[bytes]


class Receipts:
    """The receipts of a device whose driver may be replaced; does nothing for other drivers."""

    def __init__(self, driver: Driver | Polled) -> None:
        self._driver = driver
        self._kept = 0  # deliveries of this driver that are durable
        self._unkept: deque[_Unkept] = deque()
        self._marks: deque[bytes] = deque(maxlen=REMEMBERED)

    def remember(self, marks: Sequence[bytes]) -> None:
        """What was kept before this driver was there, oldest first."""
        self._marks.extend(marks)
        if isinstance(self._driver, Receipted):
            self._driver.remember(marks)

    def delivered(self, place: int, driver: Driver | Polled, marks: Sequence[bytes]) -> None:
        """A delivery went into the queue at a place."""
        self._unkept.append(_Unkept(place, driver, marks))

    def kept(self, place: int) -> None:
        """Everything up to a place in the queue is durable: the driver may tell its source."""
        before = self._kept
        while self._unkept and self._unkept[0].place <= place:
            one = self._unkept.popleft()
            if one.driver is self._driver:
                self._marks.extend(one.marks)
                self._kept += 1
            else:
                self.remember(one.marks)
        if self._kept > before and isinstance(self._driver, Receipted):
            self._driver.kept(self._kept)

    def succeed(self, driver: Driver | Polled) -> None:
        """Another driver takes the place of one that is left behind."""
        self._driver, self._kept = driver, 0
        if isinstance(driver, Receipted):
            driver.remember(list(self._marks))

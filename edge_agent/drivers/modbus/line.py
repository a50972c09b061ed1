"""The one owner of a line: connects when needed, asks one question at a time, checks answers."""

import asyncio
from collections import deque
from dataclasses import dataclass

from edge_agent.clock import NS_PER_S, Clock
from edge_agent.drivers.modbus.config import ModbusConfig
from edge_agent.drivers.modbus.frames import (
    Frame,
    Framing,
    Question,
    RtuFraming,
    TcpFraming,
    UnitSilent,
    accept,
)
from edge_agent.drivers.modbus.links import Link, open_link
from edge_agent.drivers.modbus.planning import silence_s
from edge_agent.errors import BadAnswer, NoAnswer, Refused

_REMEMBERED = 64  # questions whose late answer is known for what it is
_MOST_NOISE = 20  # silences waited for after noise before the line is used anyway


@dataclass(slots=True)
class LineStats:
    """What happened on a line since it was made.

    Args:
        questions: requests sent.
        connections: times the line was opened.
        time_outs: questions without an answer in time.
        late: answers to earlier questions, thrown away.
        mismatched: answers to nothing that was asked, or damaged.
        strays: bytes that came while nothing was asked, thrown away.
    """

    questions: int = 0
    connections: int = 0
    time_outs: int = 0
    late: int = 0
    mismatched: int = 0
    strays: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The checked values of an answer, and the UTC it was complete at [ns]."""

    values: bytes
    received_ns: int


class Line:
    """One connection, shared by every unit behind it; waiting questions are served in turn."""

    def __init__(self, config: ModbusConfig, clock: Clock) -> None:
        """Take the settings from the first device; nothing is opened before a question."""
        self.config = config
        self.stats = LineStats()
        self._clock = clock
        self._framing: Framing = TcpFraming() if config.has_transaction_ids else RtuFraming()
        self._silence_s = silence_s(config)
        self._lock = asyncio.Lock()
        self._link: Link | None = None
        self._users = 0
        self._failed_ns = -1
        self._transaction = 0
        self._abandoned: deque[int] = deque(maxlen=_REMEMBERED)
        self._taboo_ns: dict[int, int] = {}  # unit: when its late answer can no longer come
        self._used_ns = 0
        self._due_ns = 0
        self._is_noisy = False
        self._is_asked = False

    def join(self) -> None:
        """Count one more user."""
        self._users += 1

    def leave(self) -> None:
        """Count one user less; the last one closes the connection."""
        self._users -= 1
        if not self._users:
            self._drop()

    async def ask(self, device: ModbusConfig, question: Question) -> Answer:
        """The answer to one question, checked against it.

        Takes at most the device's ``timeout_s`` from the moment the line is its own. Raises
        NoAnswer, BadAnswer or Refused.
        """
        if self._taboo_ns:
            await self._wait_out(question.unit)
        asked_ns = self._clock.monotonic_ns()
        async with self._lock:
            self._is_asked = False
            try:
                until_s = asyncio.get_running_loop().time() + device.timeout_s
                self._due_ns = self._clock.monotonic_ns() + round(device.timeout_s * NS_PER_S)
                link = self._link
                if link is None or not link.is_open or self._must_pause(device):
                    async with asyncio.timeout_at(until_s):
                        link = await self._connected(device, asked_ns)
                        await self._pause(link, device.pause_s)
                return await self._exchange(link, question, until_s)
            except (Refused, UnitSilent):
                raise  # whole answers: the line is well
            except BaseException as error:
                self._give_up(device, question)
                self.stats.mismatched += isinstance(error, BadAnswer)
                if not isinstance(error, TimeoutError):
                    raise
                self.stats.time_outs += 1
                raise NoAnswer(
                    f"unit {question.unit}: no answer in {device.timeout_s:g} s"
                ) from error
            finally:
                self._used_ns = self._clock.monotonic_ns()

    def _must_pause(self, device: ModbusConfig) -> bool:
        return bool(self._is_noisy or self._silence_s or device.pause_s)

    async def _exchange(self, link: Link, question: Question, until_s: float) -> Answer:
        self.stats.strays += len(link.arrived)
        link.arrived.clear()
        self._transaction = self._transaction % 0xFFFF + 1
        link.send(self._framing.wrap(question, self._transaction))
        self.stats.questions += 1
        self._is_asked = True
        while True:
            frame = self._framing.take(link.arrived)
            if frame is None:
                await link.more(until_s)
            elif self._is_ours(frame, question):
                received_ns = self._clock.utc_ns()
                self._check_end(link)
                return Answer(accept(question, frame.pdu), received_ns)
            else:
                self.stats.late += 1

    def _check_end(self, link: Link) -> None:
        """Without a checksum, a torn answer completed by the bytes of a late one looks whole.

        Nobody was asked for what follows it, so it gives the torn one away.
        """
        if link.arrived and self.config.has_transaction_ids:
            raise BadAnswer(f"{len(link.arrived)} bytes follow the answer")

    def _is_ours(self, frame: Frame, question: Question) -> bool:
        """False for a late answer; raises BadAnswer for one to nothing that was asked."""
        if frame.transaction is None:
            if frame.unit == question.unit:
                return True
            if self._taboo_ns.get(frame.unit, 0) > self._clock.monotonic_ns():
                return False
            raise BadAnswer(f"unit {frame.unit} answers unit {question.unit}")
        if frame.transaction != self._transaction:
            if frame.transaction in self._abandoned:
                return False
            raise BadAnswer(
                f"transaction id {frame.transaction} answers transaction id {self._transaction}"
            )
        if frame.unit != question.unit:
            raise BadAnswer(f"unit {frame.unit} answers unit {question.unit}")
        return True

    def _give_up(self, device: ModbusConfig, question: Question) -> None:
        """Rule 3: an answer that may still come must find nobody who takes it for his."""
        if self._is_asked and self.config.has_transaction_ids:
            self._abandoned.append(self._transaction)
        elif self._is_asked:
            late_s = device.late_s or device.timeout_s
            # Given up early, the unit still has until its deadline, and is late only from then on.
            due_ns = max(self._due_ns, self._clock.monotonic_ns())
            until_ns = due_ns + round(late_s * NS_PER_S)
            self._taboo_ns[question.unit] = until_ns
            self._is_noisy = True
        is_lost = self._link is not None and not self._link.is_open
        if is_lost or self.config.transport != "rtu":
            self._drop()

    async def _wait_out(self, unit: int) -> None:
        """RTU: let the time pass in which the unit's late answer may come; holds nobody else."""
        while (wait_ns := self._taboo_ns.get(unit, 0) - self._clock.monotonic_ns()) > 0:
            await self._clock.sleep(wait_ns / NS_PER_S)
        self._taboo_ns.pop(unit, None)

    async def _pause(self, link: Link, pause_s: float) -> None:
        """Wait until the line was silent for as long as frames must be apart."""
        wanted_s = max(self._silence_s, pause_s)
        passed_s = (self._clock.monotonic_ns() - self._used_ns) / NS_PER_S
        if passed_s < wanted_s:
            await self._clock.sleep(wanted_s - passed_s)
        if not self._is_noisy:
            return
        self._is_noisy = False
        for _ in range(_MOST_NOISE):
            heard = len(link.arrived)
            await self._clock.sleep(self._silence_s)
            if len(link.arrived) == heard:
                return

    async def _connected(self, device: ModbusConfig, asked_ns: int) -> Link:
        if self._link is not None and self._link.is_open:
            return self._link
        if self._failed_ns >= asked_ns:  # failed while this question waited: no second time-out
            raise NoAnswer(f"{device.place} cannot be connected")
        self._drop()
        try:
            link = await open_link(self.config)
        except OSError as error:
            self._failed_ns = self._clock.monotonic_ns()
            raise NoAnswer(f"{device.place} cannot be connected: {error}") from error
        except BaseException:
            self._failed_ns = self._clock.monotonic_ns()
            raise
        self.stats.connections += 1
        self._link = link
        return link

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

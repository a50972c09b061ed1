"""The supervisor against a clock that only moves when told: schedule, back-off, states, limits."""

import asyncio
import contextlib
import heapq
from itertools import count, pairwise

import pytest

from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.acquisition.schedule import Schedule
from edge_agent.clock import DeviceClock
from edge_agent.drivers import DRIVERS, ModbusConfig
from edge_agent.errors import NoAnswer
from edge_agent.readings import BAD_DEVICE, Sample
from edge_agent.supervision import Backoff

S = 1_000_000_000


class FakeClock:
    def __init__(self):
        self.now_ns = 1_700_000_000 * S
        self._sleepers = []
        self._tickets = count()

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.now_ns

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        due_ns = self.now_ns + round(seconds * S)
        heapq.heappush(self._sleepers, (due_ns, next(self._tickets), woken))
        await woken

    async def advance(self, seconds):
        target_ns = self.now_ns + round(seconds * S)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target_ns:
            due_ns, _, woken = heapq.heappop(self._sleepers)
            self.now_ns = max(self.now_ns, due_ns)
            if not woken.done():
                woken.set_result(None)
            await settle()
        self.now_ns = target_ns


async def settle():
    for _ in range(30):
        await asyncio.sleep(0)


class Stub:
    """A polled driver that plays a script: seconds a read takes, or an error to raise."""

    def __init__(self, config, clock):
        self.config, self.clock = config, clock
        self.script = []
        self.begun_ns, self.entered_ns = [], []
        self.value = 17
        self.due = []
        self.on_enter = self.line = None
        STUBS[config.id] = self

    async def __aenter__(self):
        self.entered_ns.append(self.clock.monotonic_ns())
        if self.on_enter:
            raise self.on_enter
        return self

    async def __aexit__(self, *exc):
        pass

    async def read(self, due=None):
        self.begun_ns.append(self.clock.monotonic_ns())
        self.due.append(due)
        if self.line is not None:
            async with self.line:
                return await self._answer()
        return await self._answer()

    async def _answer(self):
        step = self.script.pop(0) if self.script else 0
        if isinstance(step, BaseException):
            raise step
        if step:
            await self.clock.sleep(step)
        if self.value is None:
            return [Sample("t", self.clock.utc_ns(), None, BAD_DEVICE)]
        return [Sample("t", self.clock.utc_ns(), self.value)]


STUBS = {}


def device(name="d", **fields):
    tags = [{"id": f"{name}.t", "address": 0, "type": "uint16"}]
    base = {"driver": "modbus", "host": "h", "unit": 1, "interval_s": 1.0, "stale_s": 5.0}
    base["tags"] = tags
    return ModbusConfig(id=name, **{**base, **fields})


@contextlib.asynccontextmanager
async def running(devices, clock, **options):
    acquired = Acquisition(devices, clock, jitter=options.pop("jitter", lambda: 0.0), **options)
    task = asyncio.create_task(acquired.run())
    await settle()
    try:
        yield acquired
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def _stub_drivers(monkeypatch):
    STUBS.clear()
    monkeypatch.setitem(DRIVERS, "modbus", Stub)


async def test_a_poll_keeps_its_phase_however_long_reads_take():
    clock = FakeClock()
    async with running([device()], clock) as acquired:
        STUBS["d"].script = [0.3, 0.9, 0.1, 0.45] * 50
        await clock.advance(200)
        first, *_ = begun = STUBS["d"].begun_ns
        assert [(at - first) for at in begun] == [n * S for n in range(len(begun))]
        assert len(begun) >= 200
        assert acquired.status()[0].overruns == 0


async def test_a_slow_read_leaves_out_the_slots_it_missed_and_counts_them():
    clock = FakeClock()
    async with running([device()], clock) as acquired:
        stub = STUBS["d"]
        stub.script = [0, 3.5]
        await clock.advance(9.5)
        first = stub.begun_ns[0]
        assert [(at - first) // S for at in stub.begun_ns] == [0, 1, 5, 6, 7, 8, 9]
        assert acquired.status()[0].overruns == 3
        events = [e for e in acquired.drain_events() if e["type"] == "device_overrun"]
        assert sum(e["count"] for e in events) == 3


async def test_a_read_that_ends_on_its_next_slot_misses_nothing():
    clock = FakeClock()
    async with running([device()], clock) as acquired:
        STUBS["d"].script = [1.0, 1.0]
        await clock.advance(4.5)
        assert acquired.status()[0].overruns == 0
        assert all(b - a == S for a, b in pairwise(STUBS["d"].begun_ns))


async def test_a_full_queue_stops_polls_and_a_taken_one_lets_them_go_on():
    clock = FakeClock()
    async with running([device()], clock, queue_limit=4) as acquired:
        await clock.advance(9.5)
        assert len(STUBS["d"].begun_ns) == 4
        assert acquired.status()[0].overruns == 6
        taken = await anext(acquired.batches())
        assert [s.value for s in taken] == [17] * 4
        await clock.advance(2)
        assert len(STUBS["d"].begun_ns) == 6


async def test_a_dead_device_is_tried_for_ever_at_growing_distances():
    clock = FakeClock()
    async with running([device("dead"), device("live")], clock) as acquired:
        dead = STUBS["dead"]
        dead.on_enter = NoAnswer("nobody there")
        dead.script = [NoAnswer("gone")]
        await clock.advance(600)
        gaps = [(b - a) / S for a, b in pairwise(dead.entered_ns)]
        assert gaps[:7] == [0.25, 0.5, 1, 2, 4, 8, 15]
        assert set(gaps[7:]) == {15}
        assert len(STUBS["live"].begun_ns) == 601
        status = {s.device: s for s in acquired.status()}
        assert status["dead"].state is DeviceState.DOWN
        assert status["dead"].last_error == "NoAnswer: nobody there"
        assert status["dead"].reconnects == len(gaps)
        states = [e for e in acquired.drain_events() if e["device"] == "dead"]
        assert [(e["type"], e["state"]) for e in states] == [("device_state", "down")]

        dead.on_enter = None
        await clock.advance(20)
        assert acquired.status()[0].state is DeviceState.UP
        assert acquired.drain_events()[-1]["state"] == "up"


def test_back_off_stays_between_half_and_all_of_thirty_seconds():
    for jitter, waits in ((0.0, 15.0), (0.999, 29.985)):
        backoff = Backoff(lambda jitter=jitter: jitter)
        assert [backoff.next_s() for _ in range(12)][-1] == pytest.approx(waits)
        backoff.reset()
        assert backoff.next_s() < 0.51


@pytest.mark.parametrize(
    "crash", [RuntimeError("a bug"), asyncio.CancelledError(), KeyError("x"), TypeError()]
)
async def test_a_crash_is_counted_and_restarted_and_ends_nobody_else(crash):
    clock = FakeClock()
    async with running([device("odd"), device("live")], clock) as acquired:
        STUBS["odd"].script = [0, crash]
        await clock.advance(10.1)
        status = {s.device: s for s in acquired.status()}
        assert status["odd"].errors == 1
        assert status["odd"].last_error.startswith("crash")
        assert status["odd"].state is DeviceState.UP
        assert status["live"].errors == 0
        assert len(STUBS["live"].begun_ns) == 11


async def test_a_device_that_only_answers_bad_values_is_degraded_until_good_ones_come():
    clock = FakeClock()
    async with running([device()], clock) as acquired:
        await clock.advance(3)
        STUBS["d"].value = None
        await clock.advance(7.5)
        assert acquired.status()[0].state is DeviceState.DEGRADED
        assert acquired.status()[0].errors == 0
        STUBS["d"].value = 18
        await clock.advance(2)
        states = [e["state"] for e in acquired.drain_events()]
        assert states == ["up", "degraded", "up"]


async def test_a_read_that_hangs_makes_the_device_degraded_after_three_intervals():
    clock = FakeClock()
    async with running([device(interval_s=4.0, stale_s=1.0)], clock) as acquired:
        STUBS["d"].script = [0, 1000]
        await clock.advance(12)
        assert acquired.status()[0].state is DeviceState.UP
        await clock.advance(2)
        assert acquired.status()[0].state is DeviceState.DEGRADED


async def test_devices_are_spread_over_the_interval():
    clock = FakeClock()
    jitter = iter((0.1, 0.6)).__next__
    async with running([device("a"), device("b")], clock, jitter=jitter):
        await clock.advance(0.95)
        assert STUBS["b"].begun_ns[0] - STUBS["a"].begun_ns[0] == S // 2


async def test_a_disabled_device_is_not_there():
    clock = FakeClock()
    async with running([device(enabled=False), device("live")], clock) as acquired:
        assert [s.device for s in acquired.status()] == ["live"]
        assert set(STUBS) == {"live"}


async def test_cancelling_ends_every_task():
    clock = FakeClock()
    before = asyncio.all_tasks()
    async with running([device("a"), device("b")], clock):
        names = {task.get_name() for task in asyncio.all_tasks() - before}
        assert {"device:a", "device:b", "acquisition:watch"} <= names
    assert asyncio.all_tasks() == before


async def test_a_device_clock_follows_the_newest_reading():
    class Turning(DeviceClock):
        def __init__(self):
            super().__init__()
            self.fake = FakeClock()
            self.monotonic_ns, self.sleep = self.fake.monotonic_ns, self.fake.sleep

    clock = Turning()
    async with running([device()], clock) as acquired:
        STUBS["d"].clock = clock.fake
        await clock.fake.advance(3.5)
        assert clock.utc_ns() == clock.fake.now_ns - S // 2
        assert acquired.status()[0].last_data_ns == clock.utc_ns()


class Talker(Stub):
    """A subscribed driver that has something to say every second and loses what is not taken."""

    read = None
    dropped = 0

    async def samples(self):
        while True:
            await self.clock.sleep(1)
            self.begun_ns.append(self.clock.monotonic_ns())
            yield [Sample("t", self.clock.utc_ns(), len(self.begun_ns))]


async def test_a_subscription_is_not_taken_from_while_the_queue_is_full(monkeypatch):
    monkeypatch.delattr(Talker, "read")
    monkeypatch.delattr(Stub, "read")
    monkeypatch.setitem(DRIVERS, "modbus", Talker)
    clock = FakeClock()
    async with running([device()], clock, queue_limit=3) as acquired:
        await clock.advance(10)
        assert len(STUBS["d"].begun_ns) == 3
        STUBS["d"].dropped = 7
        assert acquired.status()[0].overruns == 7
        assert [s.value for s in await anext(acquired.batches())] == [1, 2, 3]
        await clock.advance(2)
        assert [s.value for s in await anext(acquired.batches())] == [4, 5]


# --- rates --------------------------------------------------------------------------------------


def rates(**intervals):
    return [
        {"id": name, "address": place, "type": "uint16", "interval_s": interval}
        for place, (name, interval) in enumerate(intervals.items())
    ]


async def test_tags_of_one_device_are_read_each_at_its_own_rate_and_together_where_they_meet():
    clock = FakeClock()
    tags = rates(fast=0.5, plain=None, slow=3.0)
    async with running([device(tags=tags)], clock) as acquired:
        await clock.advance(6.25)
        stub = STUBS["d"]
        first = stub.begun_ns[0]
        assert [(at - first) / S for at in stub.begun_ns] == [n / 2 for n in range(13)]
        assert stub.due[0] is None
        assert stub.due[1] == {"fast"}
        assert stub.due[2] == {"fast", "plain"}
        assert stub.due[6] is None
        assert acquired.status()[0].overruns == 0


async def test_a_slow_tag_whose_slot_came_during_another_read_is_read_late_and_not_left_out():
    clock = FakeClock()
    async with running([device(tags=rates(fast=1.0, slow=2.5))], clock) as acquired:
        stub = STUBS["d"]
        stub.script = [0, 0, 0.8]  # the read of second 2 lasts until 2.8; "slow" was due at 2.5
        await clock.advance(3.5)
        first = stub.begun_ns[0]
        read = [((at - first) / S, due) for at, due in zip(stub.begun_ns, stub.due, strict=True)]
        assert read[3] == (2.8, {"slow"})
        assert read[4] == (3.0, {"fast"})
        assert acquired.status()[0].overruns == 0


async def take(acquired):
    async for _ in acquired.batches():
        pass


async def test_overruns_are_told_with_their_reason_and_their_span_of_time():
    clock = FakeClock()
    async with running([device()], clock, queue_limit=2) as acquired:
        began_ns = clock.now_ns
        await clock.advance(6.5)
        taking = asyncio.create_task(take(acquired))
        await clock.advance(62)
        taking.cancel()
        told = [e for e in acquired.drain_events() if e["type"] == "device_overrun"]
        assert {e["reason"] for e in told} == {"queue"}
        assert sum(e["count"] for e in told) == acquired.status()[0].overruns == 5
        assert min(e["from"] for e in told) == began_ns + 2 * S
        assert max(e["to"] for e in told) == began_ns + 6 * S


async def test_an_overload_that_goes_on_is_told_once_a_minute_with_all_its_slots():
    clock = FakeClock()
    async with running([device()], clock, queue_limit=2) as acquired:
        await clock.advance(600.5)
        told = [e for e in acquired.drain_events() if e["type"] == "device_overrun"]
        assert 10 <= len(told) <= 11
        (status,) = acquired.status()
        assert (status.state, status.renewals) == (DeviceState.UP, 0)  # the fault is ours
        taking = asyncio.create_task(take(acquired))
        await clock.advance(62)
        taking.cancel()
        told += [e for e in acquired.drain_events() if e["type"] == "device_overrun"]
        assert sum(e["count"] for e in told) == acquired.status()[0].overruns == 599


def test_a_day_of_polls_does_not_drift():
    tags = device(tags=rates(a=0.3, b=None, c=60.0)).tags
    schedule = Schedule(tags, 7.0)
    base_ns = now_ns = 12_345
    schedule.start(base_ns)
    begun = {}
    for number in range(300_000):
        now_ns = max(now_ns, schedule.next_ns())
        due, missed = schedule.take(now_ns)
        assert missed == 0
        for tag in schedule.due_tags(due) or ("a", "b", "c"):
            begun.setdefault(tag, []).append(now_ns - base_ns)
        now_ns += 7_000_000 * (number % 3)
        assert schedule.done(due, now_ns) == 0
    assert now_ns - base_ns > 86_000 * S
    assert begun["a"] == [n * 300_000_000 for n in range(len(begun["a"]))]
    for tag, period in (("b", 7 * S), ("c", 60 * S)):
        late = [at - n * period for n, at in enumerate(begun[tag])]
        assert min(late) >= 0
        assert max(late) < 0.02 * S


# --- the breaker of a shared line ---------------------------------------------------------------


class Wired(Stub):
    """A stub that shares its line: one read at a time, a silent one holds it for its time-out."""

    timeout_s = 0.5

    def share(self, lines):
        self.line = lines.line(("wire", self.config.port), asyncio.Lock)

    async def _answer(self):
        if self.value is None:
            await self.clock.sleep(self.timeout_s)
            raise NoAnswer("silent")
        await self.clock.sleep(0.01)
        return [Sample("t", self.clock.utc_ns(), self.value)]


def on_time(stub, seconds):
    """Share of the whole seconds after the tenth in which a read began."""
    base = stub.begun_ns[0]
    slots = {(at - base) // S for at in stub.begun_ns}
    return len([n for n in range(10, seconds) if n in slots]) / (seconds - 10)


async def test_silent_units_on_a_shared_line_take_at_most_a_tenth_of_its_time(monkeypatch):
    monkeypatch.setitem(DRIVERS, "modbus", Wired)
    clock = FakeClock()
    names = [f"u{n}" for n in range(12)]
    dead = names[:8]
    async with running([device(name) for name in names], clock) as acquired:
        for name in dead:
            STUBS[name].value = None
        await clock.advance(400)
        for name in names[8:]:
            assert on_time(STUBS[name], 399) > 0.99
        states = {s.device: s.state for s in acquired.status()}
        assert {states[name] for name in dead} == {DeviceState.DOWN}
        assert {states[name] for name in names[8:]} == {DeviceState.UP}
        tries = [at for name in dead for at in STUBS[name].begun_ns if at > STUBS[name].begun_ns[0]]
        assert 0.05 * 400 <= 0.5 * len(tries) <= 0.1 * 400 + 1
        assert all(len(STUBS[name].begun_ns) >= 5 for name in dead)


async def test_a_unit_that_speaks_again_is_back_within_the_lines_turns(monkeypatch):
    monkeypatch.setitem(DRIVERS, "modbus", Wired)
    clock = FakeClock()
    names = ["a", "b", "c", "d"]
    async with running([device(name) for name in names], clock) as acquired:
        STUBS["b"].value = STUBS["c"].value = None
        await clock.advance(120)
        STUBS["b"].value = 3
        await clock.advance(45)
        states = {s.device: s.state for s in acquired.status()}
        assert states["b"] is DeviceState.UP
        assert states["c"] is DeviceState.DOWN
        begun = STUBS["b"].begun_ns
        assert begun[-1] - begun[-2] == S


async def test_when_a_whole_line_was_away_all_its_units_come_back_without_waiting_in_turn(
    monkeypatch,
):
    monkeypatch.setitem(DRIVERS, "modbus", Wired)
    clock = FakeClock()
    async with running([device(f"u{n}") for n in range(20)], clock) as acquired:
        for stub in STUBS.values():
            stub.value = None
        await clock.advance(300)
        for stub in STUBS.values():
            stub.value = 5
        await clock.advance(31)
        assert {s.state for s in acquired.status()} == {DeviceState.UP}


# --- the watchdog -------------------------------------------------------------------------------


async def test_a_session_without_data_is_ended_and_made_again_and_counted():
    clock = FakeClock()
    async with running([device(renew_s=20.0)], clock) as acquired:
        stub = STUBS["d"]
        stub.script = [0, 10_000]
        await clock.advance(30)
        (status,) = acquired.status()
        assert (status.renewals, status.state) == (1, DeviceState.UP)
        assert "made again" in status.last_error
        assert len(stub.entered_ns) == 2
        kinds = [e["type"] for e in acquired.drain_events()]
        assert kinds.count("device_renewed") == 1


async def test_a_connect_that_never_returns_is_ended_too():
    clock = FakeClock()
    async with running([device(renew_s=20.0)], clock) as acquired:
        STUBS["d"].on_enter = NoAnswer("x")
        STUBS["d"].script = [NoAnswer("x")]
        stub = STUBS["d"]

        async def hang(self):
            self.entered_ns.append(clock.now_ns)
            await clock.sleep(10**6)

        await clock.advance(0.1)
        type(stub).__aenter__, before = hang, type(stub).__aenter__
        try:
            await clock.advance(30)
        finally:
            type(stub).__aenter__ = before
        stub.on_enter = None
        await clock.advance(30)
        assert acquired.status()[0].renewals >= 1
        assert acquired.status()[0].state is DeviceState.UP


async def test_a_driver_that_swallows_its_cancellation_is_left_behind_for_a_new_one():
    clock = FakeClock()
    deaf = asyncio.Event()
    async with running([device(renew_s=20.0)], clock) as acquired:
        stub = STUBS["d"]

        async def answer():
            while not deaf.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await deaf.wait()
            return []

        stub._answer = answer
        await clock.advance(40)
        assert STUBS["d"] is not stub
        assert "let go" in acquired.status()[0].last_error
        assert acquired.status()[0].state is DeviceState.UP
        deaf.set()
        await settle()


class Sender:
    """A driver whose sender waits for an answer; the second delivery ends in a hang."""

    def __init__(self, config, clock):
        self.known, self.told, self._marks = [], [], []
        self.deaf = asyncio.Event()
        SENDERS.append(self)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def samples(self):
        for mark in (b"1", b"2"):
            self._marks = [mark]
            yield [Sample("d.t", 1, 5)]
        while not self.deaf.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.deaf.wait()

    def marks(self):
        return self._marks

    def remember(self, marks):
        self.known += marks

    def kept(self, deliveries):
        self.told.append(deliveries)


SENDERS = []


async def test_what_a_driver_left_behind_had_delivered_is_known_to_its_successor(monkeypatch):
    clock = FakeClock()
    SENDERS.clear()
    monkeypatch.setitem(DRIVERS, "modbus", Sender)
    async with running([device(renew_s=20.0)], clock) as acquired:
        acquired.resume(0, {"d": [b"0"]})
        (first,) = SENDERS
        acquired.kept(1)
        assert first.told == [1]
        await clock.advance(40)
        second = SENDERS[1]
        assert second.known == [b"0", b"1"]
        acquired.kept(2)
        assert second.known == [b"0", b"1", b"2"]
        assert (first.told, second.told) == ([1], []), "the second delivery was not its own"
        acquired.kept(4)
        assert second.told == [2]
        for sender in SENDERS:
            sender.deaf.set()
        await settle()

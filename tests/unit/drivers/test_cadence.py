"""The supervisor against a clock that only moves when told: schedule, back-off, states, limits."""

import asyncio
import contextlib
import heapq
from itertools import count, pairwise

import pytest

from edge_agent import acquisition
from edge_agent.acquisition import Acquisition, Backoff, DeviceState
from edge_agent.clock import DeviceClock
from edge_agent.drivers import ModbusConfig
from edge_agent.errors import NoAnswer
from edge_agent.readings import BAD_DEVICE, Sample

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
        self.on_enter = None
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
    return ModbusConfig(id=name, tags=tags, **{**base, **fields})


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
    monkeypatch.setitem(acquisition.DRIVERS, "modbus", Stub)


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
    monkeypatch.setitem(acquisition.DRIVERS, "modbus", Talker)
    clock = FakeClock()
    async with running([device()], clock, queue_limit=3) as acquired:
        await clock.advance(10)
        assert len(STUBS["d"].begun_ns) == 3
        STUBS["d"].dropped = 7
        assert acquired.status()[0].overruns == 7
        assert [s.value for s in await anext(acquired.batches())] == [1, 2, 3]
        await clock.advance(2)
        assert [s.value for s in await anext(acquired.batches())] == [4, 5]

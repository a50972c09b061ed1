"""Gaps that a device's history fills, and how long accounting waits for it."""

import asyncio
from types import SimpleNamespace

import pytest

from edge_agent.acquisition import Acquisition
from edge_agent.clock import NS_PER_S
from edge_agent.drivers import DRIVERS
from edge_agent.drivers.base import Tag
from edge_agent.drivers.history import Backfill, HistoryConfig, HistoryReader
from edge_agent.drivers.opcua import OpcUaConfig
from edge_agent.pipeline import Pipeline
from edge_agent.readings import BAD_DEVICE, Quality, Reason, Sample, Severity
from edge_agent.wire.batch_rules import EVENT_TYPES

T0 = 1_790_000_040 * NS_PER_S  # a whole minute
FROM_HISTORY = Quality.of(Severity.GOOD, Reason.HISTORY)


class Turned:
    """A clock that stands until it is turned."""

    def __init__(self):
        self.now_ns = T0
        self.mono_ns = 0

    def utc_ns(self):
        return self.now_ns

    def monotonic_ns(self):
        return self.mono_ns

    def turn(self, seconds):
        self.now_ns += round(seconds * NS_PER_S)
        self.mono_ns += round(seconds * NS_PER_S)


class Recorder:
    """A server that recorded one value a second of each tag, its second of the minute."""

    def __init__(self, clock, *tags):
        self.asked = []
        self._clock = clock
        self._tags = tags

    @property
    def heard_ns(self):
        return self._clock.utc_ns()

    async def history(self, starts_ns, end_ns):
        self.asked.append((dict(starts_ns), end_ns))
        stop_ns = min(end_ns, self._clock.utc_ns())
        for tag in self._tags:
            first = -(-starts_ns.get(tag, stop_ns) // NS_PER_S)
            yield [Sample(tag, n * NS_PER_S, n % 60) for n in range(first, stop_ns // NS_PER_S)]


def backfill(clock, *tags, events=None, **history):
    device = SimpleNamespace(
        id="pots", tags=[Tag(id=tag) for tag in tags], history=HistoryConfig(**history)
    )
    return Backfill(device, clock, None if events is None else events.append)


async def fill(filler, session):
    return [reading async for readings in filler.fill(session) for reading in readings]


async def lived(clock, *tags, seconds=60, **fields):
    """A device that was up for a while, one value a second of each tag."""
    filler = backfill(clock, *tags, **fields)
    assert await fill(filler, Recorder(clock, *tags)) == []
    for _ in range(seconds):
        filler.observe([Sample(tag, clock.utc_ns(), 1.5) for tag in tags])
        clock.turn(1)
    return filler


async def test_the_stretch_since_the_newest_reading_comes_marked_and_in_order():
    clock, events = Turned(), []
    filler = await lived(clock, "a", "b", events=events)
    newest_ns = clock.utc_ns() - NS_PER_S
    filler.lost()
    clock.turn(90)
    got = await fill(filler, Recorder(clock, "a", "b"))
    for tag in ("a", "b"):
        times = [sample.time_ns for sample in got if sample.tag == tag]
        assert times == sorted(times)
        assert set(range(newest_ns, clock.utc_ns(), NS_PER_S)) <= set(times)
    assert {sample.quality for sample in got} == {FROM_HISTORY}
    (event,) = events
    assert (event["type"], event["count"], event["tags"]) == ("history", len(got), 2)
    assert event["to"] == clock.utc_ns()
    assert event["type"] in EVENT_TYPES  # or no batch could be made of it


async def test_a_tag_that_was_bad_before_is_asked_for_from_its_own_last_good_reading():
    clock = Turned()
    filler = await lived(clock, "a", "b", seconds=20)
    for _ in range(40):
        filler.observe(
            [Sample("a", clock.utc_ns(), 1.5), Sample("b", clock.utc_ns(), None, BAD_DEVICE)]
        )
        clock.turn(1)
    filler.lost()
    clock.turn(30)
    recorder = Recorder(clock, "a", "b")
    got = await fill(filler, recorder)
    assert min(s.time_ns for s in got if s.tag == "b") == T0 + 20 * NS_PER_S
    assert min(s.time_ns for s in got if s.tag == "a") > T0 + 50 * NS_PER_S


async def test_long_stretches_are_asked_slice_by_slice_and_not_beyond_the_longest_gap():
    clock = Turned()
    filler = await lived(clock, "a", slice_s=100, max_gap_s=1_000)
    filler.lost()
    clock.turn(5_000)
    recorder = Recorder(clock, "a")
    got = await fill(filler, recorder)
    assert min(s.time_ns for s in got) == clock.utc_ns() - 1_000 * NS_PER_S
    assert len(recorder.asked) == 10
    ends = [end_ns for _, end_ns in recorder.asked]
    starts = [next(iter(starts.values())) for starts, _ in recorder.asked]
    assert starts[1:] == ends[:-1]


async def test_accounting_waits_while_the_device_is_away_and_follows_what_it_tells():
    clock = Turned()
    filler = await lived(clock, "a", slice_s=60, hold_s=600)
    assert filler.settled_ns() == clock.utc_ns()
    filler.lost()
    held_ns = filler.settled_ns()
    assert T0 <= held_ns < T0 + 60 * NS_PER_S
    clock.turn(300)
    assert filler.settled_ns() == held_ns
    seen = []
    async for _ in filler.fill(Recorder(clock, "a")):
        seen.append(filler.settled_ns())
    assert seen[0] == held_ns
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert filler.settled_ns() == clock.utc_ns()


async def test_accounting_waits_no_longer_than_it_is_told_to():
    clock = Turned()
    filler = await lived(clock, "a", hold_s=120)
    filler.lost()
    clock.turn(119)
    assert filler.settled_ns() is not None
    clock.turn(2)
    assert filler.settled_ns() is None


async def test_a_second_loss_before_the_gap_is_filled_keeps_its_beginning():
    clock = Turned()
    filler = await lived(clock, "a")
    filler.lost()
    begun_ns = filler.settled_ns()
    clock.turn(30)
    pages = filler.fill(Recorder(clock, "a"))
    await anext(pages)
    await pages.aclose()
    filler.lost()
    assert filler.settled_ns() == begun_ns


async def test_an_agent_that_was_down_asks_from_where_its_state_ends():
    clock = Turned()
    filler = backfill(clock, "a")
    filler.resume(T0 - 1_000 * NS_PER_S)
    assert filler.settled_ns() == T0 - 1_000 * NS_PER_S
    got = await fill(filler, Recorder(clock, "a"))
    assert len(got) >= 1_000


async def test_a_device_without_history_or_configuration_is_not_waited_for():
    clock = Turned()
    plain = Backfill(SimpleNamespace(id="m", tags=[]), clock)
    plain.observe([Sample("a", T0, 1.5)])
    plain.lost()
    assert plain.settled_ns() is None
    assert await fill(plain, object()) == []
    mute = await lived(clock, "a")
    mute.lost()
    assert await fill(mute, object()) == []
    assert mute.settled_ns() is None


async def test_a_reading_from_the_far_future_does_not_hide_the_gap():
    clock = Turned()
    filler = await lived(clock, "a")
    filler.observe([Sample("a", T0 + 10**6 * NS_PER_S, 1.5)])
    filler.lost()
    clock.turn(60)
    assert len(await fill(filler, Recorder(clock, "a"))) >= 60


class Speaking(Recorder):
    """A driver that delivers when it is told to."""

    def __init__(self, clock, *tags):
        super().__init__(clock, *tags)
        self.said = asyncio.Queue()

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        pass

    async def samples(self):
        while True:
            yield await self.said.get()


async def test_what_is_settled_moves_only_when_the_readings_before_it_were_taken(monkeypatch):
    clock = Turned()
    clock.sleep = asyncio.sleep
    driver = Speaking(clock, "a")
    monkeypatch.setitem(DRIVERS, "opcua", lambda *_: driver)
    tag = {"id": "a", "node": "i=1"}
    config = OpcUaConfig(
        driver="opcua", id="d", url="opc.tcp://h:1", insecure=True, history={}, tags=[tag]
    )
    acquisition = Acquisition([config], clock, jitter=lambda: 0.0)
    acquisition.resume(T0 - 60 * NS_PER_S)
    running = asyncio.create_task(acquisition.run())
    batches = acquisition.batches()
    assert acquisition.settled_ns() == T0 - 60 * NS_PER_S
    told = await anext(batches)
    assert {sample.quality for sample in told} == {FROM_HISTORY}
    while acquisition.settled_ns() < T0:
        await asyncio.sleep(0)
    clock.turn(5)
    driver.said.put_nowait([Sample("a", T0 + NS_PER_S, 1.5)])
    before_ns = acquisition.settled_ns()
    clock.turn(1)
    while not acquisition._queue.size:
        await asyncio.sleep(0)
    assert acquisition.settled_ns() == before_ns < clock.utc_ns()
    await anext(batches)
    assert acquisition.settled_ns() == clock.utc_ns()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_wait_for_a_device_ends_although_nobody_takes_the_readings():
    clock = Turned()
    config = OpcUaConfig.model_validate(
        {
            "driver": "opcua",
            "id": "d",
            "url": "opc.tcp://h:1",
            "insecure": True,
            "history": {"hold_s": 60},
            "tags": [{"id": "a", "node": "i=1"}],
        }
    )
    acquisition = Acquisition([config], clock, jitter=lambda: 0.0)
    acquisition.resume(T0)
    assert acquisition.settled_ns() == T0
    acquisition._queue.put([Sample("b", T0, 1.5)])
    clock.turn(60)
    assert acquisition.settled_ns() == T0
    clock.turn(1)
    assert acquisition.settled_ns() is None


def test_a_recorder_is_a_history_reader():
    assert isinstance(Recorder(Turned()), HistoryReader)
    assert not isinstance(object(), HistoryReader)


@pytest.mark.parametrize(("has_history", "full_minutes"), [(True, 9), (False, 5)])
async def test_a_gap_longer_than_the_lateness_is_accounted_as_if_it_had_not_been(
    make_config, factors, has_history, full_minutes
):
    """Two minutes, an outage of four, two minutes: minute means of a hall temperature."""
    clock, tag = Turned(), "hall.temperature"
    pipeline = Pipeline(make_config(), factors)
    filler = (
        backfill(clock, tag) if has_history else Backfill(SimpleNamespace(id="d", tags=[]), clock)
    )
    session = Recorder(clock, tag) if has_history else object()
    rows, events = {}, []

    def account():
        due_ns = pipeline.due_ns(clock.utc_ns(), filler.settled_ns())
        if due_ns is not None:
            produce = pipeline.advance(due_ns)
            events.extend(produce.events)
            rows.update(
                {r.time_ns: r for c in produce.pieces for r in c.records() if r.series == tag}
            )

    def take(readings):
        filler.observe(readings)
        pipeline.feed(readings, clock.utc_ns())
        account()

    async def live(seconds):
        for _ in range(seconds):
            take([Sample(tag, clock.utc_ns(), clock.utc_ns() // NS_PER_S % 60)])
            clock.turn(1)

    await fill(filler, session)
    await live(120)
    filler.lost()
    for _ in range(240):
        clock.turn(1)
        account()
    async for readings in filler.fill(session):
        take(readings)
    await live(190)
    good = {t: r for t, r in rows.items() if r.quality.severity is Severity.GOOD}
    assert len(good) == full_minutes
    assert all(r.value == 29.5 for r in good.values())
    assert not [e for e in events if e["type"] == "late_samples"]

"""Loggers that report to a listening agent: who is heard, acknowledgements, repeats, limits."""

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest

from edge_agent.acquisition import Acquisition, DeviceState
from edge_agent.clock import SystemClock
from edge_agent.drivers import hj212
from edge_agent.drivers.hj212 import Hj212Driver
from edge_agent.drivers.hj212_values import HISTORY, Hj212Config
from edge_agent.readings import GOOD
from simulators.hj212_logger import DataLogger

MN, OTHER = "CEMS0001", "CEMS0002"
TAGS = (
    {"id": "so2", "factor": "a21026", "logger": MN},
    {"id": "so2_mean", "factor": "a21026", "field": "Avg", "logger": MN},
    {"id": "dust", "factor": "a34013", "logger": OTHER},
)


class At(SystemClock):
    def utc_ns(self):
        return round(datetime(2026, 3, 1, 1, 0, tzinfo=UTC).timestamp()) * 10**9


@pytest.fixture
def config(tmp_path):
    loggers = []
    for mn in (MN, OTHER):
        file = tmp_path / mn
        file.write_text(f"pw-{mn}\n")
        loggers.append({"mn": mn, "password_file": file})

    def make(**fields):
        base = {"driver": "hj212", "id": "cems", "port": 0, "loggers": loggers, "tags": TAGS}
        return Hj212Config.model_validate({**base, **fields})

    return make


@contextlib.asynccontextmanager
async def listening(config):
    async with asyncio.timeout(30), Hj212Driver(config, At()) as driver:
        yield driver


class Consumer:
    """Takes what the driver has and keeps it, in its own task, as the agent does."""

    def __init__(self, driver):
        self.readings, self.deliveries = [], 0
        self.task = asyncio.create_task(self._run(driver))

    async def _run(self, driver):
        async for readings in driver.samples():
            self.readings += readings
            self.deliveries += 1
            driver.kept(self.deliveries)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def report(logger, minute, value, *, command=2011):
    time = f"2026030108{minute:02}00"
    field = "Rtd" if command == 2011 else "Avg"
    logger.report(command, time, {"a21026": {field: value, "Flag": "N"}}, qn=f"{time}123")


async def test_values_arrive_and_are_acknowledged(config):
    async with listening(config()) as driver, Consumer(driver) as consumer:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        report(logger, 58, 12.5)
        report(logger, 30, 13.5, command=2051)
        while logger.waiting:
            assert await logger.listen()
        logger.close()
    assert [(r.tag, r.value, r.quality) for r in consumer.readings] == [
        ("so2", 12.5, GOOD),
        ("so2_mean", 13.5, GOOD),
    ]


async def test_two_loggers_report_side_by_side(config):
    async with listening(config()) as driver, Consumer(driver) as consumer:
        loggers = [await DataLogger(mn, f"pw-{mn}").connect(driver.port) for mn in (MN, OTHER)]
        for number in range(40):
            report(loggers[0], number, number + 0.5)
            time = f"2026030108{number:02}00"
            factors = {"a34013": {"Rtd": 100.5 + number, "Flag": "N"}}
            loggers[1].report(2011, time, factors, qn=f"{time}456")
        for logger in loggers:
            while logger.waiting:
                assert await logger.listen()
            logger.close()
    values = {tag: [r.value for r in consumer.readings if r.tag == tag] for tag in ("so2", "dust")}
    assert values == {
        "so2": [number + 0.5 for number in range(40)],
        "dust": [100.5 + number for number in range(40)],
    }


@pytest.mark.parametrize(
    ("mn", "password"),
    [("STRANGER", f"pw-{MN}"), (MN, "wrong"), (MN, f"pw-{OTHER}"), (MN, ""), ("", "")],
)
async def test_nobody_else_gets_in(config, mn, password):
    async with listening(config()) as driver, Consumer(driver) as consumer:
        stranger = await DataLogger(mn, password).connect(driver.port)
        report(stranger, 58, 66.6)
        if mn:
            assert not await stranger.listen()
        assert stranger.heard == b""
        stranger.close()
        assert consumer.readings == []


async def test_a_packet_that_comes_again_is_acknowledged_and_not_delivered_twice(config):
    async with listening(config()) as driver, Consumer(driver) as consumer:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        report(logger, 58, 12.5)
        first = dict(logger.waiting)
        while logger.waiting:
            assert await logger.listen()
        for _ in range(3):
            logger.waiting = dict(first)
            logger.heard = b""
            logger.send_again()
            while logger.waiting:
                assert await logger.listen()
        logger.close()
        assert len(consumer.readings) == 1


async def test_what_nobody_took_is_not_acknowledged_and_comes_again(config):
    driver = Hj212Driver(config(), At())
    async with asyncio.timeout(30), driver:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        report(logger, 58, 12.5)
        while not driver._queue:
            await asyncio.sleep(0)
        assert len(logger.waiting) == 1
    assert not await logger.listen()  # the agent stopped without having taken it
    assert logger.heard == b""
    async with asyncio.timeout(30), driver, Consumer(driver) as consumer:
        await logger.connect(driver.port)
        logger.send_again()
        while logger.waiting:
            assert await logger.listen()
        logger.close()
        assert [r.value for r in consumer.readings] == [12.5]


async def test_what_was_taken_and_is_not_durable_yet_is_not_acknowledged(config):
    async with listening(config()) as driver:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        deliveries = driver.samples()
        for number in range(3):
            report(logger, number, number + 0.5)
        taken = 0
        while taken < 3:
            taken += len(await anext(deliveries))
            if taken == 1:
                assert len(driver.marks()) == 1
        logger.send_again()  # nobody answered in time: it is the same packets again
        beyond = asyncio.ensure_future(anext(deliveries))
        report(logger, 30, 9.5)
        (last,) = await beyond
        assert last.value == 9.5
        assert logger.heard == b""
        driver.kept(1)
        assert await logger.listen()
        assert 0 < len(logger.waiting) < 4
        driver.kept(len(driver._unkept) + 1)
        while logger.waiting:
            assert await logger.listen()
        logger.close()
        await deliveries.aclose()


async def test_a_packet_that_was_kept_in_an_earlier_life_is_acknowledged_and_not_delivered(config):
    async with listening(config()) as driver:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        report(logger, 58, 12.5)
        deliveries = driver.samples()
        await anext(deliveries)
        marks = list(driver.marks())
        await deliveries.aclose()
    again = Hj212Driver(config(), At())
    again.remember(marks)
    async with asyncio.timeout(30), again, Consumer(again) as consumer:
        await logger.connect(again.port)
        logger.send_again()
        while logger.waiting:
            assert await logger.listen()
        report(logger, 59, 13.5)
        while logger.waiting:
            assert await logger.listen()
        logger.close()
        assert [r.value for r in consumer.readings] == [13.5]


async def test_packets_that_want_no_answer_leave_no_marks(config):
    async with listening(config()) as driver:
        logger = await DataLogger(MN, f"pw-{MN}", flag=4).connect(driver.port)
        report(logger, 58, 12.5)
        deliveries = driver.samples()
        await anext(deliveries)
        assert driver.marks() == []
        logger.close()
        await deliveries.aclose()


async def test_a_busy_agent_leaves_packets_with_the_logger_instead_of_losing_them(
    config, monkeypatch
):
    monkeypatch.setattr(hj212, "QUEUE_LIMIT", 5)
    async with listening(config()) as driver:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        for number in range(20):
            report(logger, number, number + 0.5)
        while driver.dropped < 15:
            await asyncio.sleep(0)
        async with Consumer(driver) as consumer:
            while logger.waiting:
                logger.send_again()
                assert await logger.listen()
        logger.close()
    assert sorted(r.value for r in consumer.readings) == [number + 0.5 for number in range(20)]


async def test_damaged_packets_are_told_and_do_not_hide_the_good_one_behind_them(config, caplog):
    async with listening(config()) as driver, Consumer(driver) as consumer:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        logger.send_raw(b"##00zz#noise##0005abcde0000\r\n")
        report(logger, 58, 12.5)
        while logger.waiting:
            assert await logger.listen()
        logger.close()
        assert [r.value for r in consumer.readings] == [12.5]
    assert sum("hj212_damaged" in message for message in caplog.messages) == 1  # loud once
    assert not any(f"pw-{MN}" in message for message in caplog.messages)


async def test_a_connection_of_nothing_but_noise_is_ended(config):
    async with listening(config()) as driver:
        logger = await DataLogger(MN, "").connect(driver.port)
        logger.send_raw(b"##zzzz" * 200)
        assert not await logger.listen()
        logger.close()


async def test_a_silent_connection_is_ended(config):
    async with listening(config(timeout_s=0.05)) as driver:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        assert not await logger.listen()
        logger.close()


async def test_a_value_that_is_sent_late_is_marked_as_history_and_one_of_the_future_as_our_time(
    config,
):
    async with listening(config()) as driver, Consumer(driver) as consumer:
        logger = await DataLogger(MN, f"pw-{MN}").connect(driver.port)
        report(logger, 10, 12.5)
        logger.report(
            2011, "20260301120000", {"a21026": {"Rtd": 1.5, "Flag": "N"}}, qn="20260301120000001"
        )
        while logger.waiting:
            assert await logger.listen()
        logger.close()
    late, ahead = consumer.readings
    assert late.quality == HISTORY
    assert (ahead.time_ns, ahead.quality.reason.name) == (At().utc_ns(), "CLOCK")


async def test_the_supervisor_runs_a_listener_and_calls_it_up_when_values_flow(config):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    acquired = Acquisition([config(port=port)], At(), jitter=lambda: 0.0)
    task = asyncio.create_task(acquired.run())
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    logger = await DataLogger(MN, f"pw-{MN}").connect(port)
                    break
                await asyncio.sleep(0.01)
            assert acquired.status()[0].state is DeviceState.CONNECTING
            report(logger, 58, 12.5)
            while not acquired._queue.size:
                await asyncio.sleep(0.01)
            acquired.kept(acquired.taken.place)  # what is held in the queue is not kept
            readings = await anext(acquired.batches())
            assert [reading.value for reading in readings] == [12.5]
            assert acquired.status()[0].state is DeviceState.UP
            acquired.kept(acquired.taken.place - 1)
            assert [device for device, _ in acquired.taken.marks] == ["cems"]
            assert logger.heard == b""
            acquired.kept(acquired.taken.place)
            while logger.waiting:
                assert await logger.listen()
            logger.close()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

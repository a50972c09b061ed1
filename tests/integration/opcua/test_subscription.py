"""Values, restarts, cables and history against node-opcua's server."""

import asyncio

import numpy as np
import pytest

from edge_agent.acquisition import DeviceState
from edge_agent.clock import SystemClock
from edge_agent.drivers.opcua import opcua_driver
from edge_agent.readings import BAD_COMMS, BAD_DEVICE, GOOD, Quality, Reason, Severity, Waveform

FROM_HISTORY = Quality.of(Severity.GOOD, Reason.HISTORY)
T0_MS = 1_772_366_400_250


async def test_scalars_arrays_and_statuses_arrive_as_they_are(node_server, device, listen):
    names = ("v", "n", "wave", "text", "nowhere")
    async with node_server() as server, listen(device(server.url, *names)) as listener:
        await listener.until(lambda li: {"v", "n", "text", "nowhere"} <= {r.tag for r in li.found})
        await server.send(set="v", value=4.5, ms=T0_MS)
        await server.send(set="n", value=2**53 - 1, ms=T0_MS)
        await server.send(set="wave", value=[1.5, 2.5, -3.5], ms=T0_MS)
        await listener.until(lambda li: any(isinstance(r, Waveform) for r in li.found))
        await listener.until(lambda li: 4.5 in li.values("v") and 2**53 - 1 in li.values("n"))
        (v,) = (s for s in listener.samples("v") if s.value == 4.5)
        assert (v.time_ns, v.quality) == (T0_MS * 10**6, GOOD)
        (wave,) = (r for r in listener.found if isinstance(r, Waveform))
        assert (wave.time_ns, wave.period_ns) == (T0_MS * 10**6, 10**8)
        np.testing.assert_array_equal(wave.values, [1.5, 2.5, -3.5])
        assert isinstance(listener.values("n")[-1], int)
        for status, expected in (
            ("BadNotConnected", BAD_COMMS),
            ("BadSensorFailure", BAD_DEVICE),
            ("BadOutOfService", Quality.of(Severity.BAD, Reason.MAINTENANCE)),
            ("UncertainSensorNotAccurate", Quality.of(Severity.UNCERTAIN, Reason.CALIBRATION)),
            ("UncertainLastUsableValue", Quality.of(Severity.UNCERTAIN, Reason.STUCK)),
        ):
            await server.send(set="v", value=4.75, status=status)
            await listener.until(lambda li, q=expected: li.samples("v")[-1].quality == q)
            value = listener.values("v")[-1]
            assert value == (None if expected.severity is Severity.BAD else 4.75)
        bad = [(s.value, s.quality) for s in listener.samples("nowhere")]
        assert bad == [(None, BAD_DEVICE)]


async def test_a_deadband_keeps_small_changes_back_and_a_large_one_comes(
    node_server, device, listen
):
    tags = (
        {"id": "v", "server_deadband": {"absolute": 0.5}},
        {"id": "range", "server_deadband": {"percent": 10}},
        {"id": "plain", "node": "nsu=urn:test:potline;s=text"},
    )
    async with node_server() as server, listen(device(server.url, *tags)) as listener:
        await listener.until(lambda li: li.values("plain"))
        for value in (10.0, 10.25, 10.125, 11.5):
            await server.send(set="v", value=value)
            await asyncio.sleep(0.1)  # one value a sampling: the deadband compares samples
        for value in (50.0, 55.0, 45.5, 61.0):
            await server.send(set="range", value=value)
            await asyncio.sleep(0.1)
        await listener.until(lambda li: 11.5 in li.values("v") and 61.0 in li.values("range"))
        assert [v for v in listener.values("v") if v] == [10.0, 11.5]
        assert [v for v in listener.values("range") if v] == [50.0, 61.0]


async def test_a_full_queue_loses_what_is_configured_and_says_how_often(
    node_server, device, listen
):
    tags = (
        {"id": "v", "queue_size": 3},
        {"id": "range", "queue_size": 3, "discard": "newest"},
    )
    async with (
        node_server() as server,
        listen(device(server.url, *tags, publishing_ms=5_000)) as listener,
    ):
        await listener.until(lambda li: {r.tag for r in li.found} == {"v", "range"})
        for number in range(1, 11):
            for name in ("v", "range"):
                await server.send(set=name, value=float(number), ms=T0_MS + number)
        await listener.until(lambda li: 10.0 in li.values("v") and 10.0 in li.values("range"))
        assert listener.values("v")[1:] == [8.0, 9.0, 10.0]
        assert listener.values("range")[1:] == [1.0, 2.0, 10.0]
        assert listener.status.overruns >= 1


async def test_a_vanished_node_is_bad_while_the_others_go_on_and_it_comes_back(
    node_server, device, listen
):
    async with (
        node_server() as server,
        listen(device(server.url, "v", "range", stale_s=0.3)) as listener,
    ):
        await server.send(set="v", value=1.5)
        await server.send(set="range", value=2.5)
        await listener.until(lambda li: 1.5 in li.values("v") and 2.5 in li.values("range"))
        await server.send(remove="v")
        await listener.until(lambda li: li.samples("v")[-1].quality == BAD_DEVICE)
        await server.send(set="range", value=3.5)
        await listener.until(lambda li: 3.5 in li.values("range"))
        assert listener.status.errors == 0
        await server.send(add="v")
        await server.send(set="v", value=5.5)
        await listener.until(lambda li: 5.5 in li.values("v"))
        await server.send(set="v", value=6.5)
        await listener.until(lambda li: 6.5 in li.values("v"))
        assert listener.status.errors == 0


def subscribed(listener):
    """A new server has no value yet, and says so to every new subscription."""
    return listener.values("v")[-1:] == [None]


async def count(server, start, stop):
    """Whole numbers, a millisecond apart at least: that is how fine this server's times are."""
    now_ms = 0
    for number in range(start, stop):
        now_ms = max(now_ms + 1, SystemClock().utc_ns() // 10**6)
        await server.send(set="v", value=float(number), ms=now_ms)


async def test_all_values_arrive_after_server_and_client_restarted_in_both_orders(
    node_server, device, listen
):
    async with node_server() as server:
        config = device(server.url, "v")
        async with listen(config) as listener:
            await listener.until(subscribed)
            await count(server, 1, 30)
            await listener.until(lambda li: 29.0 in li.values("v"))
            await server.kill()
            async with node_server(server.port, before=["urn:a", "urn:b"]) as second:
                await listener.until(subscribed)
                await count(second, 100, 130)
                await listener.until(lambda li: 129.0 in li.values("v"))
                got = [v for v in listener.values("v") if v]
                assert got == [*map(float, range(1, 30)), *map(float, range(100, 130))]
                states = [event["state"] for event in listener.events if "state" in event]
                assert states == ["up", "down", "up"]
                async with listen(config) as again:  # another client first, then the server
                    await again.until(lambda li: 129.0 in li.values("v"))
                    await second.kill()
                    async with node_server(server.port) as third:
                        for client in (again, listener):
                            await client.until(subscribed)
                        await count(third, 200, 230)
                        for client in (again, listener):
                            await client.until(lambda li: 229.0 in li.values("v"))
                            tail = [v for v in client.values("v") if v and v >= 200]
                            assert tail == [*map(float, range(200, 230))]


async def test_a_cut_cable_leaves_no_hole_where_the_server_has_history(
    node_server, device, listen, cable
):
    async with node_server(history=True) as server, cable(server.port) as wire:
        history = {"page": 7, "slice_s": 0.5}
        config = device(wire.url, "v", "range", "text", history=history)
        async with listen(config) as listener:
            await listener.until(subscribed)
            await count(server, 1, 20)
            await listener.until(lambda li: 19.0 in li.values("v"))
            await wire.cut()
            await listener.until(lambda li: li.status.state is DeviceState.DOWN)
            held_ns = listener.acquisition.settled_ns()
            assert held_ns <= max(s.time_ns for s in listener.samples("v"))
            for number in range(20, 60):
                await server.send(set="v", value=float(number))
                await server.send(set="range", value=number / 2)
                await asyncio.sleep(0.02)
            assert listener.acquisition.settled_ns() == held_ns
            wire.plug()
            await count(server, 60, 70)
            await listener.until(lambda li: 69.0 in li.values("v"))
            await listener.until(lambda li: any(e["type"] == "history" for e in li.events))
            seen = {s.time_ns: s.value for s in listener.samples("v")}
            assert [v for v in seen.values() if v] == [*map(float, range(1, 70))]
            assert sorted(seen) == list(seen), "history comes before what is live"
            told = {s.value for s in listener.samples("v") if s.quality == FROM_HISTORY}
            assert {*map(float, range(20, 60))} <= told
            assert {n / 2 for n in range(20, 60)} <= set(listener.values("range"))
            (event,) = (e for e in listener.events if e["type"] == "history")
            assert event["count"] >= 80
            assert event["device"] == "pots"


async def test_a_server_without_history_costs_only_the_gap(node_server, device, listen, cable):
    async with (
        node_server() as server,
        cable(server.port) as wire,
        listen(device(wire.url, "v", history={})) as listener,
    ):
        await listener.until(subscribed)
        await count(server, 1, 4)
        await listener.until(lambda li: 3.0 in li.values("v"))
        await wire.cut()
        await listener.until(lambda li: li.status.state is DeviceState.DOWN)
        wire.plug()
        await listener.until(lambda li: li.status.state is DeviceState.UP)
        await count(server, 10, 14)
        await listener.until(lambda li: 13.0 in li.values("v"))
        assert listener.values("v")[-4:] == [10.0, 11.0, 12.0, 13.0]


async def test_a_server_that_falls_silent_behind_an_open_cable_is_left_and_found_again(
    node_server, device, listen, cable
):
    async with node_server() as server, cable(server.port) as wire:
        config = device(wire.url, "v", timeout_s=0.5, stale_s=0.6)
        async with listen(config) as listener:
            await server.send(set="v", value=1.5)
            await listener.until(lambda li: 1.5 in li.values("v"))
            wire.flows.clear()
            await listener.until(lambda li: li.status.state is DeviceState.DOWN)
            tried = wire.connections
            await listener.until(lambda _: wire.connections > tried)  # and does not hang in it
            wire.flows.set()
            await server.send(set="v", value=2.5)
            await listener.until(lambda li: 2.5 in li.values("v"))


async def test_a_session_that_the_server_dropped_is_made_anew(node_server, device, listen):
    async with node_server() as server, listen(device(server.url, "v", timeout_s=1)) as listener:
        await server.send(set="v", value=1.5)
        await listener.until(lambda li: 1.5 in li.values("v"))
        await server.send(drop_sessions=True)
        await listener.until(lambda li: li.status.reconnects >= 1)
        await server.send(set="v", value=2.5)
        await listener.until(lambda li: 2.5 in li.values("v"))


async def test_polled_values_are_read_when_they_are_due(node_server, device):
    names = ("v", "n", "text", "nowhere")
    async with node_server() as server:
        await server.send(set="v", value=4.5, ms=T0_MS)
        await server.send(set="n", value=12_345, ms=T0_MS)
        config = device(server.url, *names, mode="poll", interval_s=0.1)
        async with opcua_driver(config, SystemClock()) as driver:
            first = {sample.tag: sample for sample in await driver.read()}
            assert first["v"].value == 4.5
            assert first["v"].time_ns == T0_MS * 10**6
            assert first["n"].value == 12_345
            for tag in ("text", "nowhere"):
                assert (first[tag].value, first[tag].quality) == (None, BAD_DEVICE)
            (again,) = await driver.read({"v"})
            assert again.value == 4.5
            assert abs(again.time_ns - SystemClock().utc_ns()) < 60e9
            await server.send(remove="v")
            (gone,) = await driver.read(("v",))
            assert (gone.value, gone.quality) == (None, BAD_DEVICE)
            await server.send(add="v")
            await server.send(set="v", value=8.5)
            async with asyncio.timeout(20):
                while (await driver.read(("v",)))[0].value != 8.5:
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["subscribe", "poll"])
async def test_either_mode_comes_back_after_a_restart(node_server, device, listen, mode):
    async with node_server() as server:
        config = device(server.url, "v", mode=mode, interval_s=0.05, timeout_s=2)
        async with listen(config) as listener:
            await server.send(set="v", value=1.5)
            await listener.until(lambda li: 1.5 in li.values("v"))
            await server.kill()
            await listener.until(lambda li: li.status.state is DeviceState.DOWN)
            async with node_server(server.port, before=["urn:a"]) as second:
                await second.send(set="v", value=2.5)
                await listener.until(lambda li: 2.5 in li.values("v"))

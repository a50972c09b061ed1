"""However samples are delivered, what arrives is what was measured, under the right times."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.measuring_faults import MeasuringFaults, plan_faults
from simulators.physics.meter import PlantMeters
from simulators.physics.potline import Potline
from simulators.physics.settings import PotlineSettings
from simulators.publishing import BlockPublisher, ScalarPublisher
from simulators.truth import NS, Period, TruthWriter

START_NS = 1_767_196_800 * NS
SETTINGS = PotlineSettings(
    pots=20,
    period_s=86_400,
    horizon_s=86_400,
    outages=1,
    cutout_pots=1,
    starting_pots=1,
)


class RecordingServer:
    """Keeps what was written, by pot and second."""

    def __init__(self):
        self.voltage = {}
        self.current = {}
        self.status = []
        self.bad = set()
        self.order = {}
        self.writes = 0

    def note(self, pot, second, volts):
        known = self.voltage.setdefault((pot, second), volts)
        assert known == volts or (np.isnan(known) and np.isnan(volts))
        self.order.setdefault(pot, []).append(second)
        self.writes += 1

    async def write_voltage(self, pot, time_ns, volts):
        self.note(pot, (time_ns - START_NS) // NS, volts)

    async def write_bad_voltage(self, pot, time_ns):
        self.bad.add((pot, (time_ns - START_NS) // NS))

    async def write_voltage_block(self, pot, first_ns, volts):
        for index, value in enumerate(volts):
            self.note(pot, (first_ns - START_NS) // NS + index, value)

    async def write_current(self, time_ns, current_ka):
        self.current[(time_ns - START_NS) // NS] = current_ka

    async def write_current_block(self, first_ns, current_ka):
        for index, value in enumerate(current_ka):
            self.current[(first_ns - START_NS) // NS + index] = value

    async def write_status(self, pot, time_ns, status):
        self.status.append((pot, (time_ns - START_NS) // NS, status))


@pytest.mark.parametrize(("kind", "block_s"), [(BlockPublisher, 1_800), (ScalarPublisher, 60)])
async def test_everything_measured_arrives(kind, block_s, tmp_path):
    line_rng, meter_rng, fault_rng = np.random.default_rng(9).spawn(3)
    line, meters = Potline(SETTINGS, line_rng), PlantMeters(SETTINGS, meter_rng)
    period = Period(9, START_NS, SETTINGS.period_s)
    truth = TruthWriter(tmp_path, period, line, meters)
    faults = MeasuringFaults(plan_faults(line, fault_rng))
    server = RecordingServer()
    publisher = kind(server, period, truth)
    shown, bad, status, current = [], [], [], []
    while line.now < SETTINGS.period_s:
        block = line.advance(block_s)
        measured = faults.apply(block)
        await publisher.publish(block, measured)
        shown.append(measured.voltage)
        bad.append(measured.bad)
        status.append(block.status)
        current.append(block.current_ka)
    truth.close()
    voltage = np.concatenate(shown, axis=1)
    arrived = np.full(voltage.shape, np.nan, dtype=np.float32)
    for (pot, second), volts in server.voltage.items():
        arrived[pot, second] = volts
    assert np.array_equal(arrived, voltage, equal_nan=True)
    assert [server.current[second] for second in range(86_400)] == [
        pytest.approx(float(value)) for value in np.concatenate(current)
    ]
    if kind is ScalarPublisher:
        assert server.bad == {
            (int(pot), int(second)) for pot, second in np.argwhere(np.concatenate(bad, axis=1))
        }
    late = [pot for pot, seconds in server.order.items() if seconds != sorted(seconds)]
    assert late
    assert server.writes > len(server.voltage)
    true_status = np.concatenate(status, axis=1)
    rebuilt = np.zeros_like(true_status)
    for pot, second, value in sorted(server.status):
        rebuilt[pot, second:] = value
    assert np.array_equal(rebuilt, true_status)
    assert len(server.status) == SETTINGS.pots + 4

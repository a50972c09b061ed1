"""Counters, registers, truth."""

from __future__ import annotations

import json
import struct
from itertools import pairwise

import numpy as np
import pytest

from simulators.physics.meter import METAL_KG_PER_AS, Counter, PlantMeters
from simulators.physics.potline import Potline
from simulators.physics.settings import PotlineSettings
from simulators.registers import Kind, Order, plant_registers, to_words
from simulators.truth import NS, Period, TruthWriter

SECONDS = 40_000
EXTRA = 4_000


def plant(seed=11):
    settings = PotlineSettings(
        pots=6,
        period_s=SECONDS,
        horizon_s=SECONDS + EXTRA,
        effects_per_pot_day=12.0,
        outages=1,
        cutout_pots=1,
        starting_pots=1,
    )
    line_rng, meter_rng = np.random.default_rng(seed).spawn(2)
    return Potline(settings, line_rng), PlantMeters(settings, meter_rng)


def test_register_rolls_over_and_count_does_not():
    counter = Counter(first_count=98, modulus=100, unit_scale=1.0, fine_per_count=10)
    shown = []
    for _ in range(4):
        counter.fine += 10
        shown.append((counter.count, counter.register))
    assert shown == [(99, 99), (100, 0), (101, 1), (102, 2)]


def test_both_energy_meters_roll_over_within_the_period():
    line, meters = plant()
    line_blocks = [line.advance(1_000) for _ in range(SECONDS // 1_000)]
    shown = {"R1.energy": [], "R2.energy": []}
    for block in line_blocks:
        meters.advance(block)
        for name, values in shown.items():
            counter = meters.counters[name]
            assert counter.register == counter.count % counter.modulus
            values.append(counter.register)
    for values in shown.values():
        assert sum(b < a for a, b in pairwise(values)) == 1
    kwh = sum(
        float((block.voltage.sum(axis=0, dtype=np.float64) * block.current_ka).sum()) / 3_600.0
        for block in line_blocks
    )
    metered = sum(meters.counters[name].fine / 1e6 for name in shown)
    own_kwh = (160.0 + 145.0) * SECONDS / 3_600.0
    assert metered == pytest.approx(kwh / 0.985 + own_kwh, rel=1e-6)


def test_meters_do_not_depend_on_block_sizes():
    results = []
    for block_s in (400, 1_000):
        line, meters = plant()
        for _ in range(SECONDS // block_s):
            meters.advance(line.advance(block_s))
        counts = {name: counter.fine for name, counter in meters.counters.items()}
        results.append((counts, meters.tapped_kg, meters.readings))
    assert results[0] == results[1]


def test_tapped_metal_is_what_was_made():
    settings = PotlineSettings(pots=10, period_s=12 * 86_400, horizon_s=12 * 86_400)
    line_rng, meter_rng = np.random.default_rng(2).spawn(2)
    line, meters = Potline(settings, line_rng), PlantMeters(settings, meter_rng)
    taps = 0
    while line.now < settings.horizon_s:
        block = line.advance(14_400)
        meters.advance(block)
        taps += len(block.taps)
    made = METAL_KG_PER_AS * 0.94 * 300_000 * settings.horizon_s * settings.pots
    assert meters.tapped_kg == pytest.approx(made, rel=0.06)
    assert meters.counters["scale.tickets"].fine == taps
    assert meters.counters["scale.total"].fine == meters.tapped_kg


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.ABCD, [0x0102, 0x0304, 0x0506, 0x0708]),
        (Order.CDAB, [0x0708, 0x0506, 0x0304, 0x0102]),
        (Order.BADC, [0x0201, 0x0403, 0x0605, 0x0807]),
        (Order.DCBA, [0x0807, 0x0605, 0x0403, 0x0201]),
    ],
)
def test_word_orders_over_64_bits(order, expected):
    assert to_words(Kind.INT64, 0x0102030405060708, order) == expected


@pytest.mark.parametrize("order", list(Order))
def test_single_registers_look_the_same_in_every_order(order):
    assert to_words(Kind.INT16, -2, order) == [0xFFFE]


def test_float_in_abcd_is_ieee_big_endian():
    words = to_words(Kind.FLOAT32, 1.5, Order.ABCD)
    assert struct.unpack(">f", struct.pack(">2H", *words)) == (1.5,)


def test_every_unit_has_its_device_time():
    line, meters = plant()
    meters.advance(line.advance(60))
    registers = plant_registers(1_767_196_800_123_456_789, meters)
    assert sorted(registers) == [1, 2, 3, 4]
    packed = struct.pack(">4H", *registers[1][:4])
    assert int.from_bytes(packed, "big") == 1_767_196_800_123_456_789


def read_truth(folder):
    truth = json.loads((folder / "truth.json").read_text())
    lines = (folder / "effects.jsonl").read_text().splitlines()
    return truth, [json.loads(line) for line in lines]


def test_truth_equals_sums_over_the_trace_and_freezes_at_the_end(tmp_path):
    line, meters = plant()
    period = Period(seed=11, start_ns=1_700_000_000 * NS, seconds=SECONDS)
    writer = TruthWriter(tmp_path, period, line, meters)
    first = {name: counter.count for name, counter in meters.counters.items()}
    blocks = []
    while line.now < SECONDS:
        blocks.append(line.advance(500))
        meters.advance(blocks[-1])
        writer.advance(blocks[-1])
    at_end = {name: counter.count for name, counter in meters.counters.items()}
    writer.write()
    frozen, _ = read_truth(tmp_path)
    while line.now < SECONDS + EXTRA:
        block = line.advance(500)
        meters.advance(block)
        writer.advance(block)
    writer.close()
    truth, effects = read_truth(tmp_path)

    for key in ("pots", "meters", "tapped_kg", "mean_current_ka", "outages", "accounted_s"):
        assert truth[key] == frozen[key]
    assert truth["finished"]
    assert truth["now_ns"] == period.at(SECONDS + EXTRA)
    for name, counter in truth["meters"].items():
        assert counter["first_count"] == first[name]
        assert counter["count"] == at_end[name]

    voltage = np.concatenate([block.voltage for block in blocks], axis=1)
    status = np.concatenate([block.status for block in blocks], axis=1)
    current = np.concatenate([block.current_ka for block in blocks])
    assert truth["mean_current_ka"] == pytest.approx(float(current.mean(dtype=np.float64)))
    for pot, totals in ((int(number) - 1, one) for number, one in truth["pots"].items()):
        loud = int((voltage[pot] >= 8.0).sum())
        assert totals["above_8v_s"] + totals["pre_spike_8v_s"] == loud
        assert totals["in_circuit_s"] == int((status[pot] != 0).sum())
        assert totals["starting_s"] == int((status[pot] == 2).sum())
        own = [one for one in effects if one["pot"] == pot + 1]
        assert totals["effects"] == len(own)
        inside = 0
        for effect in own:
            start = (effect["start_ns"] - period.start_ns) // NS
            end = (effect["end_ns"] - period.start_ns) // NS
            samples = voltage[pot, start:end]
            inside += int((samples >= 8.0).sum())
            if end <= SECONDS:
                assert effect["net_s"] == int((samples >= 8.0).sum())
                assert effect["peak_v"] == pytest.approx(float(samples.max()), abs=1e-3)
        assert totals["above_8v_s"] == inside
    assert len(effects) > 10
    assert all(one["start_ns"] < period.end_ns for one in effects)


def test_a_block_over_the_end_of_the_period_is_refused(tmp_path):
    line, meters = plant()
    writer = TruthWriter(tmp_path, Period(1, 0, 100), line, meters)
    block = line.advance(101)
    with pytest.raises(ValueError, match="end of the period"):
        writer.advance(block)
    writer.close()

"""A small signed month through ledger, store, report and bundle; every change is named."""

import hashlib
import importlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from openpyxl import load_workbook

from edge_agent import config as config_
from edge_agent import factor_sets
from edge_agent.pipeline import Pipeline
from edge_agent.pipeline.parts import cut
from edge_agent.pipeline.series import to_plain
from edge_agent.readings import Sample
from edge_agent.wire import batch as wire_batch
from edge_agent.wire import cbor, cose
from edge_agent.wire.batch import Batch, ClockState
from edge_agent.wire.chain import ChainHead
from edge_agent.wire.cose import MessageType
from edge_agent.wire.keys import Enrolment, KeyRing, create_signer, public_key
from gateway import bundle as bundle_
from gateway import trust_file
from gateway import verify as verify_
from gateway.cli import main
from gateway.explain import explain
from gateway.ledger import Ledger
from gateway.reports import run as reports
from gateway.store.base import Projection
from gateway.store.sqlite import SqliteStore

NS = 10**9
T0 = 1_790_784_000 * NS
ROOT = Path(__file__).resolve().parents[2]
SITE, AGENT = "al-001", "gw-01"


def small_plant(folder):
    plain = yaml.safe_load((ROOT / "configs/plants/aluminium.yaml").read_text())
    for tag in plain["devices"][0]["tags"][1:]:
        tag["repeat"]["to"] = 2
    plain["potlines"][0]["pots"]["count"] = 2
    plain["time"] = {"source": "device", "lateness_s": 5}
    plain["control_plan"] = str(ROOT / "configs/plants/aluminium.plan.yaml")
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(plain))
    return config_.load(path)


def readings():
    for second in range(7_500):
        now = T0 + second * NS
        yield Sample("line1.current", now, 300.0 + second % 7 / 10)
        yield Sample(
            "line1.pot001.voltage", now, 25.5 if 900 <= second < 960 else 4.2 + second % 9 / 90
        )
        yield Sample("line1.pot002.voltage", now, 4.1 + second % 11 / 90)
        if second % 60 == 0:
            yield Sample("r1.energy", now, (99_999_980 + second) % 100_000_000)
            yield Sample("r2.energy", now, 4_294_960_000 + second)
            yield Sample("gas.total", now, 123_000 + 3 * second)
            yield Sample("scale.total", now, 2**53 + 1 + second // 600)


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    folder = tmp_path_factory.mktemp("month")
    config = small_plant(folder)
    signer, gateway = create_signer(folder / "k/agent.pem"), create_signer(folder / "k/gateway.pem")
    factors = factor_sets.find(config.factor_set)
    document = config_.effective(config, factors, to_plain(config))
    pipeline = Pipeline(config, factors)
    pipeline.feed(list(readings()), 2**62)
    ring = KeyRing([Enrolment(SITE, AGENT, public_key(signer.public_spki()))])
    ledger = Ledger(folder / "ledger.sqlite")
    store = SqliteStore(folder / "store.sqlite")
    ledger.enrol(ring.enrolments())
    raw = cose.sign(MessageType.CONFIG, document, signer)
    verified = cose.verify(raw, MessageType.CONFIG, lambda _kid: public_key(signer.public_spki()))
    ledger.add_config(SITE, AGENT, verified, T0)
    head = ChainHead()
    for minute in range(1, 125, 7):
        produce = pipeline.advance(T0 + minute * 60 * NS)
        for columns, events in cut(produce.pieces, produce.events):
            times = [*columns.time_ns, *(event["t"] for event in events)]
            batch = Batch(
                SITE, AGENT, head.seq + 1, head.sha256, bytes(16), min(times), max(times),
                (0, 1), ClockState(), config_.digest(document), "edge-agent/test", columns, events,
            )  # fmt: skip
            signed = wire_batch.sign(batch, signer)
            evidence = wire_batch.verify(signed, SITE, AGENT, ring)
            ledger.append([(evidence, max(times))])
            kept = evidence.batch
            store.write_many([Projection(SITE, AGENT, kept.seq, kept.columns, kept.events)])
            head = ChainHead(batch.seq, hashlib.sha256(signed).digest())
    made = reports.make(ledger, store, SITE, "2026-10", gateway, folder / "out")
    yield folder, made, gateway, ledger, store
    ledger.close()
    store.close()


def figure(made, parameter, scope):
    (found,) = [
        item
        for item in made.plain["parameters"]
        if (item["id"], item["scope"]) == (parameter, scope)
    ]
    return found


def test_the_report_holds_what_was_read(month):
    made = month[1]
    assert figure(made, "ae_count", "line1")["reported"] == "1"
    assert figure(made, "ae_minutes", "line1")["reported"] == "1.00"
    assert figure(made, "electricity_mwh", "rectifier1_energy")["value"] == "7.14"
    assert figure(made, "metal_t", "line1")["value"] == "0.011"
    assert "rollover" in figure(made, "electricity_mwh", "rectifier1_energy")["note"]
    assert made.plain["evidence"][0]["first_seq"] == 1


def test_the_untouched_bundle_matches(month):
    verdict = verify_.verify(month[1].files[2])
    assert verdict.proven, verdict.difference
    (second,) = [line for line in verdict.lines if line.startswith("7 second sums")]
    assert second.partition("not: ")[2].split(", ") == [
        "current_ka", "pot_voltage_v", "current_efficiency", "metal_faraday_t", "metal_difference",
        "low_voltage_co2e_t",
    ]  # fmt: skip


def test_every_value_of_the_smelter_is_explained(month):
    content = verify_.verify(month[1].files[2]).content
    assert {value.parameter.id for value in content.month.values} >= {"pfc_co2e_t", "anode_co2_t"}
    for value in content.month.values:
        text = explain(content, value.parameter.id, value.scope)
        assert value.parameter.zh in text
        if value.formula:
            assert value.formula.with_numbers(value.terms) in text
    total = explain(content, "total_co2e_t", None, hours=True)
    for word in ("line1.pot001.ae_s", "metal.count", "pfc.slope.cwpb", "gw-01 batch", "root"):
        assert word in total


def test_the_explain_command_reads_a_bundle_offline(month, capsys):
    bundle = str(month[1].files[2])
    assert main(["explain", "--bundle", bundle, "--parameter", "aem", "--scope", "line1"]) == 0
    said = capsys.readouterr().out
    assert "平均每天每槽阳极效应持续时间 AEM" in said
    assert "公式 formula      T / D" in said
    assert main(["explain", "--bundle", bundle, "--parameter", "joy"]) == 2
    assert "it has: metal_t" in capsys.readouterr().err


def test_the_command_line_says_match_and_exits_zero(month):
    command = [Path(sys.executable).parent / "carbon-gateway", "verify", month[1].files[2]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("match")


def test_two_reports_give_identical_bundles(month):
    folder, made, gateway, ledger, store = month
    again = reports.make(ledger, store, SITE, "2026-10", gateway, folder / "again")
    assert again.files[2].read_bytes() == made.files[2].read_bytes()


def test_the_trust_file_must_name_the_keys(month, tmp_path):
    folder, made, gateway, *_ = month
    agent = public_key((folder / "k/agent.pub.pem").read_bytes())
    trust = tmp_path / "trust.toml"
    trust.write_text(f'trusted = ["{gateway.kid.hex()}", "{agent.kid.hex()}"]')
    assert verify_.verify(made.files[2], trust_file.load(trust)).proven
    trust.write_text(f'trusted = ["{gateway.kid.hex()}"]')
    verdict = verify_.verify(made.files[2], trust_file.load(trust))
    assert agent.kid.hex() in verdict.difference


def changed(month, tmp_path, change, *, sign_again):
    """The bundle with its files changed, under the old manifest or one the gateway signed anew."""
    _, made, gateway, *_ = month
    files = dict(bundle_.read(made.files[2]).files)
    manifest = files.pop(bundle_.MANIFEST)
    change(files)
    path = tmp_path / "changed.bundle"
    if sign_again:
        bundle_.write(path, files, gateway)
    else:
        with tarfile.open(path, "w") as archive:
            for name, content in {bundle_.MANIFEST: manifest, **files}.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    verdict = verify_.verify(path)
    assert not verdict.proven
    return verdict.difference


BATCHES = f"batches/{AGENT}.bin"


def edit_json(files):
    report = json.loads(files["report.json"])
    item = next(item for item in report["parameters"] if item["id"] == "pfc_co2e_t")
    item["value"] = str(float(item["value"]) - 0.001)
    files["report.json"] = json.dumps(report).encode()


def edit_record(files):
    record = cbor.decode(files["month.cbor"])
    place = next(i for i, value in enumerate(record["values"]) if value[0] == "total_co2e_t")
    record["values"][place][2] = str(float(record["values"][place][2]) - 0.001)
    files["month.cbor"] = cbor.encode(record)


def edit_sheet(files):
    book = load_workbook(io.BytesIO(files["report.xlsx"]))
    sheet = book.worksheets[0]
    sheet.cell(5, 5).value = float(sheet.cell(5, 5).value) + 0.001
    out = io.BytesIO()
    book.save(out)
    files["report.xlsx"] = out.getvalue()


def garbage_in_sheet(files):
    content = bytearray(files["report.xlsx"])
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    files["report.xlsx"] = bytes(content)


def bomb(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in range(9):
            archive.writestr(f"part{part}", bytes(2**25))
    files["report.xlsx"] = out.getvalue()


def drop_batch(files):
    batches = list(bundle_.Bundle(files).batches(AGENT))
    del batches[4]
    files[BATCHES] = bundle_.pack_batches(batches)


def flip_batch(files):
    content = bytearray(files[BATCHES])
    content[600] ^= 1
    files[BATCHES] = bytes(content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edit_json, "report.json"),
        (edit_record, "month.cbor"),
        (edit_sheet, "report.xlsx"),
        (drop_batch, BATCHES),
        (flip_batch, BATCHES),
        (lambda files: files.pop("report.xlsx"), "report.xlsx"),
        (lambda files: files.update({f"configs/{'0' * 64}.cose": b"x"}), "configs/"),
    ],
)
def test_a_changed_file_is_named_under_the_old_manifest(month, tmp_path, change, named):
    assert named in changed(month, tmp_path, change, sign_again=False)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edit_json, "value of pfc_co2e_t of line1"),
        (edit_record, "total_co2e_t of site"),
        (edit_sheet, "report.xlsx: metal_t of line1"),
        (drop_batch, "batch 6 arrived, 5 is next"),
        (flip_batch, ""),
        (garbage_in_sheet, "report.xlsx"),
        (bomb, "report.xlsx: unpacks to 301989888 bytes"),
        (
            lambda files: files.update({"report.xlsx": b"no workbook"}),
            "report.xlsx: cannot be read",
        ),
        (lambda files: files.update({"report.json": b"[" * 99_999}), "report.json: cannot be read"),
        (lambda files: files.update({"month.cbor": b"\x81" * 99_999}), "not decodable"),
        (lambda files: files.pop("report.xlsx"), "report.xlsx"),
    ],
)
def test_a_gateway_that_signs_the_change_is_contradicted_by_the_rows(
    month, tmp_path, change, named
):
    assert named in changed(month, tmp_path, change, sign_again=True)


DIVISORS = {
    ("kWh", "MWh"): Decimal(1_000), ("Nm3", "10^4Nm3"): Decimal(1_000), ("kg", "t"): Decimal(1_000)
}  # fmt: skip


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (("potline", "DAY_S", 86_401), "cell_days of line1"),
        (("potline", "MV_PER_V", 100), "aeo of line1"),
        (("hours", "LOOKBACK_NS", -3_600 * NS), "metal_t of line1"),
        (("hours", "_DIVISORS", DIVISORS), "fuel_amount of natural_gas"),
    ],
)
def test_a_mistake_in_the_first_computation_shows_in_the_second(
    month, tmp_path, monkeypatch, mistake, told
):
    """Report and verifier share the mistake, so all figures agree but the second sums."""
    _, _, gateway, ledger, store = month
    module, name, wrong = mistake
    monkeypatch.setattr(importlib.import_module(f"gateway.month.{module}"), name, wrong)
    made = reports.make(ledger, store, SITE, "2026-10", gateway, tmp_path)
    verdict = verify_.verify(made.files[2])
    assert verdict.difference.startswith(f"{told}: reported as")
    assert "the second sums give" in verdict.difference


def test_a_changed_store_row_stops_the_report(month, tmp_path):
    _, _, gateway, ledger, store = month
    store._db.execute(
        "UPDATE points SET value = value + 1 WHERE series = "
        "(SELECT id FROM series WHERE name = 'line1.pot001.ae_s') AND value > 0"
    )
    try:
        with pytest.raises(reports.ReportStopped, match="ae_minutes of line1.*pot001.ae_s"):
            reports.make(ledger, store, SITE, "2026-10", gateway, tmp_path)
        assert not list(tmp_path.iterdir())
    finally:
        store._db.execute(
            "UPDATE points SET value = value - 1 WHERE series = "
            "(SELECT id FROM series WHERE name = 'line1.pot001.ae_s') AND value > 0"
        )

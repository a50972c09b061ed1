"""``make demo``: a compressed month from simulated pots to a verified report.

Starts the broker, the plant, the gateway and the agent as processes, follows them, then prints
the report's summary beside the simulator's truth and the verifier's result. Exit code 0 only if
they agree.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simulators.compare import Check, Truth, compare, factors, table, value
from simulators.stage import ROOT, SHANGHAI, SITE, Plan, Stage, StageError

NS_PER_S = 10**9
_SETTLED_S = 45 * 60
_FACTORS = ROOT / "configs/factors/cets-ag-04.01-v01-2024.yaml"
_SUMMARY = (
    ("metal_t", "line1"),
    ("cell_days", "line1"),
    ("ae_count", "line1"),
    ("aem", "line1"),
    ("cf4_t", "line1"),
    ("c2f6_t", "line1"),
    ("pfc_co2e_t", "line1"),
    ("anode_co2_t", "line1"),
    ("fuel_co2_t", "natural_gas"),
    ("total_co2e_t", "site"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=None, help="folder for what it produces")
    parser.add_argument("--days", type=int, default=31, help="simulated days")
    parser.add_argument("--pots", type=int, default=24, help="pots of the line, up to 999")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same plant")
    parser.add_argument("--stay", action="store_true", help="stay up when done")
    args = parser.parse_args(argv)
    folder = args.out or ROOT / "demo-output" / f"{_now():%Y%m%d-%H%M%S}"
    plan = Plan(pots=args.pots, seed=args.seed, seconds=args.days * 86_400, plant_arguments=PLANT)
    stage = Stage(folder.resolve(), plan)
    try:
        return _demo(stage, stay=args.stay)
    except StageError as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        stage.stop()
        print(f"\neverything it produced: {stage.folder}")


PLANT = (
    "--outages",
    "1",
    "--cutout-pots",
    "1",
    "--starting-pots",
    "1",
    "--faults",
    "on",
    "--extra",
    "14400",
)
"""What happens in the demo's plant besides anode effects."""


def _now() -> datetime:
    return datetime.fromtimestamp(time.time_ns() / NS_PER_S, UTC)


def _demo(stage: Stage, *, stay: bool) -> int:
    began = time.monotonic()
    print(f"{stage.plan.pots} pots, {stage.plan.seconds // 86_400} simulated days, 1 Hz")
    stage.prepare()
    stage.start()
    print("broker, simulated plant, gateway and agent are up")
    follow(stage)
    report = make_report(stage)
    verdict = verify(stage)
    checks = compare(Truth.read(stage.folder / "truth"), report, factors(_FACTORS))
    _print_result(report, checks, verdict)
    agree = all(check.ok for check in checks) and verdict.startswith("match")
    print(f"\n{'AGREE' if agree else 'DO NOT AGREE'} after {time.monotonic() - began:.0f} s")
    if stay:
        print("staying up; Ctrl-C ends it")
        while True:
            time.sleep(1)
            stage.check_alive()
    return 0 if agree else 1


def follow(stage: Stage, limit_s: float = 600) -> None:
    """Print live progress until the gateway holds the whole period.

    Raises:
        StageError: a process ended, or the limit passed.
    """
    end = time.monotonic() + limit_s
    while True:
        plant, gateway = stage.plant_progress(), stage.gateway_status()
        print(_progress_line(plant, gateway), flush=True)
        if plant.get("finished") and _complete(plant, gateway):
            return
        stage.check_alive()
        if time.monotonic() > end:
            message = f"the gateway did not hold the whole period within {limit_s:g} s"
            raise StageError(message)
        time.sleep(4)


def _complete(plant: dict[str, Any], gateway: dict[str, Any]) -> bool:
    """The hours up to the period's end are settled and in the ledger."""
    return int(gateway.get("last_ns") or 0) >= int(plant["end_ns"]) + _SETTLED_S * NS_PER_S


def _progress_line(plant: dict[str, Any], gateway: dict[str, Any]) -> str:
    now_ns = plant.get("now_ns", 0)
    moment = datetime.fromtimestamp(now_ns / NS_PER_S, SHANGHAI)
    effects = sum(pot["effects"] for pot in plant.get("pots", {}).values())
    return (
        f"  plant {moment:%Y-%m-%d %H:%M}  true effects {effects:5d}  |  "
        f"gateway: batch {gateway.get('seq', 0):6d}, {gateway.get('points', 0):9,d} points"
    )


def make_report(stage: Stage) -> dict[str, Any]:
    """The month report through the CLI, as JSON."""
    out = stage.folder / "report"
    stage.run(
        "carbon-gateway", "report", "--config", str(stage.gateway_file), "--site", SITE,
        "--month", stage.plan.month, "--out", str(out),
    )  # fmt: skip
    return dict(json.loads((out / "report.json").read_text(encoding="utf-8")))


def verify(stage: Stage) -> str:
    """The verifier's output; it begins with ``match`` or names the first difference."""
    bundle = stage.folder / "report" / f"month-{SITE}-{stage.plan.month}.bundle"
    done = stage.run("carbon-gateway", "verify", str(bundle), check=False)
    (stage.folder / "verify.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return done.stdout.strip() or done.stderr.strip()


def _print_result(report: dict[str, Any], checks: Sequence[Check], verdict: str) -> None:
    print(f"\n{report['site']}  {report['month']}  {report['factor_set']['id']}")
    for parameter, scope in _SUMMARY:
        item = next(
            entry
            for entry in report["parameters"]
            if (entry["id"], entry["scope"]) == (parameter, scope)
        )
        print(f"  {item['en']:32s} {item['reported']:>14s} {item['unit']:16s} {item['zh']}")
    for item in report["evidence"]:
        print(f"  rests on batches {item['first_seq']}-{item['last_seq']}, root {item['root']}")
    print("\n" + table(checks))
    print("\nverifier: " + verdict.replace("\n", "\n  "))


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["follow", "main", "make_report", "value", "verify"]

"""From a pot crossing 8 V at the OPC UA server to the effect's start in the central store.

Everything runs on this machine: a 400-pot line at 1 Hz on a real OPC UA server, agent, mosquitto,
gateway, SQLite store. Prints the distribution, and as the named baseline the confirmation time
itself (an effect is one only after `t_on_s` of samples above 8 V), so that the ratio says what the
way adds. Ends by itself.

    python benchmarks/latency.py [--pots 400] [--seconds 240] [--aef 60]
"""

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from simulators.stage import Plan, Stage

NS_PER_S = 10**9
CONFIRM_S = 2.0
LIMIT_S = 3.0
_QUERY = (
    "SELECT rowid_, time_ns FROM (SELECT seq * 1000 + position AS rowid_, time_ns, type"
    " FROM events) WHERE type = 'effect_started' AND rowid_ > ? ORDER BY rowid_"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit code 1 when p99 misses the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pots", type=int, default=400)
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--aef", type=float, default=60.0, help="effects per pot-day")
    parser.add_argument("--broker", default="mosquitto", choices=("mosquitto", "amqtt"))
    args = parser.parse_args(argv)
    plan = Plan(
        pots=args.pots, seed=11, seconds=args.seconds + 600, mode="scalars", speed=1.0,
        aef=args.aef, broker=args.broker, real_time=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), plan)
        try:
            stage.prepare()
            stage.start()
            delays = watch(stage, args.seconds)
        finally:
            stage.stop()
    return report(delays, args.pots)


def watch(stage: Stage, seconds: int) -> list[float]:
    """Delays [s] of the effects that became visible within some seconds."""
    store = stage.folder / "gateway" / "store.sqlite"
    stage.wait("the store", store.is_file)
    database = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    end = time.monotonic() + seconds
    delays: list[float] = []
    last = -1
    while time.monotonic() < end:
        try:
            found = database.execute(_QUERY, (last,)).fetchall()
        except sqlite3.OperationalError:
            found = []
        now_ns = time.time_ns()  # noqa: TID251  the moment of seeing it
        for number, start_ns in found:
            last = number
            delays.append((now_ns - start_ns) / NS_PER_S)
        stage.check_alive()
        time.sleep(0.02)
    database.close()
    return delays


def report(delays: Sequence[float], pots: int) -> int:
    """Print the distribution."""
    if len(delays) < 20:
        print(f"only {len(delays)} effects were seen: too few")
        return 1
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    figures = {
        "pots": pots,
        "effects": len(delays),
        "min_s": round(min(delays), 3),
        "p50_s": round(cuts[49], 3),
        "p90_s": round(cuts[89], 3),
        "p99_s": round(cuts[98], 3),
        "max_s": round(max(delays), 3),
        "p99_over_confirmation": round(cuts[98] / CONFIRM_S, 3),
    }
    print(json.dumps(figures, indent=2))
    for low in (2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.75, 3.0):
        share = sum(delay <= low for delay in delays) / len(delays)
        print(f"  within {low:4.2f} s {share:7.2%} {'#' * round(50 * share)}")
    print(f"p99 {'under' if cuts[98] < LIMIT_S else 'NOT under'} {LIMIT_S:g} s")
    return 0 if cuts[98] < LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())

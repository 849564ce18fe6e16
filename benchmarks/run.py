"""Runs the benchmarks and tells what was reached.

    python -m benchmarks.run                        all, in earnest: half an hour on a small machine
    python -m benchmarks.run slot-use help          some, by name
    python -m benchmarks.run --quick                all with small sizes: to see that everything works
    python -m benchmarks.run --publish              also into results.json and docs/performance.md

What was measured goes into `build/bench/last.json`. `--publish` adds it to `benchmarks/results.json`, measurement by
measurement, each with its date, and makes the page and the picture anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, sends, starts, tables
from benchmarks.bench import ROOT, Bench
from benchmarks.growth import growth
from benchmarks.page import as_table, publish
from benchmarks.processes import NotMeasuredError
from benchmarks.rows import Row

MEASUREMENTS: Final[dict[str, Callable[[Bench], list[Row]]]] = {
    "stub-rate": sends.stub_rate,
    "slot-use": sends.slot_use,
    "cost-of-promises": sends.cost_of_promises,
    "one-hour": sends.one_hour,
    "parallel": sends.parallel_curl,
    "newman": sends.newman,
    "check": tables.check,
    "check-tenfold": tables.check_ten_times,
    "stage": tables.stage,
    "resume": starts.resume,
    "export": tables.export,
    "help": starts.help_time,
    "first-send": starts.first_send,
}
GROWTH: Final = "growth"
RESULTS: Final = ROOT / "benchmarks" / "results.json"


def measure(bench: Bench, names: Sequence[str], *, all_sends: bool) -> tuple[dict[str, Any], list[str]]:
    """Run the measurements of these names; what they found, and the names of those that could not be done."""
    found: dict[str, Any] = {}
    failed: list[str] = []
    for name in names:
        load, began = machine.load(), time.monotonic()
        _say(f"{name} ...")
        try:
            if name == GROWTH:
                body = {"points": [point.as_json() for point in growth(bench, all_sends=all_sends)]}
            else:
                rows = MEASUREMENTS[name](bench)
                body = {"rows": [row.as_json() for row in rows]}
                _say(as_table(body["rows"]))
        except NotMeasuredError as error:
            _say(f"{name} could not be measured: {error}")
            failed.append(name)
            continue
        finally:
            bench.clear()
        found[name] = body | {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "quick": bench.quick,
            "load_before": load,
            "seconds": round(time.monotonic() - began, 1),
        }
    return found, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the flags, measure, tell. 0: all was measured, whatever was reached; 1: something could not be."""
    names = [*MEASUREMENTS, GROWTH]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(names)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats")
    parser.add_argument("--publish", action="store_true", help="keep the results, and make docs/performance.md")
    parser.add_argument("--all-sends", action="store_true", help="growth: send a million jobs too")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench", help="default: build/bench")
    parser.add_argument("--tools", type=Path, default=ROOT / "build" / "bench" / "tools", help="where newman is")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in names]:
        parser.error(f"no measurement is called {unknown[0]}; there are {', '.join(names)}")
    if options.publish and options.quick:
        parser.error("quick numbers are not worth publishing")
    options.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(work=options.work.resolve(), tools=options.tools.resolve(), quick=options.quick)
    bench.clear()
    if missing := bench.missing_tools():
        _say(f"{', '.join(missing)} not found: run benchmarks/setup.sh; what needs them will fail.")
    found, failed = measure(bench, options.names or names, all_sends=options.all_sends)
    document = {"machine": machine.facts(bench.tools), "measurements": found}
    (bench.work / "last.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    rows = [row for body in found.values() for row in body.get("rows", ())]
    _say(as_table(rows))
    if options.quick:
        _say("Quick sizes show that it works; starting up is most of what they measure, so judge nothing by them.")
    if options.publish:
        publish(document, results=RESULTS, docs=ROOT / "docs", order=names)
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""Measurements of starting: `--help`, the first send of a small file, the first send after `resume`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from statistics import median
from typing import Final

from benchmarks.bench import LABEL, Bench
from benchmarks.processes import NotMeasuredError, run
from benchmarks.rows import Row, Sample, in_turns, plain_row, ratio_row
from benchmarks.stub_process import StubProcess
from benchmarks.tables import settled_ledger

SHOWN: Final = 8
"""Packages named in the breakdown; the others are one sum."""
_IMPORT: Final = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \| +(\S+)$", re.MULTILINE)
STOPPED_EARLY: Final = 4


def help_time(bench: Bench) -> list[Row]:
    """`--help` beside the import of typer."""
    bench.runner("--help")

    def typer() -> float:
        return run([sys.executable, "-c", "import typer"], folder=bench.work).wall_s

    ours, theirs = in_turns(lambda: bench.runner("--help").wall_s, typer, repeats=bench.pick(21, 3))
    return [
        ratio_row(
            name="help",
            what="`sms-runner --help`",
            against='`python -c "import typer"`',
            target=3.0,
            at_least=False,
            ours=Sample(label=LABEL, unit="s", values=tuple(ours)),
            theirs=Sample(label="import typer", unit="s", values=tuple(theirs)),
        )
    ]


def first_send(bench: Bench) -> list[Row]:
    """From the start of `send` to its first POST, and where that time goes."""
    rows = 100
    with StubProcess() as stub:
        bench.send(stub, rows)  # gets the token
        seconds = [bench.send(stub, rows).first_send_s for _ in range(bench.pick(11, 2))]
        traced = bench.send(stub, rows, env={"PYTHONPROFILEIMPORTTIME": "1"})
        imports = _imports((bench.work / "stderr.txt").read_text(encoding="utf-8"))
    bare = median(run([sys.executable, "-c", "pass"], folder=bench.work).wall_s for _ in range(bench.pick(11, 2)))
    total = sum(imports.values())
    middle = median(seconds)
    # Importing is traced in a run of its own, which the tracing slows down; its share is what is taken from there.
    imported_s = middle * total / traced.first_send_s
    detail = {"Python itself (`python -c pass`), s": bare}
    for name, own in imports.most_common(SHOWN):
        detail[f"importing {name}, s"] = own * middle / traced.first_send_s
    named = sum(own for _, own in imports.most_common(SHOWN))
    detail["importing all else, s"] = (total - named) * middle / traced.first_send_s
    detail["the work: check, ledger, staging, slots, connection, s"] = max(0.0, middle - bare - imported_s)
    return [
        plain_row(
            name="first-send",
            what=f"start of `send` to its first POST, {rows} rows, the token cached",
            target=1.0,
            unit="s",
            values=seconds,
            label=LABEL,
            detail=detail,
        )
    ]


def resume(bench: Bench) -> list[Row]:
    """From the start of `resume` to its first POST, on a big ledger that is nearly done."""
    rows = bench.pick(1_000_000, 20_000)
    a_few = 20
    with StubProcess() as stub:
        bench.send(stub, 10)
        ledger = settled_ledger(bench, rows=rows, done=rows * 9 // 10)
        config = bench.config(stub)
        seconds: list[float] = []
        peaks: list[float] = []
        for _ in range(bench.pick(5, 2)):
            results = bench.fresh(".results.csv")
            stub.reset()
            cost = bench.runner(
                *("resume", "--config", config, "--ledger", ledger, "--results", results, "--yes"),
                *("--limit", str(a_few)),
                accepted=(STOPPED_EARLY,),
            )
            seen = stub.seen()
            if seen.sends != a_few:
                raise NotMeasuredError(f"{seen.sends} sends instead of {a_few}")
            seconds.append((seen.first_send_ns - cost.started_ns) / 1e9)
            peaks.append(cost.peak_mib)
            results.unlink()
        size = ledger.stat().st_size / 2**20
    bench.clear()
    return [
        plain_row(
            name="resume",
            what=f"`resume`, a ledger of {rows:,} jobs, nine tenths done: start to first POST",
            target=2.0,
            unit="s",
            values=seconds,
            label=LABEL,
            detail={"the ledger, MiB": size, "peak memory, results written at the end, MiB": median(peaks)},
        )
    ]


def _imports(trace: str) -> Counter[str]:
    """Seconds of importing by top-level package, each module's own time; the standard library is one of them."""
    own: Counter[str] = Counter()
    _, _, after_start = trace.partition("| site\n")  # what comes before belongs to Python itself
    for micros, module in _IMPORT.findall(after_start):
        top = module.split(".")[0]
        own["the standard library" if top.lstrip("_") in _STDLIB or top in _STDLIB else top] += int(micros)
    if not own:
        raise NotMeasuredError("no import times were told")
    return Counter({name: micros / 1e6 for name, micros in own.items()})


_STDLIB: Final = sys.stdlib_module_names
